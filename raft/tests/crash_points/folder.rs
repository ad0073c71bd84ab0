//! Copies of folders, and what their logs add up to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ratequeue_limiter::State;
use ratequeue_raft::Replay;
use ratequeue_storage::{GroupName, LogError, LogOptions, LogStore};
use tempfile::TempDir;

use crate::common::{DEADLINE, copy, open_store};

/// A folder in memory where there is one: what is tested is not the disk.
pub fn temporary() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    tempfile::Builder::new()
        .tempdir_in(if memory.is_dir() { memory } else { std::env::temp_dir() })
        .unwrap()
}

/// Chunk files of a few entries, so that a purge has files to remove.
pub fn small() -> LogOptions {
    LogOptions { chunk_records_max: 8, ..LogOptions::default() }
}

/// Opens a log once an earlier life of the node has given it back.
fn open_log(dir: &Path, options: LogOptions) -> LogStore {
    let begun = Instant::now();
    loop {
        match LogStore::open(dir, options.clone()) {
            Err(LogError::Locked { .. }) if begun.elapsed() < DEADLINE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap().0,
        }
    }
}

/// Writes the log of a node that does not run anew, in small files.
pub fn cut_log_small(dir: &Path) {
    let log = open_log(&dir.join("log"), LogOptions::default());
    let (state, entries) = (log.state(), log.read(..).unwrap());
    log.close().unwrap();
    let whole = dir.join("log");
    fs::remove_dir_all(&whole).unwrap();

    let (log, _) = LogStore::open(&whole, small()).unwrap();
    log.save_vote(state.vote.unwrap()).unwrap();
    if let Some(purged) = state.purged {
        log.purge(purged).unwrap();
    }
    for entry in entries {
        log.append(vec![entry], Box::new(|done| done.unwrap())).unwrap();
    }
    if let Some(committed) = state.committed {
        log.save_committed(committed).unwrap();
    }
    log.close().unwrap();
}

/// What the log of `killed` adds up to, from the checkpoint that the node had before: its last
/// entry and the digest. The folder is left as it is.
pub fn truth(before: &Path, killed: &Path) -> (u64, u64) {
    let dir = temporary();
    copy(&before.join("state"), &dir.path().join("state"));
    copy(&killed.join("log"), &dir.path().join("log"));
    let store = open_store(dir.path());
    let name = GroupName::new("test").unwrap();
    let mut replay = Replay::open(&dir.path().join("log"), &store, name).unwrap();
    while replay.step().unwrap().is_some() {}
    let last = replay.next_index() - 1;
    let mut state = State::from_records(replay.state().to_records()).unwrap();
    (last, state.digest())
}
