//! A node that starts and one that stops: it answers for its health all the time.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Client, Node, Start, concurrency, eventually};
use reqwest::Method;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::Child;
use tokio::time::timeout;

/// How long anything may take that waits for nothing.
const PROMPT: Duration = Duration::from_secs(10);

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap(), signal)
        .unwrap();
}

/// A node that opens its folder until somebody writes its identity into the pipe that is in the
/// place of the file.
struct Opening {
    start: Start,
    child: Child,
    client: Client,
    pipe: PathBuf,
    identity: Vec<u8>,
}

async fn opening() -> Opening {
    let start = Start::dev();
    let mut node = start.clone().run().await;
    node.stop().await;
    let pipe = start.data.join("identity.json");
    let identity = fs::read(&pipe).unwrap();
    fs::remove_file(&pipe).unwrap();
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();

    let listening = || start.stderr().lines().filter_map(address).collect::<Vec<_>>();
    let before = listening().len();
    let child = start.process();
    let address = eventually("it listens", || async { listening().get(before).cloned() }).await;
    Opening {
        client: Client::new(format!("http://{address}")),
        start: start.clone(),
        child,
        pipe,
        identity,
    }
}

/// The address in a line of the log that says where a node listens.
fn address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening, and opening the data folder address=")?;
    Some(rest.split(' ').next()?.to_owned())
}

#[tokio::test]
async fn health_is_answered_while_the_folder_is_opened() {
    let Opening { start, mut child, client, pipe, identity } = opening().await;
    client.get("/healthz").await.is(200);
    for path in ["/readyz", "/startupz", "/v1/resources", "/v1/cluster", "/metrics", "/none"] {
        let answer = client.get(path).await;
        answer.problem(503, "no-quorum").says(&["opening its data folder"]);
        assert_eq!(answer.header("ratequeue-served-by"), Some("1"), "{path}");
    }
    let refused = client.keyed("/v1/resources/r/acquire", "mine", json!({})).await;
    assert_eq!(refused.problem(503, "no-quorum").str("request_id"), "mine");

    fs::write(&pipe, identity).unwrap();
    eventually("it is ready", || async {
        (client.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    client.get("/startupz").await.is(200);
    client.create("r", concurrency(1)).await;
    signal(&child, Signal::TERM);
    let ended = timeout(PROMPT, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0), "{}", start.stderr());
}

#[tokio::test]
async fn sigterm_while_the_folder_is_opened_is_a_clean_end() {
    for ending in [Signal::TERM, Signal::INT] {
        let Opening { start, mut child, client, .. } = opening().await;
        client.get("/healthz").await.is(200);
        signal(&child, ending);
        let ended = timeout(PROMPT, child.wait()).await.expect("it ends").unwrap();
        assert_eq!(ended.code(), Some(0), "{}", start.stderr());
    }
}

/// A node of a cluster of one that drains for so long.
async fn draining(drain: &str) -> Node {
    let start = Start::with(&["node", "--id", "1", "--drain", drain]);
    let text = "name = \"demo\"\n[regions.here]\nnodes = [{ id = 1, http = \"127.0.0.1:7601\", peer = \"127.0.0.1:7701\" }]\n";
    let file = start.tree().file("cluster.toml", text);
    let node = start.env("RATEQUEUE_CLUSTER", file.to_str().unwrap()).run().await;
    node.client.create("r", concurrency(1)).await;
    node
}

#[tokio::test]
async fn a_node_that_stops_is_unready_before_it_closes() {
    let mut node = draining("3s").await;
    node.signal(Signal::TERM);

    // Each look is a new connection, as load balancers make them.
    let fresh = || Client::new(node.url());
    let unready = eventually("it is unready", || async {
        let answer = fresh()
            .try_call(Method::GET, "/readyz", &[], None)
            .await
            .expect("connections are accepted");
        (answer.status != 200).then_some(answer)
    })
    .await;

    unready.problem(503, "shutting-down");
    let lease = fresh().granted("r", json!({})).await;
    fresh().release(&lease.id()).await.is(200);
    fresh().get("/healthz").await.is(200);
    assert_eq!(node.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_node_at_once() {
    let mut node = draining("1h").await;
    let lease = node.client.granted("r", json!({})).await;
    node.signal(Signal::TERM);

    eventually("it stops", || async {
        (node.client.get("/readyz").await.status == 503).then_some(())
    })
    .await;

    node.signal(Signal::INT);
    assert_eq!(timeout(PROMPT, node.ended()).await.expect("at once").code(), Some(130));
    node.start_again().await;

    assert_eq!(
        node.client.lease(&lease.id()).await.is(200).str("state"),
        "held",
        "and nothing is lost"
    );
}

/// What a node that is alone says of where it is: the leader in its answers, and in the cluster
/// view.
async fn says_it_is_at(client: &Client, url: &str) {
    let told = || async {
        let view = client.get("/v1/cluster").await;
        let node = view.is(200).body["regions"]["local"]["nodes"][0]["http"].clone();
        let answer = client.get("/v1/resources/r").await;
        (node == url && answer.is(200).header("ratequeue-leader") == Some(url)).then_some(())
    };
    eventually(&format!("it says that it is at {url}"), told).await;
}

#[tokio::test]
async fn a_node_says_where_it_is_now_and_not_where_it_was() {
    let mut node = Node::start().await;
    let client = node.client.clone();
    client.create("r", concurrency(1)).await;
    let first = client.url();
    says_it_is_at(&client, &first).await;

    // Port 0 is another one.
    node.stop().await;
    node.start_again().await;
    assert_ne!(client.url(), first);
    says_it_is_at(&client, &client.url()).await;
}

#[tokio::test]
async fn a_node_says_what_it_is_told_to_say() {
    let start = Start::with(&["dev", "--advertise", "Box.example:7600"]);
    let node = start.run().await;
    node.client.create("r", concurrency(1)).await;
    says_it_is_at(&node.client, "http://box.example:7600").await;
}
