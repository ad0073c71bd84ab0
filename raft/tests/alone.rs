//! A group of one node, end to end: commands, waits, ticks and restarts over a real log and real
//! checkpoints.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::time::{Duration, Instant};

use common::*;
use ratequeue_limiter::{EventKind, LeaseState, LogTime, Refusal, Reply};
use ratequeue_raft::{FormError, Health, NodeRole, SubmitError, Woken};

#[tokio::test]
async fn acquires_waits_releases_and_grants() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    assert!(matches!(
        group.submit_local(put("api", 1)).await.unwrap().outcome,
        Ok(Reply::Put { created: true, .. })
    ));
    let mut events = group.events(None);
    let first = acquired(&group, acquire("api", "a")).await;
    let second = acquired(&group, acquire("api", "b")).await;
    assert!(is_held(&first) && !is_held(&second));

    let mut attachment = group.attach(second.id, 0);
    let released = group.submit_local(release(first.id)).await.unwrap();
    assert!(matches!(released.outcome, Ok(Reply::Released(_))));
    assert_eq!(soon("woken", attachment.ended_waiting()).await, Woken::NoLongerWaiting);
    assert!(is_held(&lease(&group, second.id).unwrap()));

    group.read_barrier_local().await.unwrap();
    let status = group.status();
    assert_eq!((status.role, status.leader, status.voters.len()), (NodeRole::Leader, Some(1), 1));
    assert!(status.applied >= Some(released.index));

    let batches = events.next(usize::MAX).await.unwrap();
    let granted: Vec<_> = batches
        .iter()
        .flat_map(|batch| happened(batch))
        .filter_map(|event| {
            if let EventKind::Granted { lease, .. } = event.kind { Some(lease) } else { None }
        })
        .collect();
    assert_eq!(granted, [first.id, second.id]);
    group.shutdown().await.unwrap();
    assert_eq!(*group.health().borrow(), Health::Stopped);
    assert_eq!(group.submit_local(release(second.id)).await, Err(SubmitError::ShuttingDown));
}

#[tokio::test]
async fn all_calls_of_one_lease_wake_and_a_late_one_does_not_sleep() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    group.submit_local(put("api", 1)).await.unwrap().outcome.unwrap();
    let held = acquired(&group, acquire("api", "a")).await;
    let waiting = acquired(&group, acquire("api", "b")).await;
    let other = acquired(&group, acquire("api", "c")).await;

    let mut tasks = Vec::new();
    for _ in 0..8 {
        let mut attachment = group.attach(waiting.id, 0);
        tasks.push(tokio::spawn(async move { attachment.ended_waiting().await }));
    }

    let mut still = group.attach(other.id, 0);
    tokio::task::yield_now().await;
    group.submit_local(release(held.id)).await.unwrap().outcome.unwrap();
    for task in tasks {
        assert_eq!(soon("woken", task).await.unwrap(), Woken::NoLongerWaiting);
    }

    assert_eq!(
        soon("late", group.attach(waiting.id, 0).ended_waiting()).await,
        Woken::NoLongerWaiting
    );

    tokio::select! {
        biased;
        woken = still.ended_waiting() => panic!("woken without reason: {woken:?}"),
        () = tokio::task::yield_now() => {}
    }

    group.shutdown().await.unwrap();
    assert_eq!(soon("stopped", still.ended_waiting()).await, Woken::ShuttingDown);
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut held = Vec::new();
    let mut waiting = Vec::new();
    let mut digest = 0;

    for life in 0..3 {
        let group = open_alone(dir.path()).await;
        if life == 0 {
            group.submit_local(put("api", 5)).await.unwrap().outcome.unwrap();
        } else {
            group.read_barrier_local().await.unwrap();
            assert_eq!(group.digest().await.1, digest);
        }
        for id in &held {
            assert!(is_held(&lease(&group, *id).unwrap()));
        }
        for id in &waiting {
            assert!(group.read(|state, _| state.is_waiting(*id)));
        }
        for n in 0..4 {
            let view = acquired(&group, acquire("api", &format!("{life}-{n}"))).await;
            if is_held(&view) { held.push(view.id) } else { waiting.push(view.id) }
        }
        // The same request is the same lease.
        let again = acquired(&group, acquire("api", &format!("{life}-0"))).await;
        assert!(held.contains(&again.id) || waiting.contains(&again.id));
        digest = group.digest().await.1;
        // No shutdown: tasks, thread and files go as they stand.
        drop(group);
    }

    assert_eq!((held.len(), waiting.len()), (5, 7));
}

#[tokio::test]
async fn a_clean_stop_leaves_a_checkpoint_that_the_next_start_uses() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    group.submit_local(put("api", 1)).await.unwrap().outcome.unwrap();
    let held = acquired(&group, acquire("api", "a")).await;
    let digest = group.digest().await;
    group.shutdown().await.unwrap();
    drop(group);

    let group = open_alone(dir.path()).await;
    let checkpoint = group.status().checkpoint.unwrap();
    assert_eq!((checkpoint.sequence, checkpoint.applied), (1, Some(digest.0)));
    assert_eq!(group.digest().await.1, digest.1);
    assert!(is_held(&lease(&group, held.id).unwrap()));
}

