//! The command line, against a real node.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod harness;

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use harness::{Client, Node, Tree, concurrency, eventually, program, rate, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It ended with this code; gives what it printed.
#[track_caller]
fn ended(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Runs the program against a node.
async fn against(client: &Client, args: &[&str]) -> Output {
    run(args, &[("RATEQUEUE_URL", &client.url())]).await
}

async fn node() -> Node {
    let node = Node::start().await;
    node.client.create("r", concurrency(1)).await;
    node
}

async fn held(client: &Client) -> Value {
    client.stats("r").await["held"].clone()
}

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
    let output = against(client, &["acquire", "r", "--", "sh", "-c", "echo out; echo err >&2"]).await;
    assert_eq!((ended(&output, 0).as_str(), text(&output.stderr).as_str()), ("out\n", "err\n"), "and nothing of ours");
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
    let second = ended(&run(&["acquire", "--url", &url, "r", "--", "sh", "-c", script], &[]).await, 0);
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
    let args = ["acquire", "r", "--load", "20", "--priority", "3", "--ttl", "2m", "--", "sh", "-c", script];
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
        let output = against(client, &[&["acquire", "r", "--wait", wait], &touch[..]].concat()).await;
        ended(&output, 75);
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
    assert!(start.elapsed() >= Duration::from_millis(700));
    assert!(!marker.exists(), "the command was not run");
    assert_eq!(client.stats("r").await["queue_depth"], 0);
}

#[tokio::test]
async fn acquire_waits_in_line() {
    let node = node().await;
    let client = &node.client;
    let first = client.granted("r", json!({})).await;
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { against(&client, &["acquire", "r", "--wait", "1m", "--", "echo", "mine"]).await })
    };
    eventually("it is in line", || async { (client.stats("r").await["queue_depth"] == 1).then_some(()) }).await;
    client.release(&first.id()).await.is(200);
    let output = waiting.await.unwrap();
    assert_eq!(ended(&output, 0), "mine\n");
    assert!(text(&output.stderr).contains("number 1 in line"), "{}", text(&output.stderr));
    assert_eq!(held(client).await, 0);
}

#[tokio::test]
async fn acquire_keeps_the_lease_while_the_command_runs_longer_than_the_ttl() {
    let node = node().await;
    let client = &node.client;
    let running = {
        let client = client.clone();
        let args = ["acquire", "r", "--ttl", "1s", "--", "sh", "-c", "sleep 3.5; echo $RATEQUEUE_LEASE_ID"];
        tokio::spawn(async move { against(&client, &args).await })
    };
    let lease = eventually("it is held", || async { client.leases("r", "held").await.first().cloned() }).await;
    // Nobody else gets the slot before the command ends, although its ttl is long over.
    let next = client.granted("r", json!({"wait_ms": 30_000})).await;
    assert!(next.u64("waited_ms") > 2000, "{}", next.text);
    let output = running.await.unwrap();
    assert_eq!(ended(&output, 0).trim(), lease["id"]);
    assert_eq!(text(&output.stderr), "", "the lease was never lost");
    assert_eq!(client.lease(lease["id"].as_str().unwrap()).await.str("state"), "released");
}

