//! Random changes of members, and random ways to form a cluster, through the functions that decide
//! them. Groups are modelled: who votes, who lives, who leads, and changes of voters that are half
//! way. After every step nothing may be worse than it has to be; at the end everybody is back, and
//! everything has come to its end.
//!
//! `RATEQUEUE_MEMBERS_SEED` repeats a run of one sequence, `RATEQUEUE_MEMBERS_SEQUENCES` says how
//! many run.
//!
//! ```text
//!   cluster.rs   the cluster: its nodes, its groups, what they say of themselves
//!   changes.rs   requests, and the steps of the leaders
//!   members.rs   sequences of changes, and what must hold
//!   founding.rs  files, foundings, and nodes that form groups
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod changes;
pub(super) mod cluster;
mod founding;
mod members;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Sequences of a run.
const SEQUENCES: u64 = 2_000;

/// What a run has seen, and how often.
type Seen = BTreeMap<&'static str, u64>;

/// Runs a sequence for each seed. `enough` names what a run must have seen, once in ten sequences.
fn sequences(test: &str, enough: &[&str], run: impl Fn(&mut StdRng, &mut Seen)) {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let only = setting("RATEQUEUE_MEMBERS_SEED");
    let count = setting("RATEQUEUE_MEMBERS_SEQUENCES").unwrap_or(SEQUENCES);

    let mut seen = Seen::new();
    for seed in only.map_or(0..count, |only| only..only + 1) {
        let mut random = StdRng::seed_from_u64(seed);
        let ran = catch_unwind(AssertUnwindSafe(|| run(&mut random, &mut seen)));
        assert!(
            ran.is_ok(),
            "again: RATEQUEUE_MEMBERS_SEED={seed} cargo test -p ratequeue --lib {test}"
        );
    }

    println!("{seen:?}");
    for what in enough {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(only.is_some() || times * 10 >= count, "only {times} times in {count}: {what}");
    }
}
