//! Log time across failovers.

use std::time::{Duration, Instant};

use ratequeue_limiter::LogTime;
use ratequeue_raft::Woken;

use crate::common::*;
use crate::{acquire_anywhere, three};

#[tokio::test]
async fn log_time_runs_on_across_failovers_and_never_ahead_of_real_time() {
    let begun = Instant::now();
    let mut cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let mut last = LogTime(0);

    for round in 0..3 {
        let leader = cluster.leader().await;
        for n in 0..30 {
            cluster.submit(put("api", n + 2 + round * 50)).await.outcome.unwrap();
            let (applied, estimate) = cluster.group(leader).read(|state, now| (state.now(), now));
            let real = u64::try_from(begun.elapsed().as_micros()).unwrap();
            assert!(applied >= last && estimate.0 <= real);
            last = applied;
        }
        cluster.kill(leader);
        cluster.leader().await;
        cluster.open(leader).await;
    }

    // Each failover may cost a delay of replication, never the time without a leader.
    let now = cluster.group(cluster.leader().await).read(|_, now| now);
    let real = u64::try_from(begun.elapsed().as_micros()).unwrap();
    assert!(now.0 <= real && now.0 > real - 500_000, "{now} of {real}us");
}

/// Of any two entries, the later one's log time is ahead by no more than the real time between
/// them, whoever stamped them.
#[tokio::test]
async fn between_any_two_entries_no_more_log_time_passes_than_real_time() {
    let mut cluster = three().await;
    let begun = Instant::now();
    let us = || u64::try_from(begun.elapsed().as_micros()).unwrap();
    let mut entries = Vec::new();

    for round in 0..4_u64 {
        // Followers that hear late have late clocks.
        cluster.hub.set_delay(Duration::from_millis(round * 4));
        let leader = cluster.leader().await;
        for n in 0..20 {
            let before = us();
            let submitted =
                cluster.group(leader).submit_local(put("api", 1 + n + round * 50)).await;
            if submitted.is_ok() {
                let now = cluster.group(leader).read(|state, _| state.now());
                entries.push((before, now.0, us()));
            }
        }
        cluster.kill(leader);
        cluster.leader().await;
        cluster.open(leader).await;
    }

    assert!(entries.len() > 50);
    for (n, (before, earlier, _)) in entries.iter().enumerate() {
        for (_, later, after) in &entries[n..] {
            assert!(later >= earlier, "log time went back");
            assert!(
                later - earlier <= after - before,
                "{} us of log time in {} us",
                later - earlier,
                after - before
            );
        }
    }
}

#[tokio::test]
async fn leases_expire_after_a_failover_without_any_call() {
    let mut cluster = three().await;
    cluster.submit(put("api", 1)).await.outcome.unwrap();
    let begun = Instant::now();
    cluster.submit(acquire_for("api", "a", 0, 1_500)).await.outcome.unwrap();
    let waiting = acquire_anywhere(&cluster, "b").await;
    cluster.kill(cluster.leader().await);
    let leader = cluster.leader().await;
    let mut attachment = cluster.group(leader).attach(waiting, 0);
    assert_eq!(soon("granted", attachment.ended_waiting()).await, Woken::NoLongerWaiting);
    assert!(begun.elapsed() >= Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert!(is_held(&lease(cluster.group(leader), waiting).unwrap()));
}