/// A process of the program that gets a signal once `ready` says so.
async fn signalled<F>(client: &Client, args: &[&str], signal: Signal, ready: impl FnMut() -> F) -> Output
where
    F: Future<Output = Option<()>>,
{
    let mut command = program();
    command.args(args).env("RATEQUEUE_URL", client.url()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    eventually("it is as far", ready).await;
    kill_process(pid, signal).unwrap();
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
    output.expect("it ends").unwrap()
}

#[tokio::test]
async fn acquire_passes_sigterm_on_to_the_command() {
    let node = node().await;
    let client = &node.client;
    let marker = node.tree().path().join("ready");
    let script = format!("trap 'exit 9' TERM; touch {}; while :; do sleep 0.05; done", marker.display());
    let ready = || async { marker.exists().then_some(()) };
    let output = signalled(client, &["acquire", "r", "--", "sh", "-c", &script], Signal::TERM, ready).await;
    ended(&output, 9);
    assert_eq!(held(client).await, 0, "the lease was released");
}

#[tokio::test]
async fn acquire_gives_its_place_up_on_ctrl_c() {
    let node = node().await;
    let client = &node.client;
    client.granted("r", json!({})).await;
    let ready = || async { (client.stats("r").await["queue_depth"] == 1).then_some(()) };
    let output = signalled(client, &["acquire", "r", "--wait", "1m", "--", "true"], Signal::INT, ready).await;
    ended(&output, 130);
    assert_eq!(client.stats("r").await["queue_depth"], 0);
}

#[tokio::test]
async fn acquire_says_why_it_fails() {
    let node = node().await;
    let client = &node.client;
    for (args, words) in [
        (&["acquire", "none", "--", "true"][..], &["resource-not-found", "none"][..]),
        (&["acquire", "r", "--", "/no/such/program"], &["/no/such/program", "cannot be run"]),
    ] {
        let output = against(client, args).await;
        ended(&output, 1);
        for word in words {
            assert!(text(&output.stderr).contains(word), "{word}: {}", text(&output.stderr));
        }
    }
    assert_eq!(held(client).await, 0);
}

const FILE: &str = "
[resources.openai.limits.tpm]
kind = 'rate'
algorithm = 'token_bucket'
quota = 90000
window_ms = 60000

[resources.openai.limits.slots]
kind = 'concurrency'
quota = 20

[resources.plain]
queue = { max_waiting = 5 }
limits.rpm = { kind = 'rate', quota = 60, window_ms = 60000 }
";

#[tokio::test]
async fn resource_apply_makes_and_changes_what_a_file_says() {
    let node = Node::start().await;
    let client = &node.client;
    let file = node.tree().file("limits.toml", FILE);
    let path = file.to_str().unwrap();
    let dry = ended(&against(client, &["resource", "apply", "-f", path, "--dry-run"]).await, 0);
    assert!(dry.contains("openai: would be created") && dry.contains("plain: would be created"), "{dry}");
    assert!(dry.contains("limits.tpm.quota: - -> 90000"), "{dry}");
    client.get("/v1/resources/openai").await.problem(404, "resource-not-found");

    let applied = ended(&against(client, &["resource", "apply", "-f", path]).await, 0);
    assert!(applied.contains("openai: created") && applied.contains("plain: created"), "{applied}");
    let plain = client.get("/v1/resources/plain").await;
    assert_eq!(plain.is(200).body["queue"], json!({"max_waiting": 5, "max_wait_ms": 60000, "claim_ms": 5000}));

    let index = client.applied_index().await;
    let again = ended(&against(client, &["resource", "apply", "-f", path]).await, 0);
    assert_eq!(again, "openai: unchanged\nplain: unchanged\n");
    assert_eq!(client.applied_index().await, index, "and nothing was sent");

    node.tree().file("limits.toml", &FILE.replace("90000", "120000").replace("max_waiting = 5", ""));
    let dry = ended(&against(client, &["resource", "apply", "-f", path, "--dry-run"]).await, 0);
    let expected = [
        "openai: would be changed",
        "  limits.tpm.quota: 90000 -> 120000",
        "plain: would be changed",
        "  queue.max_waiting: 5 -> 10000",
    ];
    assert_eq!(dry.lines().collect::<Vec<_>>(), expected);
    assert_eq!(client.applied_index().await, index);
    let changed = ended(&against(client, &["resource", "apply", "-f", path]).await, 0);
    assert!(changed.contains("openai: changed") && !changed.contains("would"), "{changed}");
    assert_eq!(client.get("/v1/resources/openai").await.body["limits"]["tpm"]["quota"], 120_000);
}

#[tokio::test]
async fn resource_apply_takes_a_folder() {
    let node = Node::start().await;
    let client = &node.client;
    let tree = Tree::new();
    let folder = tree.path().to_str().unwrap();
    ended(&against(client, &["resource", "apply", "-f", folder]).await, 2);
    tree.file("a.toml", FILE);
    tree.file("b.json", &json!({"resources": {"from-json": {"limits": concurrency(3)}}}).to_string());
    tree.file("notes.txt", "not looked at");
    let applied = ended(&against(client, &["resource", "apply", "-f", folder]).await, 0);
    for name in ["openai", "plain", "from-json"] {
        assert!(applied.contains(&format!("{name}: created")), "{applied}");
        client.get(&format!("/v1/resources/{name}")).await.is(200);
    }
    for (name, content, words) in [
        ("c.toml", "[resources.openai]\nlimits = {}\n", &["c.toml", "openai", "another file"][..]),
        ("c.toml", "[resources.x.limits.a]\nkind = 'rate'\nqouta = 5\n", &["c.toml", "line 3", "qouta", "quota"]),
        ("c.toml", "[resource.x]\n", &["c.toml", "resource", "resources"]),
    ] {
        tree.file(name, content);
        let index = client.applied_index().await;
        let output = against(client, &["resource", "apply", "-f", folder]).await;
        ended(&output, 2);
        for word in words {
            assert!(text(&output.stderr).contains(word), "{word}: {}", text(&output.stderr));
        }
        assert_eq!(client.applied_index().await, index, "nothing was sent");
    }
    tree.file("c.toml", "[resources.bad]\nlimits = {}\n");
    let output = against(client, &["resource", "apply", "-f", folder]).await;
    ended(&output, 1);
    assert!(text(&output.stderr).contains("bad: ") && text(&output.stderr).contains("1 to 16"), "{output:?}");
}

#[tokio::test]
async fn resource_apply_refuses_what_it_would_have_to_cut() {
    let node = Node::start().await;
    let client = &node.client;
    let tree = Tree::new();
    for number in 0..=10_000 {
        tree.file(&format!("{number}.txt"), "");
    }
    tree.file("last.toml", FILE);
    let output = against(client, &["resource", "apply", "-f", tree.path().to_str().unwrap()]).await;
    ended(&output, 2);
    assert!(text(&output.stderr).contains("more than 10000 entries"), "{}", text(&output.stderr));

    let limits = concurrency(1);
    let twice = format!(r#"{{"resources":{{"a":{{"limits":{limits}}},"a":{{"limits":{limits}}}}}}}"#);
    let file = tree.file("twice.json", &twice);
    let output = against(client, &["resource", "apply", "-f", file.to_str().unwrap()]).await;
    ended(&output, 2);
    assert!(text(&output.stderr).contains("a is there twice"), "{}", text(&output.stderr));
    assert_eq!(client.get("/v1/resources").await.body["items"], json!([]));
}

#[tokio::test]
async fn resource_get_list_and_delete() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("b", rate(60, 60000)).await;
    client.create("a", concurrency(5)).await;
    let table = ended(&against(client, &["resource", "list"]).await, 0);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["RESOURCE", "PLACEMENT", "LIMIT", "KIND", "QUOTA", "WINDOW", "COST", "VERSION"]);
    assert_eq!(rows[1], ["a", "local", "slots", "concurrency", "5", "-", "one", "1"]);
    assert_eq!(rows[2], ["b", "local", "tpm", "sliding_window", "60", "60000ms", "load", "1"]);
    assert_eq!(rows.len(), 3);

    let list: Value = serde_json::from_str(&ended(&against(client, &["resource", "list", "--json"]).await, 0)).unwrap();
    assert_eq!(list, client.get("/v1/resources").await.body["items"]);
    let one: Value =
        serde_json::from_str(&ended(&against(client, &["resource", "get", "a", "--json"]).await, 0)).unwrap();
    assert_eq!(one, client.get("/v1/resources/a").await.body);
    let table = ended(&against(client, &["resource", "get", "a"]).await, 0);
    assert_eq!(table.lines().count(), 2, "{table}");

    let missing = against(client, &["resource", "get", "none"]).await;
    ended(&missing, 1);
    assert!(text(&missing.stderr).contains("none"));
    assert_eq!(ended(&against(client, &["resource", "delete", "a", "b"]).await, 0), "a: deleted\nb: deleted\n");
    assert_eq!(client.get("/v1/resources").await.body["items"], json!([]));
    ended(&against(client, &["resource", "delete", "a"]).await, 1);
    let list = ended(&against(client, &["resource", "list", "--json"]).await, 0);
    assert_eq!(list.trim(), "[]");
}

