//! Without file descriptors nothing ends: the log goes on in the file that it has, checkpoints are
//! put off.
//!
//! The limit is that of a process, so each test runs in a child.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;
mod sink;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use common::{append, entries, id, indexes, small, vote};
use ratequeue_storage::keys::KIND_META;
use ratequeue_storage::{LogError, LogStore, Slot, StateError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sink::{Sink, fill, group};

const CHILD: &str = "RATEQUEUE_TEST_DIR";

/// Runs a test in a process of its own, which is given a folder.
fn in_child(test: &str, run: impl FnOnce(&Path)) {
    if let Some(dir) = std::env::var_os(CHILD) {
        return run(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output =
        command.args(["--exact", test, "--nocapture"]).env(CHILD, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The highest descriptor of the process.
fn highest() -> i32 {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap()).max().unwrap()
}

/// Takes the descriptors between those that are in use, and lets the process have only so many
/// more.
fn leave(more: i32) -> Vec<File> {
    let (highest, mut gaps) = (highest(), Vec::new());
    while gaps.last().is_none_or(|file: &File| file.as_raw_fd() < highest) {
        gaps.push(File::open("/").unwrap());
    }
    let last = gaps.last().unwrap().as_raw_fd();
    set_limit(Some(u64::try_from(last + 1 + more).unwrap()));
    gaps
}

fn set_limit(current: Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: current.or(limit.maximum), ..limit }).unwrap();
}

fn chunks(log: &Path) -> usize {
    fs::read_dir(log.join("wal"))
        .unwrap()
        .filter(|file| {
            file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "wal")
        })
        .count()
}

#[test]
fn the_log_goes_on_in_the_file_that_it_has() {
    in_child("the_log_goes_on_in_the_file_that_it_has", |dir| {
        // With one descriptor the next file can be made, and its folder not be opened.
        for (number, more) in [0, 1].into_iter().enumerate() {
            let path = dir.join(format!("log-{number}"));
            let (log, _) = LogStore::open(&path, small()).unwrap();
            append(&log, entries(1, 0..100));
            let before = chunks(&path);

            let gaps = leave(more);
            for from in (100..400).step_by(10) {
                append(&log, entries(1, from..from + 10));
            }
            log.save_vote(vote(2, 1, true)).unwrap();
            log.save_committed(id(1, 399)).unwrap();
            log.truncate_after(Some(399)).unwrap();
            let marked = log.write_mark();
            assert!(
                more == 1 && marked.is_ok() || matches!(marked, Err(LogError::Io { .. })),
                "{marked:?}"
            );
            log.purge(id(1, 90)).unwrap();
            assert_eq!(log.state().purged, None, "it is put off");
            set_limit(None);
            assert_eq!(chunks(&path), before, "no file was made");

            drop(gaps);
            append(&log, entries(3, 400..500));
            assert!(chunks(&path) > before, "there are files again");
            log.purge(id(1, 90)).unwrap();
            let held = indexes(&log.read(..).unwrap());
            assert_eq!(held, (91..500).collect::<Vec<_>>());
            log.close().unwrap();

            let (log, state) = LogStore::open(&path, small()).unwrap();
            assert_eq!(indexes(&log.read(..).unwrap()), held);
            assert_eq!((state.vote, state.committed), (Some(vote(2, 1, true)), Some(id(1, 399))));
        }
    });
}

#[test]
fn a_checkpoint_is_deferred() {
    in_child("a_checkpoint_is_deferred", |dir| {
        let (store, _) = sink::open(dir);
        let whole = fill(&store, Slot::Zero, 1, 50);
        let mut writer = store.begin_empty(&group(), Slot::One).unwrap();
        let mut begun = Sink::default();
        begun.records.insert((KIND_META, 0), sink::value(1, 20));
        writer.put(KIND_META, 0, &sink::value(1, 20)).unwrap();

        let gaps = leave(0);
        let error = writer.commit(&begun.header(2)).unwrap_err();
        set_limit(None);
        assert!(matches!(error, StateError::NoDescriptors { .. }) && !error.is_final(), "{error}");

        drop(gaps);
        let next = fill(&store, Slot::One, 2, 60);
        for (slot, written) in [(Slot::Zero, whole), (Slot::One, next)] {
            let mut read = Sink::default();
            store.read_slot(&group(), slot, &mut read).unwrap();
            assert_eq!(read, written);
        }
    });
}
