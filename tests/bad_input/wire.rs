//! Bytes that are no HTTP, too much of it, or not all of it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, Node, concurrency};

const DEADLINE: Duration = Duration::from_secs(30);
/// How soon a body that is too large is refused.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn connect(client: &Client) -> TcpStream {
    TcpStream::connect(client.address()).await.unwrap()
}

/// Sends bytes and reads what comes until the server closes. A server that closes early is no
/// failure of the test.
async fn send(client: &Client, bytes: &[u8]) -> String {
    let mut stream = connect(client).await;
    let _ = stream.write_all(bytes).await;
    let mut got = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut got)).await;
    assert!(read.is_ok(), "the server closes the connection");
    String::from_utf8_lossy(&got).into_owned()
}

#[tokio::test]
async fn what_is_no_http_is_answered_400_and_closed() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let before = client.group().await;

    for bytes in [
        &b"garbage\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nnul: \x00\r\n\r\n",
        b"POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = send(client, bytes).await;
        let shown = String::from_utf8_lossy(bytes);
        // The first bytes of another protocol may also be answered by closing the connection.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown:?} got {answer:?}");
    }

    let after = client.group().await;
    assert_eq!(after["digest"], before["digest"]);
    assert_eq!(after["applied_index"], before["applied_index"]);
}

#[tokio::test]
async fn headers_that_are_too_large_or_too_many() {
    let node = Node::start().await;
    let client = &node.client;
    let large =
        format!("GET /healthz HTTP/1.1\r\nhost: x\r\nbig: {}\r\n\r\n", "x".repeat(1024 * 1024));
    let many: String = (0..500).map(|n| format!("h{n}: x\r\n")).collect();
    let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1024 * 1024));
    for (request, statuses) in [(large, [431, 400]), (many, [431, 400]), (long, [414, 431])] {
        let answer = send(client, request.as_bytes()).await;
        // A sender that is cut off in the middle may not get to see it.
        let seen = statuses.iter().any(|status| answer.starts_with(&format!("HTTP/1.1 {status}")));
        assert!(seen || answer.is_empty(), "{answer}");
    }
    client.get("/healthz").await.is(200);
}

/// hyper refuses a head by itself; its answer has what every answer has.
#[tokio::test]
async fn a_head_that_is_refused_is_explained() {
    let node = Node::start().await;
    let many: String = (0..65).map(|n| format!("h{n}: x\r\n")).collect();
    let many = format!("GET /healthz HTTP/1.1\r\n{many}\r\n");
    let bad = "GET /healthz HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n".to_owned();

    for (request, status, code) in [(many, 431, "head-too-large"), (bad, 400, "bad-request")] {
        let answer = send(&node.client, request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{answer}");
        for header in [
            "connection: close",
            "content-type: application/problem+json",
            "ratequeue-served-by: 1",
        ] {
            assert!(head.contains(header), "{header}: {answer}");
        }
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
        let problem: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&problem["status"], &problem["code"]),
            (&json!(status), &json!(code)),
            "{answer}"
        );
        assert!(problem["request_id"].is_string() && problem["detail"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn garbage_after_a_request_does_not_touch_its_answer() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(2)).await;
    let post = "POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    let answer = send(client, format!("{post}{post}\x01garbage\r\n\r\n").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches("\"state\":\"held\"").count(), 2, "{answer}");
    assert!(!answer.contains("garbage"));
    assert_eq!(client.stats("r").await["held"], 2);
}

#[tokio::test]
async fn half_a_request_does_nothing() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let before = client.group().await;

    // Broken off in the head, and in the body.
    for half in [
        "POST /v1/resources/r/acqui",
        "POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\n",
        "POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{\"load\":",
        "POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    ] {
        let mut stream = connect(client).await;
        stream.write_all(half.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = Vec::new();
        let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut got)).await;
        assert!(read.is_ok(), "the server closes the connection after {half:?}");
        let got = String::from_utf8_lossy(&got);
        assert!(got.is_empty() || got.starts_with("HTTP/1.1 400"), "{half:?} got {got:?}");
    }

    let after = client.group().await;
    assert_eq!(
        (&after["digest"], &after["applied_index"]),
        (&before["digest"], &before["applied_index"])
    );
}

#[tokio::test]
async fn slow_senders_hold_up_nobody() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let mut slow = Vec::new();

    for half in [
        "GET /hea",
        "POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n{\"lo",
    ] {
        for _ in 0..100 {
            let mut stream = connect(client).await;
            stream.write_all(half.as_bytes()).await.unwrap();
            slow.push(stream);
        }
    }

    client.granted("r", json!({})).await;
    // The rest of one of them comes after all: it is a request like any other.
    let mut last = slow.pop().unwrap();
    last.write_all(b"ad\": 1}").await.unwrap();
    let mut got = [0; 1024];
    let read = tokio::time::timeout(DEADLINE, last.read(&mut got)).await.unwrap().unwrap();

    let got = String::from_utf8_lossy(&got[..read]);
    assert!(got.starts_with("HTTP/1.1 429"), "{got}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let head = "POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\nconnection: close\r\n\r\n{\"lo";
    let answer = send(client, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert!(answer.contains("bad-request"), "{answer}");
}

/// One answer: its head, and the body that the head announces.
async fn one_answer(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.expect("a length").parse().unwrap() {
                return text;
            }
        }
        let read = stream.read_buf(&mut got).await.unwrap();
        assert!(read > 0, "it breaks off: {text:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_announced_as_too_large_is_refused_at_once() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    for (target, length) in [
        ("POST /v1/resources/r/acquire", 64 * 1024 + 1),
        ("POST /v1/resources/r/acquire", 1 << 60),
        ("PUT /v1/resources/r", 1 << 60),
        ("POST /v1/leases/local.00000000000000000000/release", 1 << 60),
        ("POST /v1/cluster/changes", 1_u64 << 60),
    ] {
        let mut stream = connect(client).await;
        let head = format!("{target} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(AT_ONCE, one_answer(&mut stream)).await;
        let answer =
            answer.unwrap_or_else(|_| panic!("{target} of {length} bytes is not refused at once"));
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(
            answer.contains("body-too-large") && answer.contains("connection: close"),
            "{answer}"
        );

        // Nothing more comes, and that is said at once too.
        let end = tokio::time::timeout(AT_ONCE, stream.read(&mut [0])).await;
        assert_eq!(end.expect("the server closes its side").unwrap(), 0);
    }
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_refused_before_its_end() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let mut stream = connect(client).await;
    let head =
        "POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 65 * 1024, "x".repeat(65 * 1024));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(chunk.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(AT_ONCE, one_answer(&mut stream))
        .await
        .expect("it is refused at once");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// Who sends on for a while, and looks at the answer only then, is not cut off before.
#[tokio::test]
async fn a_sender_that_does_not_look_gets_to_see_the_refusal() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    let mut stream = connect(client).await;
    let body = vec![b'x'; 8 * 1024 * 1024];
    let length = body.len();

    let head = format!(
        "POST /v1/resources/r/acquire HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();

    for part in body.chunks(512 * 1024) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(part).await.expect("the server reads on");
    }

    let answer = tokio::time::timeout(DEADLINE, one_answer(&mut stream)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
