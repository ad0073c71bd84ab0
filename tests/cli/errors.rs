//! What is said when it does not work: without a node, by what is no node, and in words of the
//! command line.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::harness::{Node, concurrency, run};
use super::resources::FILE;
use super::{against, ended, node, said, text};

/// Far less than the 10 s that a call is repeated for, and much more than the second that a dead
/// node costs: the machine is shared.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn without_a_server_the_error_says_what_to_do() {
    let mut node = node().await;
    let url = node.url();
    node.kill().await;
    let file = node.tree().file("limits.toml", FILE);

    let commands = [
        (&["resource", "list"][..], 1),
        (&["resource", "apply", "-f", file.to_str().unwrap()], 1),
        (&["stats"], 1),
        (&["acquire", "r", "--", "true"], 69),
        (&["acquire", "r", "--wait", "1s", "--", "true"], 69),
    ];

    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for (args, code) in commands {
        let (url, args) =
            (url.clone(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        running.spawn(async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            (run(&args, &[("RATEQUEUE_URL", &url)]).await, code)
        });
    }

    for (output, code) in running.join_all().await {
        said(&output, code, &[&url, "Is one running", "nothing happened", "Connection refused"]);
    }

    assert!(start.elapsed() < SOON, "a dead node has cost {:?}", start.elapsed());
}

/// What answers is no RateQueue.
#[tokio::test]
async fn a_server_of_something_else_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let other = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
            let _ = stream.write_all(answer).await;
        }
    });

    let output = run(&["resource", "list"], &[("RATEQUEUE_URL", &url)]).await;
    other.abort();
    ended(&output, 1);
    let stderr = text(&output.stderr);

    assert!(
        stderr.contains(&url) && stderr.contains("does not answer like a RateQueue node"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_connection_that_fails_names_its_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let not_http = format!("http://{}", listener.local_addr().unwrap());
    let other = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1_024]).await;
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });

    for (url, words) in [
        ("http://no-such-host.invalid:7600", &["lookup", "no-such-host.invalid"][..]),
        ("http://127.0.0.1:1", &["Connection refused"]),
        (&not_http, &["HTTP"]),
        ("https://127.0.0.1:7600", &["nodes do not speak TLS"]),
        ("http://127.0.0.1:7600/v1", &["has a path", "give http://127.0.0.1:7600"]),
    ] {
        let output = run(&["resource", "list"], &[("RATEQUEUE_URL", url)]).await;
        let said = text(&output.stderr);
        assert!(words.iter().all(|word| said.contains(word)), "{url}: {said}");
    }

    other.abort();
}

/// A node that has died, and one that accepts connections and says nothing, before one that lives.
#[tokio::test]
async fn one_dead_node_of_several_costs_about_a_second() {
    let node = node().await;
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hung = format!("http://{}", hung.local_addr().unwrap());

    for first in ["http://127.0.0.1:1", &hung] {
        let urls = format!("{first},{}", node.url());
        for args in [&["resource", "list"][..], &["acquire", "r", "--", "true"]] {
            let start = Instant::now();
            ended(&run(args, &[("RATEQUEUE_URL", &urls)]).await, 0);
            assert!(
                start.elapsed() < Duration::from_millis(3_500),
                "{first}, {args:?}: {:?}",
                start.elapsed()
            );
        }
    }
}

#[tokio::test]
async fn what_is_said_speaks_of_commands_and_not_of_http() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(1)).await;
    client.granted("r", json!({"ttl_ms": 600_000})).await;

    for args in [
        &["acquire", "none", "--", "true"][..],
        &["acquire", "r", "--", "true"],
        &["acquire", "r", "--wait", "200ms", "--", "true"],
        &["resource", "get", "none"],
        &["resource", "delete", "none"],
        &["stats", "none"],
        &["lease", "get", "local.1"],
        &["lease", "release", "local.1"],
        &["cluster", "transfer-leader", "--to", "7"],
    ] {
        let output = against(client, args).await;
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.starts_with("ratequeue: "), "{args:?}: {said}");
        for word in ["PUT", "POST", "/v1/", "wait_ms", "request is malformed", "HTTP"] {
            assert!(!said.contains(word), "{args:?} says {word}: {said}");
        }
    }
}
