//! After a failed write or fsync nothing is ever called durable again, and nothing is tried again.
//!
//! Faults come from the system, in a child process: a limit on the size of files, and a preloaded
//! library that lets chosen fsyncs fail (skipped where there is no C compiler).
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;
mod sink;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::channel;

use common::{entries, id, indexes, vote};
use ratequeue_storage::{Header, LogError, LogOptions, LogStore, Slot, StateError};
use sink::{fill, group, header};

const CHILD: &str = "RATEQUEUE_TEST_DIR";

/// Lets `fdatasync` number FAIL_FROM to FAIL_TO of the process fail, and both it and `fsync` while
/// the file FAIL_WHILE exists.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int calls;
static int now(void) { const char *path = getenv("FAIL_WHILE"); return path && access(path, F_OK) == 0; }
static int number(const char *name) { const char *text = getenv(name); return text ? atoi(text) : 0; }
int fdatasync(int fd) {
    int call = __sync_add_and_fetch(&calls, 1);
    if (now() || (call >= number("FAIL_FROM") && call <= number("FAIL_TO"))) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
int fsync(int fd) {
    if (now()) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
"#;

fn shim(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .status();
    assert!(built.is_ok_and(|status| status.success()), "a C compiler is needed: cc");
    library
}

/// This test binary, as a child that runs one test on `dir`.
fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, dir);
    command
}

fn checked(output: Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no '{name}' in:\n{text}")).trim().parse().unwrap()
}

/// Appends until it fails, and makes sure that this was the end.
fn append_until_it_fails(dir: &Path) {
    let (log, _) = LogStore::open(dir, LogOptions::default()).unwrap();
    let (tx, rx) = channel();
    let append = |index: u64| {
        let tx = tx.clone();
        log.append(
            entries(1, index..index + 1),
            Box::new(move |result| tx.send(result.is_ok()).unwrap()),
        )
    };

    let mut acked = 0;
    for index in 0..10_000 {
        if append(index).is_err() || !rx.recv().unwrap() {
            break;
        }
        acked = index + 1;
    }

    assert!(acked < 10_000, "nothing failed");
    for index in acked..acked + 20 {
        assert!(matches!(append(index), Err(LogError::Failed { .. })));
        let vote = log.save_vote(vote(2, 1, true));
        assert!(
            matches!(&vote, Err(error @ LogError::Failed { .. }) if error.is_fatal()),
            "{vote:?}"
        );
    }

    assert!(matches!(log.save_committed(id(1, 0)), Err(LogError::Failed { .. })));
    assert!(matches!(log.purge(id(1, 0)), Err(LogError::Failed { .. })));
    assert!(matches!(log.close(), Err(LogError::Failed { .. })));
    drop(log);
    drop(tx);
    assert!(rx.iter().all(|ok| !ok), "something was called durable after the failure");
    println!("\nacked {acked}");
}

fn assert_acked_survived(dir: &Path, acked: u64) {
    let (log, state) = LogStore::open(dir, LogOptions::default()).unwrap();
    let held = indexes(&log.read(..).unwrap());
    assert!(held.len() as u64 >= acked, "{} of {acked}", held.len());
    assert_eq!(held, (0..held.len() as u64).collect::<Vec<_>>());
    assert_eq!(state.vote, None);
}

