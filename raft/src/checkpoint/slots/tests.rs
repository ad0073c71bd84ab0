//! Random runs of everything that writes the slots, over a real store and a real log. After every
//! step at least one slot verifies and the log reaches back to it; every restart gives the state
//! that the entries add up to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod node;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use node::{Disk, Node};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ratequeue_limiter::{Command, LogTime, State};

use super::*;

/// Sequences of a run, and steps of a sequence.
const SEQUENCES: u64 = 2_000;
const STEPS: usize = 16;
/// Sequences that share a store.
const SEQUENCES_A_STORE: u64 = 40;

fn run(disk: &Disk, seed: u64, total: &mut BTreeMap<&'static str, u64>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut node = Node::new(disk, seed);
    for _ in 0..STEPS {
        let step = match random.random_range(0..12) {
            0..=3 => {
                node.apply(&mut random);
                "apply"
            }
            4..=6 => {
                node.checkpoint();
                "checkpoint"
            }
            7..=8 => {
                node.receive(&mut random);
                "receive"
            }
            9 => {
                node.kill(&mut random);
                "kill"
            }
            10 => {
                node.restart();
                "restart"
            }
            _ => {
                let free = if node.is_full() { u64::MAX } else { 1_000_000 };
                disk.free.store(free, Ordering::SeqCst);
                "a change of the room"
            }
        };
        node.check(step);
    }

    disk.free.store(u64::MAX, Ordering::SeqCst);
    node.checkpoint();
    node.restart();
    node.check("the end");
    node.log.close().unwrap();
    for (what, n) in node.counts {
        *total.entry(what).or_default() += n;
    }
}

/// Every second sequence, so that two tests share the work.
fn sequences(from: u64) {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (only, count) = (
        setting("RATEQUEUE_SLOTS_SEED"),
        setting("RATEQUEUE_SLOTS_SEQUENCES").unwrap_or(SEQUENCES),
    );

    let mut total = BTreeMap::new();
    let mut disk = Disk::new();
    for seed in (from..count).step_by(2).filter(|seed| only.is_none_or(|only| only == *seed)) {
        if seed % SEQUENCES_A_STORE < 2 {
            disk = Disk::new();
        }
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&disk, seed, &mut total)));
        assert!(
            outcome.is_ok(),
            "again: RATEQUEUE_SLOTS_SEED={seed} cargo test -p ratequeue-raft slots"
        );
    }

    println!("{total:?}");
    // A run that did little proves little.
    for what in [
        "applied",
        "checkpoints",
        "deferred for want of room",
        "killed",
        "broken off",
        "incomplete",
        "installed",
    ] {
        let seen = total.get(what).copied().unwrap_or_default();
        assert!(
            only.is_some() || seen * 4 >= count,
            "only {seen} times in {count} sequences: {what}"
        );
    }
}

#[test]
fn a_slot_is_whole_whatever_happens_in_odd_sequences() {
    sequences(1);
}

#[test]
fn a_slot_is_whole_whatever_happens_in_even_sequences() {
    sequences(0);
}

/// What this version could not follow does not become a checkpoint.
#[test]
fn a_state_of_a_higher_level_is_refused() {
    let disk = Disk::new();
    let slots = Slots::new(
        disk.store.clone(),
        GroupName::new("g".to_owned()).unwrap(),
        SlotTable::default(),
        false,
    );

    let mut state = State::default();
    state.apply(1, LogTime(1), vec![Command::RaiseLevel(LEVEL_MAX + 1)]);
    let mut incoming = slots.receive().unwrap();
    let records: Vec<_> = state.to_records().collect();

    for (key, record) in &records {
        let (kind, id) = record::stored_key(*key);
        incoming.record(kind, id, &record::encode(record).unwrap()).unwrap();
    }

    let promised = Header {
        applied: None,
        membership: Vec::new(),
        records: records.len() as u64,
        digest: incoming.digest(),
        sequence: 0,
        received: true,
    };

    let refused = incoming.finish(&promised);
    assert!(
        matches!(refused, Err(CheckpointError::Outdated(level)) if level == LEVEL_MAX + 1),
        "{refused:?}"
    );
    assert!(slots.newest().is_none());
}
