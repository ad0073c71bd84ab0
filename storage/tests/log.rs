//! The log keeps what it was told, in order, through any number of restarts.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use bytes::Bytes;
use common::{append, entries, entry, id, indexes, small, vote};
use ratequeue_storage::{Entry, LogError, LogOptions, LogState, LogStore, ReadLimit};

type Step = Box<dyn Fn(&LogStore)>;

#[test]
fn every_step_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, state) = LogStore::open(dir.path(), small()).unwrap();
    assert_eq!(state, LogState { created: true, ..LogState::default() });

    let steps: Vec<(&str, Step)> = vec![
        ("vote", Box::new(|log| log.save_vote(vote(1, 1, false)).unwrap())),
        ("append", Box::new(|log| append(log, entries(1, 0..10)))),
        (
            "vote for another in the same term",
            Box::new(|log| log.save_vote(vote(1, 0, true)).unwrap()),
        ),
        ("committed", Box::new(|log| log.save_committed(id(1, 4)).unwrap())),
        ("truncate", Box::new(|log| log.truncate_after(Some(6)).unwrap())),
        ("append in a later term", Box::new(|log| append(log, entries(2, 7..40)))),
        ("purge", Box::new(|log| log.purge(id(1, 3)).unwrap())),
        ("purge to the end", Box::new(|log| log.purge(id(2, 39)).unwrap())),
        ("append after all was purged", Box::new(|log| append(log, entries(2, 40..45)))),
        ("truncate to what is purged", Box::new(|log| log.truncate_after(None).unwrap())),
        ("purge beyond the last", Box::new(|log| log.purge(id(3, 100)).unwrap())),
        ("append after a snapshot", Box::new(|log| append(log, entries(3, 101..110)))),
        ("purge what is purged", Box::new(|log| log.purge(id(3, 100)).unwrap())),
    ];

    for (name, step) in steps {
        step(&log);
        let (state, held) = (log.state(), log.read(..).unwrap());
        if let Some(first) = held.first() {
            assert_eq!(first.id.index, state.first_index(), "{name}");
        }
        assert_eq!(held.len() as u64, state.next_index() - state.first_index(), "{name}");
        log.close().unwrap();
        let (again, reopened) = LogStore::open(dir.path(), small()).unwrap();
        assert_eq!(reopened, LogState { created: false, ..state }, "{name}");
        assert_eq!(again.read(..).unwrap(), held, "{name}");
        log = again;
    }

    assert_eq!(log.state().vote, Some(vote(1, 0, true)));
    assert_eq!(indexes(&log.read(..).unwrap()), (101..110).collect::<Vec<_>>());
}

#[test]
fn a_restart_without_a_close_has_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let (log, _) = LogStore::open(dir.path(), small()).unwrap();
        append(&log, entries(1, round * 10..(round + 1) * 10));
        log.save_vote(vote(round + 1, 1, false)).unwrap();
    }
    let (log, state) = LogStore::open(dir.path(), small()).unwrap();
    assert_eq!(indexes(&log.read(..).unwrap()), (0..50).collect::<Vec<_>>());
    assert_eq!(state.vote, Some(vote(5, 1, false)));
}

#[test]
fn callbacks_come_in_order_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LogStore::open(dir.path(), small()).unwrap();
    let (tx, rx) = channel();

    for index in 0..500 {
        let tx = tx.clone();
        let told =
            Box::new(move |result: std::io::Result<()>| tx.send((index, result.is_ok())).unwrap());
        if index % 50 == 7 {
            log.save_vote_with(vote(index, 1, true), told).unwrap();
            append(&log, entries(1, index..index + 1));
        } else {
            log.append(entries(1, index..index + 1), told).unwrap();
        }
    }

    drop(tx);
    let told: Vec<(u64, bool)> = rx.iter().collect();
    assert_eq!(told, (0..500).map(|index| (index, true)).collect::<Vec<_>>());
}

#[test]
fn what_breaks_the_rules_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LogStore::open(dir.path(), small()).unwrap();
    append(&log, entries(2, 0..10));
    log.save_vote(vote(2, 1, false)).unwrap();
    log.save_committed(id(2, 5)).unwrap();
    log.purge(id(2, 2)).unwrap();

    let before = log.state();
    let too_large = Entry { id: id(2, 10), payload: Bytes::from(vec![0; (16 << 20) + 1]) };
    let appends = [
        entries(2, 11..12),
        entries(2, 9..10),
        entries(1, 10..11),
        vec![entry(2, 10), entry(2, 12)],
        vec![entry(2, 10), too_large],
    ];

    let (tx, rx) = channel();
    for entries in appends {
        let tx = tx.clone();
        let refused =
            log.append(entries, Box::new(move |result| tx.send(result.is_err()).unwrap()));
        assert!(matches!(refused, Err(LogError::Refused(_))), "{refused:?}");
    }

    drop(tx);
    assert_eq!(rx.iter().collect::<Vec<_>>(), [true; 5], "a refused append is told, too");
    for result in [
        log.save_vote(vote(1, 1, true)),
        log.truncate_after(Some(4)),
        log.truncate_after(None),
        log.truncate_after(Some(1)),
        log.purge(id(1, 20)),
    ] {
        assert!(matches!(result, Err(LogError::Refused(_))), "{result:?}");
    }

    log.save_committed(id(2, 3)).unwrap();
    log.save_committed(id(2, 30)).unwrap();
    log.truncate_after(Some(9)).unwrap();
    log.truncate_after(Some(900)).unwrap();
    log.purge(id(2, 1)).unwrap();
    assert_eq!(log.state(), before);

    append(&log, entries(2, 10..11));
    log.close().unwrap();
    let (log, state) = LogStore::open(dir.path(), small()).unwrap();
    assert_eq!(indexes(&log.read(..).unwrap()), (3..11).collect::<Vec<_>>());
    assert_eq!(state.committed, Some(id(2, 5)));
}