#[test]
fn a_failed_write_is_the_end() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return append_until_it_fails(Path::new(&dir));
    }

    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let inner = child("a_failed_write_is_the_end", &log);
    let mut shell = Command::new("sh");

    // A file may have 100 blocks; the signal that says so is ignored, so that the write fails
    // instead.
    shell
        .args(["-c", r#"trap "" XFSZ; ulimit -f 100; exec "$0" "$@""#])
        .arg(inner.get_program())
        .args(inner.get_args());

    let output = shell.env(CHILD, &log).output().unwrap();
    let acked = number(&checked(output), "acked ");
    assert!(acked > 50, "{acked}");
    assert_acked_survived(&log, acked);
}

#[test]
fn a_failed_fsync_is_the_end_even_if_the_next_would_not_fail() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return append_until_it_fails(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let library = shim(dir.path());
    for fail in ["2", "3", "17"] {
        let log = dir.path().join(format!("log-{fail}"));
        let mut command = child("a_failed_fsync_is_the_end_even_if_the_next_would_not_fail", &log);
        command.env("LD_PRELOAD", &library).env("FAIL_FROM", fail).env("FAIL_TO", fail);
        let acked = number(&checked(command.output().unwrap()), "acked ");
        // Opening takes one fsync, every append here one.
        assert_eq!(acked, fail.parse::<u64>().unwrap() - 2);
        assert_acked_survived(&log, acked);
    }
}

#[test]
fn a_log_that_cannot_be_synced_does_not_open() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let opened = LogStore::open(Path::new(&dir), LogOptions::default());
        assert!(matches!(opened, Err(LogError::Failed { .. })), "{opened:?}");
        return;
    }

    let dir = tempfile::tempdir().unwrap();
    let library = shim(dir.path());
    let mut command = child("a_log_that_cannot_be_synced_does_not_open", &dir.path().join("log"));

    checked(
        command
            .env("LD_PRELOAD", library)
            .env("FAIL_FROM", "1")
            .env("FAIL_TO", "1")
            .output()
            .unwrap(),
    );
}

#[test]
fn a_checkpoint_that_cannot_be_synced_does_not_count_and_is_not_tried_again() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let (store, _) = sink::open(Path::new(&dir));
        let mut writer = store.begin(&group(), Slot::One).unwrap();
        writer.put(1, 1, &sink::value(1, 1)).unwrap();
        let failed = writer.commit(&Header { records: 1, ..header(1) }).unwrap_err();
        assert!(failed.is_final(), "{failed}");
        for slot in Slot::ALL {
            let again = store.begin(&group(), slot).unwrap_err();
            assert!(matches!(again, StateError::Failed(_)), "{again}");
        }
        return;
    }

    let dir = tempfile::tempdir().unwrap();
    let library = shim(dir.path());
    let (store, _) = sink::open(dir.path());
    let whole = fill(&store, Slot::Zero, 1, 50);
    drop(store);
    let test = "a_checkpoint_that_cannot_be_synced_does_not_count_and_is_not_tried_again";

    let mut command = child(test, dir.path());
    // One fsync at opening, one at the end of the checkpoint.
    checked(
        command
            .env("LD_PRELOAD", library)
            .env("FAIL_FROM", "2")
            .env("FAIL_TO", "2")
            .output()
            .unwrap(),
    );

    let (store, _) = sink::open(dir.path());
    let mut sink = sink::Sink::default();
    store.read_slot(&group(), Slot::Zero, &mut sink).unwrap();
    assert_eq!(sink, whole);
}

/// Why the fsync is ours: sled says "flushed" without one. If this fails, sled has changed, and its
/// flush may be enough.
#[test]
fn sled_calls_flushed_what_was_never_synced() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let (dir, fail) = (PathBuf::from(dir), std::env::var_os("FAIL_WHILE").unwrap());
        let db = sled::Config::new().path(&dir).flush_every_ms(None).open().unwrap();
        std::fs::write(&fail, "").unwrap();
        assert!(
            std::fs::File::open(dir.join("db")).unwrap().sync_all().is_err(),
            "the fault is there"
        );
        for id in 0_u64..100 {
            db.insert(id.to_be_bytes(), b"value").unwrap();
            db.flush().unwrap();
        }
        std::fs::remove_file(&fail).unwrap();
        return;
    }

    let dir = tempfile::tempdir().unwrap();
    let library = shim(dir.path());
    let mut command = child("sled_calls_flushed_what_was_never_synced", &dir.path().join("sled"));
    command.env("LD_PRELOAD", &library).env("FAIL_WHILE", dir.path().join("fail"));
    checked(command.output().unwrap());
}
