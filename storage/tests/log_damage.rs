//! A log that is damaged does not open; one whose last write was cut does.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use common::{append, entries, entry, id, indexes, small, vote};
use ratequeue_storage::{Entry, LogError, LogOptions, LogState, LogStore};

/// The chunk files of the log, oldest first.
fn chunks(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    let mut chunks: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
    chunks.sort();
    chunks
}

/// A log with a vote and `count` entries in one chunk, closed without a mark.
fn one_chunk(count: u64) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LogStore::open(dir.path(), LogOptions::default()).unwrap();
    log.save_vote(vote(3, 1, true)).unwrap();
    append(&log, entries(3, 0..count));
    drop(log);
    let chunk = chunks(dir.path()).pop().unwrap();
    (dir, chunk)
}

fn open(dir: &Path) -> Result<(LogStore, LogState), LogError> {
    LogStore::open(dir, LogOptions::default())
}

fn assert_damaged(dir: &Path, what: &str) {
    match open(dir) {
        Err(error @ LogError::Damaged { .. }) => assert!(error.needs_operator()),
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn every_cut_of_the_last_record_is_a_write_that_was_never_acknowledged() {
    let (dir, chunk) = one_chunk(5);
    let whole = fs::read(&chunk).unwrap();
    let (log, _) = open(dir.path()).unwrap();
    append(&log, vec![entry(3, 5)]);
    drop(log);
    let longer = fs::read(&chunk).unwrap();

    assert!(longer.starts_with(&whole) && longer.len() > whole.len());
    for len in whole.len()..longer.len() {
        for zeros in [0, longer.len() - whole.len(), 4096] {
            if zeros > 0 && len > whole.len() {
                continue;
            }
            let torn = [&longer[..len], &vec![0; zeros]].concat();
            fs::write(&chunk, torn).unwrap();
            let (log, state) = open(dir.path()).unwrap();
            assert_eq!(
                indexes(&log.read(..).unwrap()),
                [0, 1, 2, 3, 4],
                "{len} bytes, {zeros} zeros"
            );
            assert_eq!((state.last, state.vote), (Some(id(3, 4)), Some(vote(3, 1, true))));
            append(&log, vec![entry(4, 5)]);
            drop(log);
            let (log, _) = open(dir.path()).unwrap();
            assert_eq!(log.read(4..).unwrap(), [entry(3, 4), entry(4, 5)]);
            drop(log);
            chunks(dir.path())[1..].iter().for_each(|path| fs::remove_file(path).unwrap());
        }
    }
}

#[test]
fn a_torn_record_with_zeros_behind_it_was_never_acknowledged() {
    let (dir, chunk) = one_chunk(5);
    let whole = fs::read(&chunk).unwrap();
    let (log, _) = open(dir.path()).unwrap();
    let large = Entry { id: id(3, 5), payload: Bytes::from(vec![b'x'; 3_000]) };
    append(&log, vec![large, entry(3, 6)]);
    drop(log);

    let longer = fs::read(&chunk).unwrap();
    let mut torn = 0;
    for len in (whole.len() + 1..longer.len() - 1_000).filter(|len| len % 512 == 0) {
        // A file can have its new length, but not all of its blocks, when the power fails.
        let mut bytes = longer.clone();
        bytes[len..].fill(0);
        fs::write(&chunk, &bytes).unwrap();
        let (log, state) = open(dir.path()).unwrap();
        assert_eq!((state.last, state.vote), (Some(id(3, 4)), Some(vote(3, 1, true))));
        assert_eq!(log.read(..).unwrap(), entries(3, 0..5));
        torn += 1;
    }

    assert!(torn > 2);
    // Zeros that end before the file does are no torn write.
    let mut damaged = longer.clone();
    let last = longer.len() - 60;
    damaged[1024..last].fill(0);
    fs::write(&chunk, &damaged).unwrap();
    assert_damaged(dir.path(), "zeros in the middle");
}

/// Flips every bit of the only chunk, one at a time: nothing may be lost without a word.
fn assert_every_bit_matters(dir: &Path, chunk: &Path) {
    let whole = fs::read(chunk).unwrap();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            fs::write(chunk, &damaged).unwrap();
            assert_damaged(dir, &format!("bit {bit} of byte {at} of {}", whole.len()));
            assert_eq!(fs::read(chunk).unwrap(), damaged, "a damaged log is left as it is");
        }
    }
    fs::write(chunk, &whole).unwrap();
}