#[test]
fn a_snapshot_of_a_later_term_ends_a_log_that_went_another_way() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LogStore::open(dir.path(), small()).unwrap();
    append(&log, entries(1, 0..100));
    log.purge(id(2, 50)).unwrap();
    assert_eq!((log.state().purged, log.state().last), (Some(id(2, 50)), Some(id(2, 50))));
    assert_eq!(log.read(..).unwrap(), []);
    append(&log, entries(2, 51..60));
    let held = log.read(..).unwrap();
    assert_eq!(held, entries(2, 51..60));
    log.close().unwrap();
    let (log, _) = LogStore::open(dir.path(), small()).unwrap();
    assert_eq!(log.read(..).unwrap(), held);
}

#[test]
fn reads_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { tail_entries_max: 5, ..small() };
    let (log, _) = LogStore::open(dir.path(), options).unwrap();
    append(&log, entries(1, 0..400));
    let read = |range: std::ops::Range<u64>, entries_max, bytes_max| {
        indexes(&log.read_bounded(range, ReadLimit { entries_max, bytes_max }).unwrap())
    };

    let bytes = entry(1, 100).payload.len();
    assert_eq!(read(100..400, 3, usize::MAX), [100, 101, 102]);
    assert_eq!(read(100..102, 3, usize::MAX), [100, 101]);
    assert_eq!(read(100..400, 9, 2 * bytes), [100, 101]);
    assert_eq!(read(100..400, 9, 0), [100], "the first comes, however large it is");
    assert_eq!(read(397..500, 9, 2 * bytes), [397, 398], "also from memory");

    assert_eq!(read(390..500, 99, usize::MAX), (390..400).collect::<Vec<_>>(), "over the seam");
    assert_eq!(read(100..400, 0, 9), [] as [u64; 0]);
    assert_eq!(read(400..500, 9, 9), [] as [u64; 0]);
    assert_eq!(indexes(&log.read(398..=398).unwrap()), [398]);
    assert_eq!(log.read(..).unwrap(), entries(1, 0..400));
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = log.read(9..3).unwrap();
    assert_eq!(backwards, []);
}

#[test]
fn purging_gives_the_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LogStore::open(dir.path(), small()).unwrap();
    append(&log, entries(1, 0..1_000));
    let files = || fs::read_dir(dir.path().join("wal")).unwrap().count();
    let (before, bytes) = (files(), log.disk_bytes());
    assert!(before > 10, "{before}");
    log.purge(id(1, 990)).unwrap();
    // The sync waits for the purge; closing waits for the removal, which comes right behind it.
    log.close().unwrap();
    assert!(files() < before / 5, "{} of {before} left", files());
    let (log, _) = LogStore::open(dir.path(), small()).unwrap();
    assert!(log.disk_bytes() < bytes / 5);
    assert_eq!(indexes(&log.read(..).unwrap()), (991..1_000).collect::<Vec<_>>());
}

#[test]
fn readers_see_a_whole_log_while_it_is_written_truncated_and_purged() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { tail_entries_max: 20, ..small() };
    let (log, _) = LogStore::open(dir.path(), options).unwrap();
    let (done, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));

    let readers: Vec<_> = (0..4_u64)
        .map(|seed| {
            let (log, done, reads) = (log.clone(), Arc::clone(&done), Arc::clone(&reads));
            thread::spawn(move || {
                let mut turn = seed;
                while !done.load(Ordering::Relaxed) {
                    let state = log.state();
                    turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let span = (state.next_index() - state.first_index()).max(1);
                    let from = state.first_index() + (turn >> 33) % span;
                    let held = log.read(from..from + 30).unwrap();
                    for (at, entry) in held.iter().enumerate() {
                        assert_eq!(entry.id.index, held[0].id.index + at as u64);
                        assert_eq!(
                            entry.payload,
                            common::entry(entry.id.term, entry.id.index).payload
                        );
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    let mut next = 0;
    for term in 1..150 {
        append(&log, entries(term, next..next + 20));
        next += 20;
        if term % 3 == 0 {
            next -= 7;
            log.truncate_after(Some(next - 1)).unwrap();
        }
        if term % 5 == 0 {
            let purged = log.read(next - 40..=next - 40).unwrap()[0].id;
            log.save_committed(purged).unwrap();
            log.purge(purged).unwrap();
        }
    }

    while reads.load(Ordering::Relaxed) < 100 {
        thread::yield_now();
    }

    done.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
}

#[test]
fn one_log_has_one_store_and_a_closed_one_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LogStore::open(dir.path(), small()).unwrap();
    let second = LogStore::open(dir.path(), small()).unwrap_err();
    assert!(matches!(second, LogError::Locked { .. }) && second.needs_operator(), "{second}");
    log.close().unwrap();
    log.close().unwrap();
    assert!(matches!(log.save_vote(vote(1, 1, true)), Err(LogError::Closed)));
    assert!(matches!(log.write_mark(), Err(LogError::Closed)));
    LogStore::open(dir.path(), small()).unwrap();
}
