//! A cluster: its file, its nodes, and what they agree on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use ratequeue_api::client;
use serde_json::Value;

use crate::addresses::{Place, loopback};
use crate::harness::{Client, Tree, eventually, run};
use crate::load::Story;
use crate::member::Member;

/// The region of the clusters of one region.
pub const REGION: &str = "eu";

/// The group that spans the regions.
pub const GLOBAL: &str = "global";

/// A node of a cluster file: its id, region and addresses, and the network namespace it lives in,
/// if not in ours.
pub type Described = (u64, String, Place, Option<String>);

/// How long a client tries before it gives a call up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster of processes. When the test fails, how it stands and the nodes' logs are shown.
#[derive(Debug)]
pub struct Cluster {
    pub name: String,
    pub file: PathBuf,
    pub members: BTreeMap<u64, Member>,
    /// Every node of the file, also those that never ran: its region, and where it is.
    places: BTreeMap<u64, (String, Place)>,
    /// What the file says of the global group.
    pub global: String,
    ip: IpAddr,
    tree: Tree,
}

impl Cluster {
    /// A file of so many nodes in one region, of which none runs.
    pub fn described(nodes: usize) -> Self {
        Self::described_in(&[(REGION, nodes)])
    }

    /// A file of so many nodes in each of these regions, of which none runs. Ids count from 1,
    /// region by region.
    pub fn described_in(regions: &[(&str, usize)]) -> Self {
        let ip = loopback();
        let named = regions.iter().flat_map(|(region, nodes)| std::iter::repeat_n(*region, *nodes));
        let nodes =
            (1..).zip(named).map(|(id, region)| (id, region.to_owned(), Place::of(id, ip), None));
        Self::of("test", ip, nodes.collect())
    }

    /// A cluster of these nodes.
    pub fn of(name: &str, ip: IpAddr, nodes: Vec<Described>) -> Self {
        let tree = Tree::new();
        let file = tree.path().join("cluster.toml");
        let member =
            |(id, _, place, within)| (id, Member::new(id, place, &file, tree.path(), within));
        let places =
            nodes.iter().map(|(id, region, place, _)| (*id, (region.clone(), *place))).collect();
        let members = nodes.into_iter().map(member).collect();
        let cluster =
            Self { name: name.to_owned(), file, members, places, global: String::new(), ip, tree };
        cluster.write();
        cluster
    }

    /// So many nodes that run, and are no cluster yet.
    pub async fn started(nodes: usize) -> Self {
        let mut cluster = Self::described(nodes);
        cluster.start().await;
        cluster
    }

    /// A cluster of so many nodes, formed and ready.
    pub async fn formed(nodes: usize) -> Self {
        let cluster = Self::started(nodes).await;
        cluster.init().await;
        cluster
    }

    /// Starts all nodes.
    pub async fn start(&mut self) {
        self.members.values_mut().for_each(Member::spawn);
        for member in self.members.values() {
            member.answers().await;
        }
    }

    /// Forms the cluster, and waits until all are ready.
    pub async fn init(&self) {
        done(&self.cli(&["init"]).await);
        let one_version = self.members.values().all(Member::is_current);
        for member in self.members.values() {
            member.ready().await;
            if one_version {
                let is_raised = || async { member.client.is_at_the_level().await.then_some(()) };
                eventually("the level is raised", is_raised).await;
            }
        }
    }

    /// Writes the file.
    pub fn write(&self) {
        let mut text = format!("name = {:?}\n", self.name);
        let regions: BTreeSet<&str> =
            self.places.values().map(|(region, _)| region.as_str()).collect();
        for region in regions {
            writeln!(text, "[regions.{region}]\nnodes = [").unwrap();
            for (id, (_, place)) in self.places.iter().filter(|(_, (of, _))| of == region) {
                writeln!(
                    text,
                    "  {{ id = {id}, http = \"{}\", peer = \"{}\" }},",
                    place.http, place.peer
                )
                .unwrap();
            }
            text += "]\n";
        }

        fs::write(&self.file, text + &self.global).unwrap();
    }

    /// Puts another node into the file, in the only region. It does not run yet.
    pub fn describe(&mut self, id: u64) -> &mut Member {
        self.describe_in(REGION, id)
    }