#[test]
fn every_flipped_bit_is_damage() {
    let (dir, chunk) = one_chunk(4);
    assert_every_bit_matters(dir.path(), &chunk);
    assert_eq!(open(dir.path()).unwrap().0.read(..).unwrap(), entries(3, 0..4));
}

#[test]
fn every_flipped_bit_is_damage_in_every_kind_of_record() {
    let (dir, chunk) = one_chunk(2);
    let (log, _) = open(dir.path()).unwrap();
    log.truncate_after(None).unwrap();
    append(&log, entries(4, 0..3));
    log.truncate_after(Some(1)).unwrap();
    log.save_committed(id(4, 1)).unwrap();

    log.purge(id(4, 0)).unwrap();
    log.save_vote(vote(5, 1, true)).unwrap();
    drop(log);
    assert_every_bit_matters(dir.path(), &chunk);
    let (log, state) = open(dir.path()).unwrap();
    assert_eq!(log.read(..).unwrap(), entries(4, 1..2));

    assert_eq!(
        (state.purged, state.committed, state.vote),
        (Some(id(4, 0)), Some(id(4, 1)), Some(vote(5, 1, true)))
    );
}

#[test]
fn a_zeroed_block_in_the_middle_is_damage() {
    let (dir, chunk) = one_chunk(40);
    let whole = fs::read(&chunk).unwrap();
    for at in (0..whole.len() - 256).step_by(37) {
        let mut damaged = whole.clone();
        damaged[at..at + 128].fill(0);
        fs::write(&chunk, &damaged).unwrap();
        assert_damaged(dir.path(), &format!("zeros at {at}"));
    }
}

#[test]
fn a_lost_chunk_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LogStore::open(dir.path(), small()).unwrap();
    append(&log, entries(1, 0..100));
    log.save_committed(id(1, 99)).unwrap();
    log.close().unwrap();
    let chunks = chunks(dir.path());

    assert!(chunks.len() > 3);
    for (at, chunk) in chunks.iter().enumerate() {
        let aside = dir.path().join("aside");
        fs::rename(chunk, &aside).unwrap();
        assert_damaged(dir.path(), &format!("chunk {at} of {}", chunks.len()));
        fs::rename(&aside, chunk).unwrap();
        if at + 1 < chunks.len() {
            let whole = fs::read(chunk).unwrap();
            fs::write(chunk, &whole[..whole.len() - 1]).unwrap();
            assert_damaged(dir.path(), &format!("chunk {at} cut"));
            fs::write(chunk, b"").unwrap();
            assert_damaged(dir.path(), &format!("chunk {at} empty"));
            fs::write(chunk, whole).unwrap();
        }
    }

    assert_eq!(open(dir.path()).unwrap().1.last, Some(id(1, 99)));
}

#[test]
fn the_first_entry_after_a_purge_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = LogStore::open(dir.path(), small()).unwrap();
    append(&log, entries(1, 0..100));
    log.purge(id(1, 3)).unwrap();
    log.close().unwrap();
    fs::remove_file(&chunks(dir.path())[0]).unwrap();
    assert_damaged(dir.path(), "the chunk with entry 4");
}

#[test]
fn a_log_that_lost_its_end_is_seen_by_its_mark() {
    let (dir, chunk) = one_chunk(10);
    let short = fs::read(&chunk).unwrap();
    let (log, _) = open(dir.path()).unwrap();
    append(&log, entries(3, 10..20));
    log.save_vote(vote(4, 2, false)).unwrap();
    log.save_committed(id(3, 15)).unwrap();
    log.write_mark().unwrap();
    // What is not committed may be truncated at any time, so it is not part of the mark.
    log.truncate_after(Some(15)).unwrap();
    log.sync().unwrap();
    drop(log);
    let whole = fs::read(&chunk).unwrap();
    drop(open(dir.path()).unwrap());

    fs::write(&chunk, &short).unwrap();
    assert_damaged(dir.path(), "the end was cut");
    fs::remove_file(&chunk).unwrap();
    assert_damaged(dir.path(), "all is gone");
    chunks(dir.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::write(&chunk, &whole).unwrap();
    drop(open(dir.path()).unwrap());

    let mark = dir.path().join("mark");
    let bytes = fs::read(&mark).unwrap();
    fs::write(&mark, &bytes[..bytes.len() - 1]).unwrap();
    assert_damaged(dir.path(), "the mark is cut");
}