#[tokio::test]
async fn time_expires_a_lease_by_itself_and_no_earlier() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    group.submit_local(put("api", 1)).await.unwrap().outcome.unwrap();
    let begun = Instant::now();
    let first = acquired(&group, acquire_for("api", "a", 0, 200)).await;
    let second = acquired(&group, acquire_for("api", "b", 60_000, 60_000)).await;

    let third = acquired(&group, acquire_for("api", "c", 100, 60_000)).await;
    assert!(is_held(&first) && !is_held(&second) && !is_held(&third));
    let mut timed_out = group.attach(third.id, 0);
    let mut granted = group.attach(second.id, 0);
    soon("timed out", timed_out.ended_waiting()).await;
    assert!(begun.elapsed() >= Duration::from_millis(100));

    assert_eq!(lease(&group, third.id).unwrap().state(), LeaseState::TimedOut);
    soon("granted", granted.ended_waiting()).await;
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(lease(&group, first.id).unwrap().state(), LeaseState::Expired);
    assert!(is_held(&lease(&group, second.id).unwrap()));
    let late = group.submit_local(release(first.id)).await.unwrap().outcome;
    assert_eq!(late, Err(Refusal::LeaseExpired));
}

#[tokio::test]
async fn log_time_is_never_ahead_of_real_time_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut last = LogTime(0);

    for life in 0..4 {
        let group = open_alone(dir.path()).await;
        for n in 0..20 {
            group.submit_local(put("api", n + 1 + life * 100)).await.unwrap().outcome.unwrap();
            let (applied, estimate) = group.read(|state, now| (state.now(), now));
            let real = u64::try_from(begun.elapsed().as_micros()).unwrap();
            assert!(applied >= last, "log time went back");
            assert!(estimate.0 <= real, "log time {estimate} is ahead of {real}us");
            assert!(applied <= estimate);
            last = applied;
        }
        drop(group);
    }

    assert!(last.0 > 0);
}

#[tokio::test]
async fn an_idle_group_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    group.submit_local(put("api", 1)).await.unwrap().outcome.unwrap();
    acquired(&group, acquire("api", "a")).await;
    acquired(&group, acquire("api", "b")).await;
    let before = group.status().last_log_index;
    // Several elections' and many heartbeats' time; the next due time is 15 s away.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(group.status().last_log_index, before);
}

#[tokio::test]
async fn many_commands_share_entries_and_each_has_its_own_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let group = open_alone(dir.path()).await;
    group.submit_local(put("api", 1_000)).await.unwrap().outcome.unwrap();
    let before = group.status().last_log_index.unwrap();
    let mut tasks = Vec::new();

    for n in 0..500 {
        let group = group.clone();
        tasks.push(tokio::spawn(async move {
            acquired(&group, acquire("api", &format!("r{n}"))).await.id
        }));
    }

    let mut ids = Vec::new();
    for task in tasks {
        ids.push(soon("acquired", task).await.unwrap());
    }

    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 500);
    let entries = group.status().last_log_index.unwrap() - before;
    assert!(entries < 50, "{entries} entries for 500 commands");
}

#[tokio::test]
async fn forming_is_idempotent_and_needs_this_node() {
    let dir = tempfile::tempdir().unwrap();
    let group = try_open(dir.path(), &Opening::default()).await.unwrap();
    assert!(!group.is_formed().await);
    assert_eq!(
        group.submit_local(put("api", 1)).await,
        Err(SubmitError::NotLeader { leader: None })
    );
    assert_eq!(group.read_barrier_local().await, Err(SubmitError::NotLeader { leader: None }));
    let voters = |ids: &[u64]| ids.iter().map(|id| (*id, "x:1".into())).collect();
    assert_eq!(group.form(voters(&[2])).await, Err(FormError::NotAVoter));
    group.form(voters(&[1])).await.unwrap();
    group.form(voters(&[1])).await.unwrap();
    assert!(group.is_formed().await);
    assert!(matches!(group.form(voters(&[1, 2])).await, Err(FormError::AlreadyFormed { .. })));
}

#[tokio::test]
async fn a_single_node_is_ready_soon_after_its_start() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_alone(dir.path()).await);
    // The lock of the first life may take its time, so the fastest of a few starts counts.
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let begun = Instant::now();
        let group = open_alone(dir.path()).await;
        group.submit_local(put("api", 1)).await.unwrap().outcome.unwrap();
        best = best.min(begun.elapsed());
        group.shutdown().await.unwrap();
    }
    assert!(best < Duration::from_millis(500), "{best:?}");
}
