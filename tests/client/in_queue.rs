//! `ratequeue acquire` and the Rust client in the queue: behind a proxy that cuts calls,
//! interrupted, and without a node.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::{Client, Cut, Node, Proxy, concurrency, eventually, program, until};
use parking_lot::Mutex;
use ratequeue_api::client;
use ratequeue_api::{AcquireRequest, LeaseState, ReleaseRequest};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Child;

/// How long giving up may take, with some room for a machine that is busy.
const GIVE_UP_MAX: Duration = Duration::from_millis(1500);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A node with a resource `r` of one slot, and the lease that holds it.
async fn taken() -> (Node, String) {
    let node = Node::start().await;
    node.client.create("r", concurrency(1)).await;
    let holder = node.client.granted("r", json!({"ttl_ms": 600_000})).await.id();
    (node, holder)
}

fn acquire(url: &str, args: &[&str]) -> Child {
    let mut command = program();
    command
        .arg("acquire")
        .args(args)
        .env("RATEQUEUE_URL", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// It ends in time; gives its exit code and what it wrote.
async fn ends(child: Child) -> (Option<i32>, String) {
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
    let Output { status, stdout, stderr } = output.expect("it ends").unwrap();
    (status.code(), text(&stdout) + &text(&stderr))
}

async fn is_queued(client: &Client) {
    eventually("it is in the queue", || async {
        (client.stats("r").await["queue_depth"] == 1).then_some(())
    })
    .await;
}

/// Nobody waits, and so many leases are held.
async fn is_left(client: &Client, held: u64) -> bool {
    let stats = client.stats("r").await;
    stats["queue_depth"] == 0 && stats["held"] == held
}

fn patient(url: &str, patience: Duration) -> client::Client {
    client::Client::new(url, None, patience).unwrap()
}

/// The client of a program, with little patience for nodes that do not answer.
fn impatient(url: &str) -> client::Client {
    patient(url, Duration::from_secs(1))
}

fn waits(wait_ms: u64, hold_ms: u64) -> AcquireRequest {
    AcquireRequest { wait_ms, hold_ms, ..AcquireRequest::default() }
}

#[tokio::test]
async fn a_place_outlives_a_proxy_that_cuts_after_three_seconds() {
    let (node, holder) = taken().await;
    let proxy = Proxy::start(&node.url()).await;
    proxy.cut_idle(Duration::from_secs(3), Cut::Close);
    let begin = Instant::now();

    let child = acquire(&proxy.url(), &["r", "--wait", "60s", "--", "echo", "mine"]);
    until(begin + Duration::from_secs(8)).await;
    node.client.release(&holder).await.is(200);
    let (code, output) = ends(child).await;

    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("mine"), "{output}");
    assert_eq!(proxy.cuts(), 1, "calls are held for a shorter time after one was cut");
    assert!(is_left(&node.client, 0).await);
}

#[tokio::test]
async fn a_cut_call_is_repeated_for_longer_than_the_patience() {
    let all = [Cut::Close, Cut::Reset, Cut::GatewayTimeout]
        .map(|cut| tokio::spawn(is_repeated_after(cut)));
    for one in all {
        one.await.unwrap();
    }
}

async fn is_repeated_after(cut: Cut) {
    let (node, holder) = taken().await;
    let proxy = Proxy::start(&node.url()).await;
    proxy.cut_idle(Duration::from_secs(2), cut);
    let begin = Instant::now();

    let (client, key) = (impatient(&proxy.url()), client::Client::new_key());
    let waiting =
        tokio::spawn(async move { client.acquire("r", &waits(60_000, 3_000), &key, |_| {}).await });
    until(begin + Duration::from_secs(5)).await;
    assert_eq!(node.client.stats("r").await["queue_depth"], 1, "{cut:?}");
    node.client.release(&holder).await.is(200);

    let lease = waiting.await.unwrap().unwrap();
    assert_eq!((lease.state, lease.position), (LeaseState::Held, None), "{cut:?}");
    assert!(lease.waited_ms >= Some(4_500), "{cut:?}: the place was kept: {lease:?}");
    assert_eq!(proxy.cuts(), 1, "{cut:?}: calls are held for a shorter time after one was cut");
}

#[tokio::test]
async fn a_place_outlives_a_node_that_is_away_for_longer_than_the_patience() {
    let (mut node, holder) = taken().await;
    let proxy = Proxy::start(&node.url()).await;

    let (client, key) = (impatient(&proxy.url()), client::Client::new_key());
    let waiting =
        tokio::spawn(async move { client.acquire("r", &waits(60_000, 1_000), &key, |_| {}).await });
    is_queued(&node.client).await;
    node.kill().await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    node.start_again().await;
    proxy.moved(node.url());
    node.client.release(&holder).await.is(200);

    let lease = waiting.await.unwrap().unwrap();
    assert_eq!(lease.state, LeaseState::Held);
}

#[tokio::test]
async fn without_a_node_a_client_that_is_not_in_queue_loses_its_patience() {
    let (mut node, _) = taken().await;
    let proxy = Proxy::start(&node.url()).await;
    node.kill().await;

    for url in [node.url(), proxy.url()] {
        let begin = Instant::now();
        let key = client::Client::new_key();
        impatient(&url).acquire("r", &waits(60_000, 30_000), &key, |_| {}).await.unwrap_err();
        assert!(begin.elapsed() >= Duration::from_millis(200), "{url}: it tried more than once");
        assert!(begin.elapsed() < Duration::from_secs(7), "{url}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_signal_in_queue_gives_the_place_up() {
    for (sent, expected) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (node, _) = taken().await;
        let proxy = Proxy::start(&node.url()).await;
        proxy.cut_idle(Duration::from_secs(1), Cut::Close);

        let child = acquire(&proxy.url(), &["r", "--wait", "60s", "--", "true"]);
        is_queued(&node.client).await;
        eventually("a call is cut", || async { (proxy.cuts() > 0).then_some(()) }).await;
        let at = Instant::now();
        signal(&child, sent);
        let (code, output) = ends(child).await;

        assert_eq!(code, Some(expected), "{output}");
        assert!(at.elapsed() < GIVE_UP_MAX, "{:?}", at.elapsed());
        assert!(is_left(&node.client, 1).await, "{sent:?}");
    }
}

#[tokio::test]
async fn a_signal_before_the_first_answer_gives_up_what_the_key_got() {
    for (sent, expected) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        for held in [1, 0] {
            let (node, holder) = taken().await;
            if held == 0 {
                node.client.release(&holder).await.is(200);
            }
            let proxy = Proxy::start(&node.url()).await;
            proxy.mute(true);

            // The node has decided, and nobody was told: it waits, or holds the slot.
            let child = acquire(&proxy.url(), &["r", "--wait", "60s", "--", "true"]);
            eventually("it is decided", || async {
                (!is_left(&node.client, held).await).then_some(())
            })
            .await;
            proxy.mute(false);
            let at = Instant::now();
            signal(&child, sent);
            let (code, output) = ends(child).await;

            assert_eq!(code, Some(expected), "{output}");
            assert!(at.elapsed() < GIVE_UP_MAX, "{:?}", at.elapsed());
            assert!(is_left(&node.client, held).await, "{sent:?}: {output}");
        }
    }
}

#[tokio::test]
async fn a_signal_in_the_moment_of_the_grant_leaves_no_lease_behind() {
    let (node, mut holder) = taken().await;
    let client = &node.client;
    for nth in 0..8_u64 {
        let sent = if nth % 2 == 0 { Signal::INT } else { Signal::TERM };
        let child = acquire(&node.url(), &["r", "--wait", "60s", "--", "true"]);
        is_queued(client).await;

        // Both orders, and some time between them.
        let pause = Duration::from_millis(nth / 4 * 2);
        if nth % 4 < 2 {
            client.release(&holder).await.is(200);
            tokio::time::sleep(pause).await;
            // It may have run the command and ended by now.
            if child.id().is_some() {
                signal(&child, sent);
            }
        } else {
            signal(&child, sent);
            tokio::time::sleep(pause).await;
            client.release(&holder).await.is(200);
        }
        let (code, output) = ends(child).await;

        assert!(matches!(code, Some(0 | 130 | 143)), "{code:?}: {output}");
        assert!(is_left(client, 0).await, "{sent:?}, {code:?}: {output}");
        holder = client.granted("r", json!({"ttl_ms": 600_000})).await.id();
    }
}

#[tokio::test]
async fn an_acquire_that_is_dropped_gives_its_place_up() {
    let (node, _) = taken().await;
    let (client, key) = (impatient(&node.url()), client::Client::new_key());
    let waiting =
        tokio::spawn(
            async move { client.acquire("r", &waits(60_000, 30_000), &key, |_| {}).await },
        );
    is_queued(&node.client).await;

    waiting.abort();
    let at = Instant::now();
    eventually("nobody waits", || async { is_left(&node.client, 1).await.then_some(()) }).await;
    assert!(at.elapsed() < GIVE_UP_MAX, "{:?}", at.elapsed());
}

/// A server that leaves everybody in the queue for ever; gives its URL, and the paths that it was
/// asked for.
async fn endless_line() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let paths: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&paths);

    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut call = vec![0; 16 * 1024];
                let read = stream.read(&mut call).await.unwrap_or_default();
                let path = text(&call[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
                let body = if path.ends_with("/release") {
                    json!({"id": "local.1", "state": "cancelled", "refunded": {}, "debited": {}})
                } else {
                    json!({"id": "local.1", "resource": "r", "state": "waiting", "position": 1, "retry_after_ms": 500})
                };
                seen.lock().push(path);
                let body = body.to_string();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                // It may have hung up.
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (url, paths)
}

#[tokio::test]
async fn the_command_never_runs_without_the_lease() {
    let (url, paths) = endless_line().await;
    let child = acquire(&url, &["r", "--wait", "100ms", "--", "echo", "ran"]);
    let (code, output) = ends(child).await;

    assert_eq!(code, Some(75), "{output}");
    assert!(!output.contains("ran\n"), "{output}");
    let paths = paths.lock();
    assert_eq!(
        paths.last().map(String::as_str),
        Some("/v1/leases/local.1/release"),
        "the place is given up"
    );
    // The server answers at once however long it was to hold the call.
    assert!(paths.len() < 60, "{} calls", paths.len());
}

#[tokio::test]
async fn a_client_that_does_not_hold_calls_pauses_between_them() {
    let (node, _) = taken().await;
    let before = node.client.applied_index().await;
    let key = client::Client::new_key();
    impatient(&node.url()).acquire("r", &waits(2_000, 0), &key, |_| {}).await.unwrap_err();
    let entries = node.client.applied_index().await - before;
    assert!((3..60).contains(&entries), "{entries} entries in the log");
}

/// Answers take a second, and the last one is believed for no longer than from when its call was
/// sent.
#[tokio::test]
async fn a_lease_is_trusted_from_when_its_call_was_sent() {
    let node = Node::start().await;
    node.client.create("r", concurrency(1)).await;
    let proxy = Proxy::start(&node.url()).await;
    proxy.delay_answers(Duration::from_secs(1));

    let ttl = Duration::from_secs(2);
    let request = AcquireRequest { ttl_ms: Some(2_000), ..AcquireRequest::default() };
    let (client, key) = (patient(&proxy.url(), Duration::from_secs(10)), client::Client::new_key());
    let sent = Instant::now();
    let mut held = client.hold("r", &request, &key, |_| {}).await.unwrap();
    assert!(!held.is_lost() && sent.elapsed() > Duration::from_millis(900));
    proxy.mute(true);
    held.lost().await;
    assert!(
        sent.elapsed() < ttl,
        "it was trusted until {:?} after its call was sent",
        sent.elapsed()
    );
}

#[tokio::test]
async fn a_lease_that_was_granted_late_in_a_held_call_is_held() {
    let (node, holder) = taken().await;
    let (client, key) = (impatient(&node.url()), client::Client::new_key());
    let request = AcquireRequest { ttl_ms: Some(1_000), ..waits(60_000, 30_000) };
    let waiting = tokio::spawn(async move { client.hold("r", &request, &key, |_| {}).await });
    is_queued(&node.client).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    node.client.release(&holder).await.is(200);

    let held = waiting.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!held.is_lost());
    assert_eq!(node.client.lease(&held.lease().id).await.str("state"), "held");
    held.release(&ReleaseRequest::default()).await.unwrap();
}

