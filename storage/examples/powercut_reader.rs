//! Counts what is left of what `powercut_writer` acknowledged: the half of `scripts/powercut.sh`
//! that runs afterwards.
//!
//! Usage: `powercut_reader <mode> <folder>`. Prints one number for `sled-flush`; for `store` the
//! smaller of the entries in the log and the records of the newest checkpoint that verifies; for
//! `vote` the same, or the term of the vote if that is less.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;

use ratequeue_storage::{
    GroupName, LogOptions, LogStore, RecordSink, Slot, SlotError, StateOptions, StateStore,
};

/// The digest of the writer: the sum of all ids.
struct Sum(u64);

impl RecordSink for Sum {
    fn record(&mut self, _kind: u8, id: u64, _value: &[u8]) -> Result<(), SlotError> {
        self.0 += id;
        Ok(())
    }

    fn digest(&mut self) -> u64 {
        self.0
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mode, dir) = (args.next().expect("a mode"), args.next().expect("a folder"));
    let left = match mode.as_str() {
        "store" => store(Path::new(&dir)).0,
        "vote" => {
            let (left, term) = store(Path::new(&dir));
            left.min(term)
        }
        _ => u64::try_from(sled::open(&dir).unwrap().len()).unwrap(),
    };
    println!("{left}");
}

/// What is left, and the term of the vote.
fn store(dir: &Path) -> (u64, u64) {
    // The writer died before it had an identity, so the folder is opened part by part, not as a
    // data folder.
    let group = GroupName::new("power").unwrap();
    let log_dir = dir.join(ratequeue_storage::keys::DIR_LOG).join(group.as_str());
    let (log, found) = LogStore::open(log_dir, LogOptions::default()).unwrap();
    let entries = log.read(..).unwrap().len();
    let state_dir = dir.join(ratequeue_storage::keys::DIR_STATE);
    let (state, opened) = StateStore::open(state_dir, StateOptions::default()).unwrap();
    assert_eq!(opened.moved_aside, None);
    let whole = Slot::ALL
        .map(|slot| state.read_slot(&group, slot, &mut Sum(0)).map_or(0, |header| header.records));
    let records = whole.into_iter().max().unwrap_or(0);
    eprintln!("log entries {entries}, checkpoints {whole:?}");
    (records.min(u64::try_from(entries).unwrap()), found.vote.map_or(0, |vote| vote.term))
}
