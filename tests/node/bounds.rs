//! Connections and the descriptors that the machine gives: whoever takes many, or reads nothing,
//! takes nothing from others.

use std::fs;
use std::time::Duration;

use crate::harness::{Client, Node, Start, concurrency, eventually};
use futures::future::join_all;
use reqwest::Method;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long anything may take that others must not stand in the way of.
const PROMPT: Duration = Duration::from_secs(5);
/// Files that a node may open.
const FILES: usize = 256;
/// Connections that call for nothing.
const IDLE: usize = 2_000;
/// Connections whose answers nobody reads.
const UNREAD: usize = 50;
/// Requests on each of them: their answers are far more than the system keeps.
const REQUESTS: usize = 400;

async fn node(shell: &str) -> Node {
    let node = Start::dev().after(shell).run().await;
    node.client.create("r", concurrency(10_000)).await;
    node
}

fn open_files(node: &Node) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// A connection that the node is sent requests on, and that never reads.
async fn unread(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.client.address()).await.unwrap();
    stream
        .write_all("GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(REQUESTS).as_bytes())
        .await
        .unwrap();
    stream
}

/// Calls as somebody who comes now.
fn newcomer(node: &Node) -> Client {
    Client::new(node.url())
}

#[tokio::test]
async fn idle_and_unread_connections_leave_room_for_callers() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let node = node(&format!("ulimit -n {FILES}")).await;

    let unread = join_all((0..UNREAD).map(|_| unread(&node))).await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(
            timeout(PROMPT, TcpStream::connect(node.client.address()))
                .await
                .expect("it is accepted")
                .unwrap(),
        );
    }
    for _ in 0..20 {
        let client = newcomer(&node);
        let calls = async {
            client.get("/healthz").await.is(200);
            client.granted("r", json!({})).await;
        };
        timeout(PROMPT, calls).await.expect("a caller is answered");
    }

    assert!(open_files(&node) < FILES, "the log has descriptors left");
    assert!(!node.stderr().contains("no connection can be accepted"), "{}", node.stderr());
    drop((unread, idle));
}

#[tokio::test]
async fn a_response_that_nobody_reads_ends() {
    let node = node("true").await;
    let before = open_files(&node);
    let connections = join_all((0..UNREAD).map(|_| unread(&node))).await;
    eventually("the node has them", || async {
        (open_files(&node) >= before + UNREAD).then_some(())
    })
    .await;
    eventually("all of them are closed", || async {
        (open_files(&node) < before + UNREAD / 2).then_some(())
    })
    .await;
    drop(connections);
    node.client.get("/healthz").await.is(200);
}

/// Waits in the queue. A call for which there is no room yet is made again.
async fn wait(client: Client) {
    let body = json!({"wait_ms": 60_000, "hold_ms": 30_000});
    loop {
        let call =
            client.try_call(Method::POST, "/v1/resources/r/acquire", &[], Some(body.clone()));
        if call.await.is_ok_and(|answer| answer.status != 429) {
            return;
        }
    }
}

#[tokio::test]
async fn health_is_answered_while_all_connections_are_busy() {
    // Leaves 31 connections.
    let node = Start::dev().after("ulimit -n 128").run().await;
    node.client.create("r", concurrency(1)).await;
    let held = node.client.granted("r", json!({})).await;

    // The last of them takes the place of the harness's own connection, which is idle.
    let mut waiting = JoinSet::new();
    for number in 0..31 {
        if number == 30 {
            let depth =
                || async { (node.client.stats("r").await["queue_depth"] == 30).then_some(()) };
            eventually("they wait", depth).await;
        }
        waiting.spawn(wait(newcomer(&node)));
    }
    let refused = eventually("there is no room", || async {
        let client = newcomer(&node);
        timeout(PROMPT, client.get("/healthz")).await.expect("health is answered").is(200);
        timeout(PROMPT, client.get("/readyz")).await.expect("health is answered").is(200);
        let answer = client.get("/v1/resources/r").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.problem(429, "too-many-requests").says(&["connections"]);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(refused.header("ratequeue-served-by"), Some("1"));

    waiting.abort_all();
    while waiting.join_next().await.is_some() {}
    let client = newcomer(&node);
    eventually("there is room again", || async {
        let answer = client.try_call(Method::GET, "/v1/resources/r", &[], None).await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;
    client.release(&held.id()).await.is(200);
}

#[tokio::test]
async fn the_soft_limit_is_raised() {
    let node = node("ulimit -S -n 64 && ulimit -H -n 512").await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.pid())).unwrap();
    let files: Vec<&str> = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap()
        .split(' ')
        .collect();
    assert_eq!(files.iter().filter(|word| **word == "512").count(), 2, "{limits}");
    assert!(
        node.stderr().contains("open_files=512") && node.stderr().contains("connections=415"),
        "{}",
        node.stderr()
    );
}

#[tokio::test]
async fn too_low_a_limit_is_refused_with_what_to_do() {
    let start = Start::dev().after("ulimit -n 100");
    let ended = timeout(PROMPT, start.process().wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(2));
    let stderr = start.stderr();
    assert!(stderr.contains("may open 100 files") && stderr.contains("ulimit -n"), "{stderr}");
    assert!(!start.data.exists(), "nothing was made");
}

#[tokio::test]
async fn a_node_outlives_a_lack_of_descriptors() {
    let node = node("true").await;
    let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap());
    let limit = getrlimit(Resource::Nofile);

    // Fewer than it has: nothing can be opened.
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: Some(10), ..limit }).unwrap();
    let refused = newcomer(&node);
    let waiting = tokio::spawn(async move { refused.get("/healthz").await.status });
    eventually("it is out of descriptors", || async {
        node.stderr().contains("no connection can be accepted").then_some(())
    })
    .await;
    for _ in 0..20 {
        let lease = node.client.granted("r", json!({})).await;
        node.client.release(&lease.id()).await.is(200);
    }

    prlimit(pid, Resource::Nofile, before).unwrap();
    assert_eq!(timeout(PROMPT, waiting).await.expect("it is accepted").unwrap(), 200);
    assert_eq!(
        node.stderr().matches("no connection can be accepted").count(),
        1,
        "it is said once"
    );
}