/// `ratequeue acquire` with a lease that the node ends in the middle of the command, which notes
/// that it began and ended.
async fn loses_its_lease(args: &[&str], script: &str) -> (Option<i32>, String, Duration) {
    let node = Node::start().await;
    node.client.create("r", concurrency(1)).await;
    let ready = node.tree().path().join("ready");
    let script = script.replace("READY", ready.to_str().unwrap());
    let child =
        acquire(&node.url(), &[&["r", "--ttl", "1s"], args, &["--", "sh", "-c", &script]].concat());
    eventually("it runs", || async { ready.exists().then_some(()) }).await;

    let lease = node.client.leases("r", "held").await[0]["id"].as_str().unwrap().to_owned();
    node.client.release(&lease).await.is(200);
    let at = Instant::now();
    let (code, output) = ends(child).await;
    (code, output, at.elapsed())
}

#[tokio::test]
async fn a_command_whose_lease_is_lost_is_ended() {
    let gentle = "trap 'echo gentle; exit 0' TERM; touch READY; while :; do sleep 0.05; done";
    let (code, output, _) = loses_its_lease(&[], gentle).await;
    assert_eq!(code, Some(76), "{output}");
    assert!(output.contains("gentle") && output.contains("the lease is lost"), "{output}");
    assert!(!output.contains("could not be released"), "{output}");

    let deaf = "trap '' TERM; touch READY; i=0; while [ $i -lt 400 ]; do sleep 0.05; i=$((i+1)); done; echo ran-on";
    let (code, output, took) = loses_its_lease(&["--grace", "300ms"], deaf).await;
    assert_eq!(code, Some(76), "{output}");
    assert!(!output.contains("ran-on") && took < Duration::from_secs(15), "{took:?}: {output}");
}

#[tokio::test]
async fn a_command_whose_lease_is_lost_may_run_on() {
    let script = "touch READY; sleep 2; echo done; exit 7";
    let (code, output, _) = loses_its_lease(&["--on-lost", "run"], script).await;
    assert_eq!(code, Some(7), "{output}");
    assert!(output.contains("done") && output.contains("the lease is lost"), "{output}");
}