    /// Puts another node into the file. It does not run yet.
    pub fn describe_in(&mut self, region: &str, id: u64) -> &mut Member {
        let place = Place::of(id, self.ip);
        self.places.insert(id, (region.to_owned(), place));
        self.write();
        let member = Member::new(id, place, &self.file, self.tree.path(), None);
        self.members.entry(id).or_insert(member)
    }

    /// Gives a node that does not run other addresses, in the file too.
    pub fn relocate(&mut self, id: u64) {
        let place = Place::of(id + 1_000, self.ip);
        let region = self.region_of(id).to_owned();
        self.places.insert(id, (region, place));
        self.write();
        let member = Member::new(id, place, &self.file, self.tree.path(), None);
        self.members.insert(id, member);
    }

    /// Takes a node out of the file.
    pub fn forget(&mut self, id: u64) {
        self.places.remove(&id);
        self.write();
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Runs `ratequeue cluster ARGS --cluster FILE`.
    pub async fn cli(&self, args: &[&str]) -> Output {
        let file = self.file.to_str().unwrap();
        let args: Vec<&str> = ["cluster"]
            .into_iter()
            .chain(args.iter().copied())
            .chain(["--cluster", file])
            .collect();
        run(&args, &[]).await
    }

    /// Kills every node, and reads their logs: every bound held, and every grant that a caller was
    /// told of is there as he was told.
    pub async fn verify(mut self, resource: &str, story: &Story) {
        for member in self.members.values_mut().filter(|member| member.runs()) {
            member.kill().await;
        }

        let mut found = 0;
        for member in self.members.values() {
            let data = member.data.to_str().unwrap();
            let verdicts = done(&run(&["verify-log", "--data", data, "--json"], &[]).await);
            let verdicts: Value = serde_json::from_str(&verdicts).unwrap();
            let first = verdicts[0]["first_index"].as_u64().unwrap();
            let dump = ["log", "dump", "--data", data, "--resource", resource, "--json"];
            let granted = granted_in(&done(&run(&dump, &[]).await));
            for grant in story.grants.iter().filter(|grant| grant.log_index >= first) {
                let told = (grant.token, grant.log_index);
                assert_eq!(
                    granted.get(&grant.lease),
                    Some(&told),
                    "{} at {}",
                    grant.lease,
                    member.id
                );
                found += 1;
            }
        }
        assert!(found > 0, "no grant of {resource} is later than the checkpoints");
        println!("{found} grants of {resource} are in the logs of {} nodes", self.members.len());
    }

    pub fn node(&self, id: u64) -> &Member {
        &self.members[&id]
    }

    pub fn node_mut(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).unwrap()
    }

    /// Speaks to one node.
    pub fn at(&self, id: u64) -> &Client {
        &self.members[&id].client
    }

