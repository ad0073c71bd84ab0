//! `ratequeue acquire`: running a command under a lease.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::harness::{Client, Node, eventually, program_at_terminal, run};
use super::{against, ended, held, node, said, signal, text};

#[tokio::test]
async fn acquire_passes_the_exit_code_on_and_releases() {
    let node = node().await;
    let client = &node.client;
    for code in [0, 1, 7, 75, 255] {
        let script = format!("exit {code}");
        let output = against(client, &["acquire", "r", "--", "sh", "-c", &script]).await;
        ended(&output, code);
        assert_eq!(held(client).await, 0, "the lease was released");
    }

    let output =
        against(client, &["acquire", "r", "--", "sh", "-c", "echo out; echo err >&2"]).await;
    assert_eq!(
        (ended(&output, 0).as_str(), text(&output.stderr).as_str()),
        ("out\n", "err\n"),
        "and nothing of ours"
    );
}

#[tokio::test]
async fn acquire_says_which_signal_ended_the_command() {
    let node = node().await;
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        let script = format!("kill -{signal} $$");
        let output = against(&node.client, &["acquire", "r", "--", "sh", "-c", &script]).await;
        ended(&output, code);
        assert_eq!(held(&node.client).await, 0);
    }
}

#[tokio::test]
async fn acquire_tells_the_command_its_lease() {
    let node = node().await;
    let client = &node.client;

    // While the command runs the lease is held.
    let url = client.url();
    let script = "echo $RATEQUEUE_LEASE_ID $RATEQUEUE_FENCING_TOKEN";
    let first = ended(&against(client, &["acquire", "r", "--", "sh", "-c", script]).await, 0);
    let second =
        ended(&run(&["acquire", "--url", &url, "r", "--", "sh", "-c", script], &[]).await, 0);

    let parse = |line: &str| {
        let (id, token) = line.trim().split_once(' ').unwrap();
        (id.to_owned(), token.parse::<u64>().unwrap())
    };

    let (first, second) = (parse(&first), parse(&second));
    assert!(second.1 > first.1, "fencing tokens rise");
    for (id, _) in [first, second] {
        assert_eq!(client.lease(&id).await.is(200).str("state"), "released");
    }
}

#[tokio::test]
async fn acquire_asks_for_what_its_flags_say() {
    let node = Node::start().await;
    let client = &node.client;
    let limits = json!({
        "tpm": {"kind": "rate", "quota": 1000, "window_ms": 3_600_000},
        "slots": {"kind": "concurrency", "quota": 5}
    });

    client.create("r", limits).await;
    let script = "echo $RATEQUEUE_LEASE_ID";
    let shown = |output: Output| {
        let client = client.clone();
        async move { client.lease(ended(&output, 0).trim()).await }
    };

    let args = [
        "acquire",
        "r",
        "--load",
        "20",
        "--priority",
        "3",
        "--ttl",
        "2m",
        "--",
        "sh",
        "-c",
        script,
    ];

    let lease = shown(against(client, &args).await).await;
    assert_eq!((&lease.body["load"], lease.u64("priority")), (&json!(20), 3));
    let args = ["acquire", "r", "--load", "input=12,output=8", "--", "sh", "-c", script];
    let lease = shown(against(client, &args).await).await;
    assert_eq!(lease.body["load"], json!({"input": 12, "output": 8}));
    assert_eq!(client.stats("r").await["limits"]["tpm"]["used"], 40);
}

#[tokio::test]
async fn acquire_exits_with_75_when_the_wait_ran_out() {
    let node = node().await;
    let client = &node.client;
    client.granted("r", json!({})).await;
    let start = Instant::now();
    let marker = node.tree().path().join("ran");
    let touch = ["--", "touch", marker.to_str().unwrap()];

    for (wait, words) in [("0", "limit-exceeded"), ("700ms", "wait-timeout")] {
        let output =
            against(client, &[&["acquire", "r", "--wait", wait], &touch[..]].concat()).await;
        ended(&output, 75);
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }

    assert!(start.elapsed() >= Duration::from_millis(700));
    assert!(!marker.exists(), "the command was not run");
    assert_eq!(client.stats("r").await["queue_depth"], 0);
}

#[tokio::test]
async fn acquire_waits_in_queue() {
    let node = node().await;
    let client = &node.client;
    let first = client.granted("r", json!({})).await;

    let waiting = {
        let client = client.clone();
        tokio::spawn(async move {
            against(&client, &["acquire", "r", "--wait", "1m", "--", "echo", "mine"]).await
        })
    };

    eventually("it is in the queue", || async {
        (client.stats("r").await["queue_depth"] == 1).then_some(())
    })
    .await;

    client.release(&first.id()).await.is(200);
    let output = waiting.await.unwrap();
    assert_eq!(ended(&output, 0), "mine\n");
    assert!(text(&output.stderr).contains("number 1 in the queue"), "{}", text(&output.stderr));
    assert_eq!(held(client).await, 0);
}