#[tokio::test]
async fn more_resources_than_fit_on_a_page_are_listed() {
    let node = Node::start().await;
    let client = &node.client;
    let limits: Value = concurrency(1);
    let resources =
        (0..601).map(|n| (format!("r{n:04}"), json!({"limits": limits}))).collect::<serde_json::Map<_, _>>();
    let file = node.tree().file("many.json", &json!({"resources": resources}).to_string());
    ended(&against(client, &["resource", "apply", "-f", file.to_str().unwrap()]).await, 0);
    let list = ended(&against(client, &["resource", "list", "--json"]).await, 0);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), 601);
    assert_eq!(list[600]["name"], "r0600");
}

#[tokio::test]
async fn every_command_has_help() {
    let top = ended(&run(&["--help"], &[]).await, 0);
    let mut commands = vec![vec!["resource", "apply"], vec!["resource", "get"], vec!["resource", "list"]];
    commands.push(vec!["resource", "delete"]);
    // Longer texts go on in lines that are indented further.
    let names: Vec<&str> = top
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_once(' ').map(|(name, _)| name))
        .filter(|name| !name.is_empty())
        .collect();
    for name in ["dev", "node", "resource", "acquire", "completions", "openapi"] {
        assert!(names.contains(&name), "{name} in {top}");
    }
    commands.extend(names.into_iter().filter(|name| *name != "help").map(|name| vec![name]));
    for mut args in commands {
        args.push("--help");
        let help = ended(&run(&args, &[]).await, 0);
        assert!(help.contains("Usage: ratequeue") && help.lines().count() > 3, "{args:?}: {help}");
    }
    assert!(ended(&run(&["--version"], &[]).await, 0).starts_with("ratequeue "));
    let nothing = run(&[], &[]).await;
    ended(&nothing, 2);
    assert!(text(&nothing.stderr).contains("Usage"), "{}", text(&nothing.stderr));
    // An API key in the environment is not shown.
    let help = ended(&run(&["acquire", "--help"], &[("RATEQUEUE_API_KEY", "hidden")]).await, 0);
    assert!(help.contains("RATEQUEUE_API_KEY") && !help.contains("hidden"), "{help}");
}

