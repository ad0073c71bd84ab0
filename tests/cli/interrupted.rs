//! `ratequeue acquire` interrupted at random instants, from before its first call to after its end:
//! nothing is left behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Signal, test_kill_process};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::harness::{Client, Node, concurrency, eventually, program_at_terminal};
use super::text;

/// Which instants; printed, and the same each time unless `RATEQUEUE_SEED` says otherwise.
const SEED: u64 = 20_261_129;
const RUNS: usize = 200;
/// Processes at once: some wait while others hold.
const AT_ONCE: usize = 16;
const SLOTS: u64 = 4;
/// The last instant: by then most have ended. Early ones are more frequent.
const LAST: Duration = Duration::from_secs(4);

/// How far a process was when it was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It had no handlers yet: nothing was sent.
    Starting,
    /// Its command did not run: it gave up.
    BeforeTheCommand,
    /// The signal ended its command.
    InTheCommand,
    /// Its command had ended, or was not to be told.
    Done,
}

/// One process, interrupted after this time.
async fn interrupted(client: &Client, note: &Path, sent: Signal, after: Duration) -> Stage {
    let script = format!("echo $$ >{}; exec sleep 0.15", note.display());
    let mut command = program_at_terminal();
    command
        .args(["acquire", "r", "-q", "--wait", "30s", "--", "sh", "-c", &script])
        .env("RATEQUEUE_URL", client.url());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();

    let pid = child.id();
    let ending = tokio::spawn(child.wait_with_output());
    tokio::time::sleep(after).await;
    if !ending.is_finished() {
        let pid = Pid::from_raw(i32::try_from(pid.unwrap()).unwrap()).unwrap();
        // It may have ended in this moment.
        let _ = rustix::process::kill_process(pid, sent);
    }
    let output = tokio::time::timeout(Duration::from_secs(60), ending)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();

    let ran = std::fs::read_to_string(note)
        .ok()
        .and_then(|pid| pid.trim().parse().ok())
        .and_then(Pid::from_raw);
    let is_orphan = ran.is_some_and(|pid| test_kill_process(pid).is_ok());
    assert!(!is_orphan, "{sent:?} after {after:?}: the command outlived it");
    match (output.status.code(), ran) {
        (None, None) => Stage::Starting,
        (Some(129 | 130 | 143), None) => Stage::BeforeTheCommand,
        (Some(129 | 143), Some(_)) => Stage::InTheCommand,
        (Some(0), Some(_)) => Stage::Done,
        (code, _) => {
            panic!("{sent:?} after {after:?}: it ended with {code:?}: {}", text(&output.stderr))
        }
    }
}

#[tokio::test]
async fn nothing_is_left_behind_at_200_random_instants() {
    let seed =
        std::env::var("RATEQUEUE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("again: RATEQUEUE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let node = Node::start().await;
    let client = &node.client;
    client.create("r", concurrency(SLOTS)).await;

    let (turns, mut running) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for run in 0..RUNS {
        let sent = [Signal::INT, Signal::TERM, Signal::HUP][random.random_range(0..3)];
        let after = LAST.mul_f64(random.random::<f64>().powi(3));
        let note: PathBuf = node.tree().path().join(format!("run-{run}"));
        let (client, turns) = (client.clone(), Arc::clone(&turns));
        running.spawn(async move {
            let _turn = turns.acquire_owned().await.unwrap();
            interrupted(&client, &note, sent, after).await
        });
    }
    let mut stages: BTreeMap<Stage, usize> = BTreeMap::new();
    for stage in running.join_all().await {
        *stages.entry(stage).or_default() += 1;
    }

    // Within the time that a granted lease has to be claimed; one that is left would be held for a
    // minute.
    let claim = Duration::from_millis(
        client.get("/v1/resources/r").await.body["queue"]["claim_ms"].as_u64().unwrap(),
    );
    let free = eventually("nobody holds and nobody waits", || async {
        let stats = client.stats("r").await;
        (stats["held"] == 0 && stats["queue_depth"] == 0).then_some(())
    });
    tokio::time::timeout(claim, free)
        .await
        .unwrap_or_else(|_| panic!("something is left after {claim:?}: {stages:?}"));
    println!("{stages:?}");
    // A run that hit one stage only has shown little.
    for stage in [Stage::BeforeTheCommand, Stage::InTheCommand, Stage::Done] {
        assert!(stages.contains_key(&stage), "none was interrupted {stage:?}: {stages:?}");
    }
}
