//! Flags, files, folders and ports with which a node does not start. Each says what to do.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::harness::{Node, Start, Tree, run};

/// It ended with this code, said these words, and printed nothing to standard output.
#[track_caller]
fn failed(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    for word in words {
        assert!(stderr.contains(word), "must say {word:?}: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

async fn dev(data: &Path) -> Output {
    run(&["dev", "--http", "127.0.0.1:0", "--data", data.to_str().unwrap()], &[]).await
}

#[tokio::test]
async fn a_folder_of_something_else_is_left_alone() {
    let tree = Tree::new();
    tree.file("photos/holiday.jpg", "not ours");
    let folder = tree.path().join("photos");
    failed(
        &dev(&folder).await,
        78,
        &["photos", "holiday.jpg", "is not a RateQueue data folder", "empty folder"],
    );
    let left: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["holiday.jpg"], "nothing of ours was put into it");
}

#[tokio::test]
async fn a_file_in_the_place_of_the_folder() {
    let tree = Tree::new();
    let file = tree.file("data", "x");
    let output = dev(&file).await;
    assert!(matches!(output.status.code(), Some(1 | 78)), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("data"), "{output:?}");
    assert_eq!(fs::read_to_string(file).unwrap(), "x");
}

#[tokio::test]
async fn a_folder_in_use_names_the_process() {
    let node = Node::start().await;
    let pid = node.pid().to_string();
    failed(&dev(node.data()).await, 78, &["in use by another process", &pid, "Stop that process"]);
    node.client.get("/readyz").await.is(200);
}

#[tokio::test]
async fn a_damaged_identity_is_not_trusted() {
    let mut node = Node::start().await;
    node.stop().await;
    let path = node.data().join("identity.json");
    let good = fs::read_to_string(&path).unwrap();
    let advice = "replace-node";

    for (damage, words) in [
        (good.replace("\"node\": 1", "\"node\": 2"), &["identity.json", "checksum", advice][..]),
        (good[..good.len() / 2].to_owned(), &["identity.json", "cannot be read", advice]),
        (String::new(), &["identity.json", "cannot be read", advice]),
        ("[]".to_owned(), &["identity.json", "cannot be read", advice]),
        (good.replace("\"format\": 1", "\"format\": 99"), &["format 99", "newer version"]),
    ] {
        assert_ne!(damage, good, "the test changes something");
        fs::write(&path, damage).unwrap();
        failed(&dev(node.data()).await, 78, words);
    }

    fs::remove_file(&path).unwrap();
    failed(&dev(node.data()).await, 78, &["identity.json is missing", advice]);
    fs::write(&path, &good).unwrap();
    node.start_again().await;
}

#[tokio::test]
async fn a_folder_of_another_node_is_refused() {
    let mut node = Node::start().await;
    node.stop().await;
    let file = node.tree().file("cluster.toml", &cluster("other", 1));
    let args = [
        "node",
        "--cluster",
        file.to_str().unwrap(),
        "--id",
        "1",
        "--data",
        node.data().to_str().unwrap(),
    ];
    failed(&run(&args, &[]).await, 78, &["belongs to another node", "'dev'", "'other'"]);
    node.start_again().await;
}

#[tokio::test]
async fn a_port_in_use_says_what_to_do() {
    let node = Node::start().await;
    let tree = Tree::new();
    let (address, data) = (node.client.address(), tree.path().join("data"));
    let output = run(&["dev", "--http", &address, "--data", data.to_str().unwrap()], &[]).await;
    failed(&output, 1, &[&address, "in use", "--http"]);
    assert!(!data.exists(), "nothing was made");
}

#[tokio::test]
async fn wrong_flags() {
    for (args, words) in [
        (&["dev", "--prot", "1"][..], &["--prot"][..]),
        (&["dev", "--http", "nowhere"], &["--http", "nowhere", "host:port"]),
        (&["dev", "--http", "*:7600"], &["--http", "no host name"]),
        (&["dev", "--http", "fd00::7:7600"], &["--http", "[fd00::7]:7600"]),
        (&["dev", "--advertise", "0.0.0.0"], &["--advertise", "every interface"]),
        (&["node", "--advertise-http", "node-1:0"], &["--advertise-http", "1 to 65535"]),
        (&["node", "--advertise-peer", "[::]:7700"], &["--advertise-peer", "every interface"]),
        (&["dev", "--http", "127.0.0.1:70000"], &["--http"]),
        (&["dev", "--data"], &["--data"]),
        (&["dev", "extra"], &["extra"]),
        (&["deev"], &["deev", "dev"]),
        (&["node"], &["--cluster", "--id", "--data"]),
        (&["node", "--cluster", "x", "--id", "one", "--data", "y"], &["--id", "one"]),
        (&["acquire"], &["RESOURCE"]),
        (&["acquire", "r"], &["CMD"]),
        (&["acquire", "r", "--wait", "5", "--", "true"], &["--wait", "unit"]),
        (&["acquire", "r", "--wait", "32d", "--", "true"], &["--wait", "31d"]),
        (&["acquire", "r", "--load", "-1", "--", "true"], &["-1"]),
        (&["acquire", "r", "--load", "x", "--", "true"], &["--load", "whole number"]),
        (&["acquire", "r", "--priority", "10", "--", "true"], &["--priority", "0..=9"]),
        (
            &["acquire", "r", "--url", "ftp://x", "--", "true"],
            &["ftp://x", "http://127.0.0.1:7600"],
        ),
        (&["resource", "apply"], &["FILE"]),
        (&["completions", "tcsh"], &["tcsh", "bash"]),
    ] {
        // Every other code below 64 is that of the command that it runs.
        let code = if args[0] == "acquire" { 64 } else { 2 };
        failed(&run(args, &[]).await, code, words);
    }

    failed(&run(&["dev"], &[("RATEQUEUE_HTTP", "nowhere")]).await, 2, &["nowhere"]);
    failed(
        &run(&["dev", "--http", "127.0.0.1:0"], &[("RATEQUEUE_LOG", "a=b=c")]).await,
        2,
        &["RATEQUEUE_LOG", "a=b=c"],
    );
}

fn cluster(name: &str, id: u64) -> String {
    format!(
        "name = '{name}'\n[regions.local]\nnodes = [ {{ id = {id}, http = '127.0.0.1:7600', peer = '127.0.0.1:7700' }} ]\n"
    )
}

#[tokio::test]
async fn cluster_files_with_mistakes() {
    let tree = Tree::new();
    let good = cluster("demo", 1);
    for (text, words) in [
        (good.replace("nodes", "nodse"), &["line 3", "nodse", "`nodes`"][..]),
        (good.replace("peer", "pear"), &["line 3", "pear", "`id`, `http`, `peer`"]),
        (good.replace("name", "nmae"), &["line 1", "nmae", "`name`", "`regions`"]),
        (good.replace("127.0.0.1:7600", "nowhere"), &["line 3", "nowhere", "host:port"]),
        (good.replace("127.0.0.1:7600", "0.0.0.0:7600"), &["line 3", "0.0.0.0", "every interface"]),
        (good.replace("127.0.0.1:7700", "node_1:7700"), &["line 3", "node_1", "host name"]),
        (good.replace("7700", "0"), &["line 3", "1 to 65535"]),
        (good.replace("id = 1", "id = 'one'"), &["line 3", "id"]),
        (good.replace("demo", "Demo"), &["name", "a-z 0-9 -"]),
        (good.replace("id = 1", "id = 0"), &["id 0", "local"]),
        (good.replace("7700", "7600"), &["127.0.0.1:7600", "twice"]),
        (good.replace("local", "global"), &["global"]),
        (good.replace("id = 1", "id = 2"), &["no node 1", "[2]"]),
        (format!("{good}[global]\nvoters = 1\n"), &["line 5", "voters", "voters_per_region"]),
        ("name = 'demo'\nregions = {}\n".to_owned(), &["regions"]),
        (good.replace(']', ""), &["line"]),
        (String::new(), &["name"]),
    ] {
        assert_ne!(text, good, "the test changes something");
        let file = tree.file("cluster.toml", &text);
        let data = tree.path().join("data");
        let args = [
            "node",
            "--cluster",
            file.to_str().unwrap(),
            "--id",
            "1",
            "--data",
            data.to_str().unwrap(),
        ];
        failed(&run(&args, &[]).await, 2, &[&["cluster.toml"], words].concat());
        assert!(!data.exists(), "nothing was made");
    }

    let args = ["node", "--cluster", "/nowhere/cluster.toml", "--id", "1", "--data", "x"];
    failed(&run(&args, &[]).await, 2, &["/nowhere/cluster.toml", "cannot be read"]);
}

#[tokio::test]
async fn a_folder_that_was_left_by_a_start_that_broke_off_is_used() {
    let start = Start::dev();
    fs::create_dir_all(start.data.join("lost+found")).unwrap();
    fs::write(start.data.join("lock"), "12345\n").unwrap();
    fs::write(start.data.join("identity.tmp"), "{").unwrap();
    start.run().await;
}
