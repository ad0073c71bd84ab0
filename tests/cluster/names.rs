//! Three nodes that know each other by name alone: names that come late, and nodes that move to
//! other addresses.
//!
//! Each node has a network of its own, and all share one file of hosts, as they would share a name
//! server. What is not in it goes to a name server that never answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, REGION, done};
use crate::harness::{Answer, concurrency, eventually};
use crate::member::Member;
use crate::netns::Network;
use crate::turn::Turn;

/// Takes what comes to the port of name servers, and answers nothing.
const MUTE_NAME_SERVER: &str = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 53)); time.sleep(600)";

/// How long a call may take while nodes move: their leader has to be elected anew.
const CALL_WITHIN: Duration = Duration::from_secs(30);

fn url(id: u64) -> String {
    format!("http://node-{id}.ratequeue:7600")
}

/// The cluster, its network, and who has which name.
struct Named {
    cluster: Cluster,
    network: Network,
    /// Which host each node is; without those that have no name yet.
    hosts: BTreeMap<u64, u8>,
    names: [PathBuf; 2],
    _name_servers: Vec<Child>,
}

impl Named {
    /// Three nodes that do not run, of which `nameless` has no name yet. `None` when the test is to
    /// be left out.
    fn described(nameless: u64) -> Option<Self> {
        let network = match Network::make(3) {
            Ok(network) => network,
            Err(why)
                if std::env::var("RATEQUEUE_TEST_NO_NETNS").is_ok_and(|value| value == "1") =>
            {
                println!("names: left out: {why}");
                return None;
            }
            Err(why) => panic!(
                "network namespaces cannot be made: {why}. Run this as root with iproute2 (scripts/setup.sh test), or leave \
                 it out with RATEQUEUE_TEST_NO_NETNS=1"
            ),
        };

        let nodes = (1..=3).map(|id| {
            (u64::from(id), REGION.to_owned(), network.place(id), Some(network.namespace(id)))
        });
        let mut cluster = Cluster::of("test", network.place(1).http.ip(), nodes.collect());
        let node = |id| {
            format!(
                "{{ id = {id}, http = '{}', peer = 'node-{id}-peer.ratequeue:7700' }}",
                &url(id)[7..]
            )
        };
        let nodes = [1, 2, 3].map(node).join(",\n");
        fs::write(
            &cluster.file,
            format!("name = 'test'\n[regions.{REGION}]\nnodes = [\n{nodes}]\n"),
        )
        .unwrap();

        let resolver = "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n";
        let names =
            [cluster.tree().file("hosts", ""), cluster.tree().file("resolv.conf", resolver)];
        cluster.members.values_mut().for_each(|member| member.names = Some(names.clone()));
        let name_server = |id| {
            let mut command = Command::new("ip");
            command.args([
                "netns",
                "exec",
                &network.namespace(id),
                "python3",
                "-c",
                MUTE_NAME_SERVER,
            ]);
            command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap()
        };
        let name_servers = [1, 2, 3].map(name_server).into();
        let mut named =
            Self { cluster, network, hosts: BTreeMap::new(), names, _name_servers: name_servers };
        for id in (1..=3).filter(|id| u64::from(*id) != nameless) {
            named.name(u64::from(id), id);
        }
        Some(named)
    }

    /// Gives a node the name, as the host of this number.
    fn name(&mut self, id: u64, host: u8) {
        self.hosts.insert(id, host);
        self.write();
    }

    /// Takes the name of a node away: from now on only the name server could tell it.
    fn unname(&mut self, id: u64) {
        self.hosts.remove(&id);
        self.write();
    }

    fn write(&self) {
        let line = |(id, host): (&u64, &u8)| {
            let place = self.network.place(*host);
            format!(
                "{} node-{id}.ratequeue\n{} node-{id}-peer.ratequeue\n",
                place.http.ip(),
                place.peer.ip()
            )
        };
        let text: String = self.hosts.iter().map(line).collect();
        fs::write(&self.names[0], format!("127.0.0.1 localhost\n{text}")).unwrap();
    }

    /// Kills a node, and starts it again as another host, with the same command line. Nobody else
    /// does anything.
    async fn moves(&mut self, id: u64, to: u8) {
        self.cluster.node_mut(id).kill().await;
        let from = self.hosts[&id];
        let namespace = u8::try_from(id).unwrap();
        self.network.relocate(namespace, from, to);
        self.name(id, to);
        let (file, dir) = (self.cluster.file.clone(), self.cluster.tree().path().to_owned());
        let within = Some(self.network.namespace(namespace));
        let mut moved = Member::new(id, self.network.place(to), &file, &dir, within);
        moved.names = Some(self.names.clone());
        moved.start().await;
        moved.ready().await;
        self.cluster.members.insert(id, moved);
        self.cluster.caught_up(id).await;
    }

