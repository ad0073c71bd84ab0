//! How many commands a group of one decides in a second, on this machine. Ignored: it checks nothing.
//! `cargo test --release -p ratequeue-raft --test speed -- --ignored --nocapture`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::{Duration, Instant};

use common::*;

#[tokio::test]
#[ignore = "a measurement"]
async fn acquires_and_releases_a_second() {
    for callers in [1, 8, 64, 512] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let group = open_alone(dir.path()).await;
        group.submit(put("api", 1_000_000)).await.unwrap().outcome.unwrap();
        let first = group.status().last_log_index.unwrap();
        let begun = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|caller| {
                let group = group.clone();
                tokio::spawn(async move {
                    let (mut calls, mut slowest) = (0_u64, Duration::ZERO);
                    while begun.elapsed() < Duration::from_secs(3) {
                        let asked = Instant::now();
                        let view = acquired(&group, acquire("api", &format!("{caller}-{calls}"))).await;
                        slowest = slowest.max(asked.elapsed());
                        group.submit(release(view.id)).await.unwrap().outcome.unwrap();
                        calls += 1;
                    }
                    (calls, slowest)
                })
            })
            .collect();
        let (mut calls, mut slowest) = (0, Duration::ZERO);
        for task in tasks {
            let (n, slow) = task.await.unwrap();
            (calls, slowest) = (calls + n, slowest.max(slow));
        }
        let entries = group.status().last_log_index.unwrap() - first;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{callers:4} callers: {:8.0} commands/s, {:6.0} entries/s, slowest acquire {slowest:?}, {:.2} ms mean",
            (2 * calls) as f64 / seconds,
            entries as f64 / seconds,
            seconds * 1000.0 * f64::from(callers) / (2 * calls) as f64,
        );
        group.shutdown().await.unwrap();
    }
}