#[tokio::test]
async fn acquire_keeps_the_lease_while_the_command_runs_longer_than_the_ttl() {
    let node = node().await;
    let client = &node.client;
    let running = {
        let client = client.clone();
        let args = [
            "acquire",
            "r",
            "--ttl",
            "1s",
            "--",
            "sh",
            "-c",
            "sleep 3.5; echo $RATEQUEUE_LEASE_ID",
        ];
        tokio::spawn(async move { against(&client, &args).await })
    };

    let lease =
        eventually("it is held", || async { client.leases("r", "held").await.first().cloned() })
            .await;

    // Nobody else gets the slot before the command ends, although its ttl is long over.
    let next = client.granted("r", json!({"wait_ms": 30_000})).await;
    assert!(next.u64("waited_ms") > 2000, "{}", next.text);
    let output = running.await.unwrap();
    assert_eq!(ended(&output, 0).trim(), lease["id"]);
    assert_eq!(text(&output.stderr), "", "the lease was never lost");
    assert_eq!(client.lease(lease["id"].as_str().unwrap()).await.str("state"), "released");
}

/// A process of the program that gets a signal once `ready` says so.
async fn signalled<F>(
    client: &Client,
    args: &[&str],
    sent: Signal,
    ready: impl FnMut() -> F,
) -> Output
where
    F: Future<Output = Option<()>>,
{
    let mut command = program_at_terminal();
    command
        .args(args)
        .env("RATEQUEUE_URL", client.url())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    eventually("it is as far", ready).await;
    signal(&child, sent);
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
    output.expect("it ends").unwrap()
}

#[tokio::test]
async fn acquire_passes_sigterm_and_sighup_on_to_the_command() {
    let node = node().await;
    let client = &node.client;
    for (sent, name) in [(Signal::TERM, "TERM"), (Signal::HUP, "HUP")] {
        let marker = node.tree().path().join(name);
        let script = format!(
            "trap 'exit 9' {name}; touch {}; while :; do sleep 0.05; done",
            marker.display()
        );
        let ready = || async { marker.exists().then_some(()) };
        let output =
            signalled(client, &["acquire", "r", "--", "sh", "-c", &script], sent, ready).await;
        ended(&output, 9);
        assert_eq!(held(client).await, 0, "the lease was released");
    }
}

#[tokio::test]
async fn acquire_gives_its_place_up_at_a_signal() {
    let node = node().await;
    let client = &node.client;
    client.granted("r", json!({"ttl_ms": 600_000})).await;
    for (sent, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::TERM, 143)] {
        let ready = || async { (client.stats("r").await["queue_depth"] == 1).then_some(()) };
        let output =
            signalled(client, &["acquire", "r", "--wait", "1m", "--", "true"], sent, ready).await;
        ended(&output, code);
        assert_eq!(client.stats("r").await["queue_depth"], 0);
    }
}

#[tokio::test]
async fn under_nohup_acquire_outlives_its_terminal() {
    let node = node().await;
    let client = &node.client;
    let marker = node.tree().path().join("ready");
    let mut command = tokio::process::Command::new("sh");
    let script = format!("touch {}; sleep 0.5; echo done", marker.display());

    command.args([
        "-c",
        "trap '' HUP; exec \"$0\" acquire r -- sh -c \"$1\"",
        env!("CARGO_BIN_EXE_ratequeue"),
        &script,
    ]);

    command.env("RATEQUEUE_URL", client.url()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    eventually("it runs", || async { marker.exists().then_some(()) }).await;
    signal(&child, Signal::HUP);
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(ended(&output, 0), "done\n");
}

#[tokio::test]
async fn acquire_says_why_it_fails_with_a_code_for_each_kind() {
    let node = node().await;
    let client = &node.client;
    let folder = node.tree().path().to_str().unwrap().to_owned();

    for (args, code, words) in [
        (
            &["none", "--", "true"][..],
            65,
            &["resource-not-found", "none", "ratequeue resource"][..],
        ),
        (&["r", "--load", "{}", "--", "true"], 64, &["--load", "whole number"]),
        (&["r"], 64, &["<CMD>"]),
        (&["r", "--url", "https://localhost:1", "--", "true"], 64, &["http://"]),
        (&["r", "--", "/no/such/program"], 127, &["/no/such/program", "cannot be run"]),
        (&["r", "--", &folder], 126, &[&folder, "cannot be run"]),
    ] {
        said(&against(client, &[&["acquire"], args].concat()).await, code, words);
    }

    assert_eq!(held(client).await, 0);
}

#[tokio::test]
async fn a_load_that_can_never_fit_is_refused() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("tpm", super::harness::rate(60, 60_000)).await;
    let output =
        against(client, &["acquire", "tpm", "--load", "61", "--wait", "1m", "--", "true"]).await;
    said(&output, 65, &["load-exceeds-capacity", "60"]);
}

#[tokio::test]
async fn a_quiet_acquire_says_nothing_while_it_waits() {
    let node = node().await;
    let client = &node.client;
    client.granted("r", json!({"ttl_ms": 1_000})).await;
    let output =
        against(client, &["acquire", "r", "-q", "--wait", "30s", "--ttl", "20h", "--", "true"])
            .await;
    assert_eq!((ended(&output, 0).as_str(), text(&output.stderr).as_str()), ("", ""));
}

#[tokio::test]
async fn a_time_to_live_that_is_lowered_is_not_lowered_silently() {
    let node = node().await;
    let output = against(&node.client, &["acquire", "r", "--ttl", "2h", "--", "true"]).await;
    said(&output, 0, &["900 s, not 2h", "r allows no more"]);
    let output = against(&node.client, &["acquire", "r", "--ttl", "14m", "--", "true"]).await;
    assert_eq!(said(&output, 0, &[]), "");
}
