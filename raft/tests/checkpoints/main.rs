//! Checkpoints, purging, and what becomes of damaged ones. Every restart must give the same state.
//!
//! ```text
//!   made.rs       by work, by growth and by time
//!   damaged.rs    slots and logs that are damaged or gone
//!   full_disk.rs  no room for another one
//! ```
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod full_disk;
mod made;

use std::path::Path;

use common::*;
use ratequeue_limiter::LeaseId;
use ratequeue_raft::Group;
use ratequeue_storage::{GroupName, Header, Slot, StateStore};

/// Some work that touches every kind of record, the same each time but for `round`.
async fn work(group: &Group, round: usize) -> LeaseId {
    group.submit_local(put(&format!("r{round}"), 2)).await.unwrap().outcome.unwrap();
    group.submit_local(put("shared", 3)).await.unwrap().outcome.unwrap();
    let mut last = None;
    for n in 0..6 {
        let view = acquired(group, acquire("shared", &format!("{round}-{n}"))).await;
        if n % 2 == 0 {
            group.submit_local(release(view.id)).await.unwrap().outcome.unwrap();
        }
        last = Some(view.id);
    }
    acquired(group, acquire(&format!("r{round}"), &format!("own-{round}"))).await;
    last.unwrap()
}

async fn reopened_is_equal(dir: &Path, digest: u64) -> Group {
    let group = open_alone(dir).await;
    group.read_barrier_local().await.unwrap();
    assert_eq!(group.digest().await.1, digest);
    group
}

/// The slots of the group, newest first.
fn slots(dir: &Path) -> Vec<(Slot, Header)> {
    let store = open_store(dir);
    let slots = slots_of(&store);
    store.close();
    slots
}

fn slots_of(store: &StateStore) -> Vec<(Slot, Header)> {
    let headers = store.slots(&GroupName::new("test").unwrap());
    let mut slots: Vec<_> = Slot::ALL
        .into_iter()
        .zip(headers)
        .filter_map(|(slot, header)| Some((slot, header?)))
        .collect();
    slots.sort_by_key(|(_, header)| std::cmp::Reverse(header.sequence));
    slots
}