    /// The program, where node 1 lives.
    async fn run(&self, args: &[&str]) -> Output {
        let mut command = self.cluster.node(1).program();
        tokio::time::timeout(CALL_WITHIN, command.args(args).output())
            .await
            .expect("it ends")
            .unwrap()
    }

    /// What node `id` says of the leader: its URL, by name.
    async fn leader(&self, id: u64) -> String {
        let lease = self.cluster.at(id).acquire("named", json!({})).await;
        let leader = |answer: &Answer| answer.header("ratequeue-leader").map(str::to_owned);
        leader(&lease).expect("a leader is named")
    }
}

/// A worker that knows the nodes by name, and acquires all the time: each time in a process of its
/// own.
struct Worker {
    acquired: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    working: JoinHandle<()>,
}

impl Worker {
    /// Works where node `id` lives.
    fn start(named: &Named, id: u64) -> Self {
        let (acquired, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, is_over) = (Arc::clone(&acquired), Arc::clone(&stop));
        let member = named.cluster.node(id);
        let urls = [1, 2, 3].map(url).join(",");
        let mut command = member.program();
        command.args(["acquire", "named", "--wait", "20s", "--url", &urls, "--", "true"]);

        let working = tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let output = tokio::time::timeout(CALL_WITHIN, command.output())
                    .await
                    .expect("it ends")
                    .unwrap();
                done(&output);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { acquired, stop, working }
    }

    /// Waits until it has acquired so many times more.
    async fn goes_on(&self, times: usize) {
        let target = self.acquired.load(Ordering::Relaxed) + times;
        let is_there = || async {
            assert!(!self.working.is_finished(), "the worker has failed");
            (self.acquired.load(Ordering::Relaxed) >= target).then_some(())
        };
        eventually("the worker goes on", is_there).await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.working.await.unwrap();
    }
}

#[tokio::test]
async fn nodes_are_found_by_their_names_wherever_they_move() {
    let _turn = Turn::alone();
    let Some(mut named) = Named::described(3) else { return };

    // In any order, and one before anybody knows its name: it waits for that, and the others
    // answer.
    for id in [3, 2, 1] {
        named.cluster.node_mut(id).spawn();
    }
    for id in [1, 2] {
        named.cluster.node(id).answers().await;
    }
    eventually("node 3 waits", || async {
        let log = named.cluster.node(3).log();
        log.contains("waiting to listen on node-3.ratequeue:7600").then_some(())
    })
    .await;
    let file = named.cluster.file.to_str().unwrap().to_owned();
    let early = named.run(&["cluster", "init", "--cluster", &file]).await;
    assert_eq!(early.status.code(), Some(1), "node 3 is not there");
    named.name(3, 3);
    named.cluster.node(3).answers().await;

    done(&named.run(&["cluster", "init", "--cluster", &file]).await);
    for id in 1..=3 {
        named.cluster.node(id).ready().await;
    }
    named.cluster.at(1).create("named", concurrency(100)).await;
    let kept = named.cluster.at(2).granted("named", json!({"ttl_ms": 600_000})).await.id();
    let leader = named.cluster.leader().await;
    assert_eq!(named.leader(1).await, url(leader));

    // A follower, then the leader, then whoever leads then. The worker lives with a node that stays
    // where it is meanwhile.
    let follower = named.cluster.follower().await;
    for (nth, moving) in (0..).zip([Some(follower), None, None]) {
        let leader = named.cluster.leader().await;
        let id = moving.unwrap_or(leader);
        let other = (1..=3).find(|other| *other != id).unwrap();
        let worker = Worker::start(&named, other);
        worker.goes_on(3).await;
        named.moves(id, 4 + nth).await;
        worker.goes_on(3).await;
        worker.stop().await;
    }

    let leader = named.cluster.leader().await;
    for id in 1..=3 {
        eventually("each node names the leader", || async {
            (named.leader(id).await == url(leader)).then_some(())
        })
        .await;
        assert_eq!(
            named.cluster.at(id).lease(&kept).await.is(200).str("state"),
            "held",
            "no lease is lost"
        );
    }

    // Looking for one whose name is gone takes the name server's time, and nobody else's: the other
    // two go on.
    named.unname(leader);
    named.cluster.node_mut(leader).kill().await;
    let next = named.cluster.leader().await;
    assert_eq!(named.cluster.at(next).lease(&kept).await.is(200).str("state"), "held");
    let worker = Worker::start(&named, next);
    worker.goes_on(5).await;
    worker.stop().await;
}