#[tokio::test]
async fn completions_and_the_description_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ended(&run(&["completions", shell], &[]).await, 0);
        assert!(script.contains("ratequeue") && script.contains("acquire") && script.len() > 1000, "{shell}");
    }
    let description = ended(&run(&["openapi"], &[]).await, 0);
    let description: Value = serde_json::from_str(&description).unwrap();
    assert_eq!(description["info"]["title"], "RateQueue");
}

/// Long enough for all tries, as they share a machine with other tests.
#[tokio::test]
async fn without_a_server_the_error_says_what_to_do() {
    let mut node = node().await;
    let url = node.url();
    node.kill().await;
    let file = node.tree().file("limits.toml", FILE);
    let commands = [
        &["resource", "list"][..],
        &["resource", "apply", "-f", file.to_str().unwrap()],
        &["acquire", "r", "--", "true"],
    ];
    let mut running = tokio::task::JoinSet::new();
    for args in commands {
        let (url, args) = (url.clone(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        running.spawn(async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            run(&args, &[("RATEQUEUE_URL", &url)]).await
        });
    }
    for output in running.join_all().await {
        ended(&output, 1);
        let stderr = text(&output.stderr);
        assert!(stderr.contains(&url) && stderr.contains("Is one running"), "{stderr}");
    }
}

/// What answers is no RateQueue.
#[tokio::test]
async fn a_server_of_something_else_is_named() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
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
    assert!(stderr.contains(&url) && stderr.contains("does not answer like a RateQueue node"), "{stderr}");
}
