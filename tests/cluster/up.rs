//! `ratequeue cluster up`: a whole cluster on one machine.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::cluster::{Cluster, failed};
use crate::harness::{concurrency, eventually, run};
use crate::turn::Turn;

#[tokio::test]
async fn up_runs_a_whole_cluster_and_takes_it_down_again() {
    let _turn = Turn::shared();
    let cluster = Cluster::described(3);
    let data = cluster.tree().path().join("up");
    let mut up = Command::new(env!("CARGO_BIN_EXE_ratequeue"));
    up.args(["cluster", "up", "--cluster"]).arg(&cluster.file).arg("--data").arg(&data);
    let mut up = up.stdout(std::process::Stdio::piped()).kill_on_drop(true).spawn().unwrap();

    let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
    let mut said = String::new();
    while !said.contains("Ctrl-C stops them") {
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        said += &(line
            .expect("it comes up in time")
            .unwrap()
            .unwrap_or_else(|| panic!("it has ended: {said}"))
            + "\n");
    }

    for member in cluster.members.values() {
        assert!(said.contains(&member.url()), "{said}");
        member.client.create(&format!("by-{}", member.id), concurrency(1)).await;
        member.client.granted(&format!("by-{}", member.id), json!({})).await;
    }

    let pids: Vec<Pid> = (1..=3).map(|id| pid_of(&data.join(format!("node-{id}")))).collect();
    let pid = Pid::from_raw(i32::try_from(up.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended =
        tokio::time::timeout(Duration::from_secs(30), up.wait()).await.expect("it ends").unwrap();

    assert_eq!(ended.code(), Some(0));
    assert!(pids.iter().all(|pid| test_kill_process(*pid).is_err()), "a process is left: {pids:?}");
}

#[tokio::test]
async fn up_takes_its_nodes_with_it_when_it_is_killed() {
    let _turn = Turn::shared();
    let cluster = Cluster::described(3);
    let data = cluster.tree().path().join("up");
    let mut up = Command::new(env!("CARGO_BIN_EXE_ratequeue"));
    up.args(["cluster", "up", "--cluster"]).arg(&cluster.file).arg("--data").arg(&data);
    let mut up = up.stdout(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap();
    for member in cluster.members.values() {
        member.ready().await;
    }
    let pids: Vec<Pid> = (1..=3).map(|id| pid_of(&data.join(format!("node-{id}")))).collect();

    up.kill().await.unwrap();
    eventually("no node is left", || async { (!pids.iter().any(|pid| runs(*pid))).then_some(()) })
        .await;
    for id in 1..=3 {
        let log = fs::read_to_string(data.join(format!("node-{id}.log"))).unwrap();
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[tokio::test]
async fn up_names_the_port_that_is_taken_and_starts_nothing() {
    let _turn = Turn::shared();
    let cluster = Cluster::described(3);
    let data = cluster.tree().path().join("up");
    let (file, data) = (cluster.file.to_str().unwrap(), data.to_str().unwrap());
    let url = cluster.node(2).url();
    let address = url.strip_prefix("http://").unwrap();

    let _taken = std::net::TcpListener::bind(address).unwrap();
    let output = run(&["cluster", "up", "--cluster", file, "--data", data], &[]).await;
    failed(
        &output,
        1,
        &[
            "node 2 cannot listen at its http address",
            address,
            "in use",
            "ratequeue cluster status",
        ],
    );
    assert!(!Path::new(data).exists(), "nothing was started");
}

/// Whether a process runs. One that has ended may stay in the table until somebody looks at its
/// end.
fn runs(pid: Pid) -> bool {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// The process that has locked a data folder.
fn pid_of(data: &Path) -> Pid {
    let text = fs::read_to_string(data.join("lock")).unwrap();
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}