    pub fn running(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.runs())
    }

    /// The URLs of these nodes, as a client is given them.
    pub fn urls(&self, ids: impl IntoIterator<Item = u64>) -> String {
        ids.into_iter().map(|id| self.node(id).url()).collect::<Vec<_>>().join(",")
    }

    /// A client that knows all nodes.
    pub fn client(&self) -> client::Client {
        client::Client::new(&self.urls(self.members.keys().copied()), None, PATIENCE).unwrap()
    }

    /// The ids of the nodes of a region.
    pub fn ids_in(&self, region: &str) -> Vec<u64> {
        self.places.iter().filter(|(_, (of, _))| of == region).map(|(id, _)| *id).collect()
    }

    /// The region of a node.
    pub fn region_of(&self, id: u64) -> &str {
        &self.places[&id].0
    }

    /// The group of the only region as each running node sees it; nothing of a node that does not
    /// answer.
    pub async fn groups(&self) -> BTreeMap<u64, Value> {
        self.groups_of(REGION).await
    }

    /// A group as each running node sees it that is in it; nothing of a node that does not answer.
    pub async fn groups_of(&self, name: &str) -> BTreeMap<u64, Value> {
        let mut groups = BTreeMap::new();
        for member in self.running() {
            let answer = member.try_get("/v1/cluster").await;
            let group = answer.map(|answer| answer.body["groups"][name].clone());
            groups.extend(group.filter(|group| !group.is_null()).map(|group| (member.id, group)));
        }
        groups
    }

    /// The leader of the only region.
    pub async fn leader(&self) -> u64 {
        self.leader_of(REGION).await
    }

    /// The leader of a group on which as many nodes agree as are a majority of its voters, the
    /// leader among them; waited for.
    pub async fn leader_of(&self, group: &str) -> u64 {
        eventually(&format!("a majority of {group} agrees on a leader"), || async {
            let groups = self.groups_of(group).await;
            // One that is cut off may still believe that it leads.
            let of = |id: u64| groups.values().filter(move |group| group["leader"] == id);
            let is_agreed = |(id, group): &(&u64, &Value)| {
                let voters = group["voters"].as_array().map_or(0, Vec::len);
                of(**id).filter(|other| other["term"] == group["term"]).count() * 2 > voters
            };
            let mut leading = groups.iter().filter(|(_, group)| group["role"] == "leader");
            leading.find(is_agreed).map(|(id, _)| *id)
        })
        .await
    }

    /// The lowest id that does not lead, and runs.
    pub async fn follower(&self) -> u64 {
        self.followers().await[0]
    }

    /// Those that run and do not lead.
    pub async fn followers(&self) -> Vec<u64> {
        let leader = self.leader().await;
        self.running().map(|member| member.id).filter(|id| *id != leader).collect()
    }

    /// Waits until a node has applied what the leader has now.
    pub async fn caught_up(&self, id: u64) {
        let leader = self.leader().await;
        let target = self.at(leader).applied_index().await;
        eventually(&format!("node {id} has caught up to {target}"), || async {
            let groups = self.node(id).try_get("/v1/cluster").await?;
            (groups.body["groups"][REGION]["applied_index"].as_u64()? >= target).then_some(())
        })
        .await;
    }

    /// Waits until these nodes of the only region have applied the same log, and checks that it
    /// came to the same.
    pub async fn agree(&self, ids: &[u64]) {
        self.agree_on(REGION, ids).await;
    }

    /// Waits until these nodes have applied the same log of a group, and checks that it came to the
    /// same.
    pub async fn agree_on(&self, group: &str, ids: &[u64]) {
        eventually(&format!("nodes {ids:?} have applied the same entries of {group}"), || async {
            let groups = self.groups_of(group).await;
            let of = |id: &u64| {
                groups
                    .get(id)
                    .map(|group| (group["applied_index"].clone(), group["digest"].clone()))
            };
            let all: Vec<_> = ids.iter().map(of).collect::<Option<_>>()?;
            let same_index = all.iter().all(|(index, _)| *index == all[0].0);
            if !same_index {
                return None;
            }
            assert!(
                all.iter().all(|one| *one == all[0]),
                "the nodes {ids:?} differ at the same index: {all:?}"
            );
            Some(())
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut status = std::process::Command::new(env!("CARGO_BIN_EXE_ratequeue"));
            let status =
                status.args(["cluster", "status", "--json", "--cluster"]).arg(&self.file).output();
            println!("{}", status.map(|output| stdout(&output)).unwrap_or_default());
            self.members.values().for_each(Member::show);
        }
    }
}

/// Token and log index of each lease that was granted, of a dump in JSON.
fn granted_in(dump: &str) -> HashMap<String, (u64, u64)> {
    let decisions = dump.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let granted = decisions.filter(|decision| decision["decision"] == "granted");
    let number = |value: &Value| value.as_u64().unwrap();
    let pair = |grant: Value| {
        let told = (number(&grant["fencing_token"]), number(&grant["index"]));
        (grant["lease"].as_str().unwrap().to_owned(), told)
    };
    granted.map(pair).collect()
}

/// The command did what it was told to; what it printed.
#[track_caller]
pub fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}\n{}", output.status, stdout(output), stderr(output));
    stdout(output)
}

/// The command ended with this code and said these words; what it said.
#[track_caller]
pub fn failed(output: &Output, code: i32, words: &[&str]) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{}\n{said}", stdout(output));
    for word in words {
        assert!(said.contains(word), "it must say {word:?}, and says: {said}");
    }
    said
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
