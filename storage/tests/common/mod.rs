//! What the tests of the log share.
#![allow(dead_code)]

use std::ops::Range;
use std::sync::mpsc::channel;

use bytes::Bytes;
use ratequeue_storage::{Entry, LogId, LogOptions, LogStore, Vote};

/// Chunks of a few entries, so that a short test has many.
pub fn small() -> LogOptions {
    LogOptions { chunk_bytes_max: 2_000, chunk_records_max: 32, ..LogOptions::default() }
}

pub fn id(term: u64, index: u64) -> LogId {
    LogId { term, node: 0, index }
}

pub fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote { term, node, committed }
}

/// An entry whose payload tells which one it is.
pub fn entry(term: u64, index: u64) -> Entry {
    let text = format!("entry {index} of term {term} {}", "x".repeat(30));
    Entry { id: id(term, index), payload: Bytes::from(text) }
}

pub fn entries(term: u64, indexes: Range<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(term, index)).collect()
}

pub fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.index).collect()
}

/// Appends and waits until it is durable.
pub fn append(log: &LogStore, entries: Vec<Entry>) {
    let (tx, rx) = channel();
    log.append(entries, Box::new(move |result| tx.send(result).unwrap())).unwrap();
    rx.recv().unwrap().unwrap();
}
