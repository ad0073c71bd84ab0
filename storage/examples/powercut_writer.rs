//! Writes until it has acknowledged a number of records, says so, and waits to be stopped: the half
//! of `scripts/powercut.sh` that runs before the power is cut.
//!
//! Usage: `powercut_writer <mode> <folder>`, where the mode is
//! - `store`: the log and a checkpoint, as RateQueue uses them;
//! - `vote`: the same, and a vote at the end;
//! - `sled-flush`: sled alone, with its own `flush` after each record. This one is expected to
//!   lose.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use ratequeue_codec::{encode, schema};
use ratequeue_storage::{
    DataDir, Entry, GroupName, Header, LogId, LogOptions, LogStore, Slot, StateOptions, StateStore,
    Vote, keys,
};

const RECORDS: u64 = 200;

fn main() {
    let mut args = std::env::args().skip(1);
    let (mode, dir) = (args.next().expect("a mode"), args.next().expect("a folder"));
    match mode.as_str() {
        "store" => store(Path::new(&dir), false),
        "vote" => store(Path::new(&dir), true),
        _ => sled_flush(Path::new(&dir)),
    }
}

fn acked() {
    println!("acked {RECORDS}");
    let _ = std::io::stdin().read_line(&mut String::new());
    // Nothing may be written on the way out.
    std::process::abort();
}

fn sled_flush(dir: &Path) {
    let db = sled::Config::new().path(dir).flush_every_ms(None).open().unwrap();
    for id in 0..RECORDS {
        db.insert(id.to_be_bytes(), &id.to_le_bytes()).unwrap();
        db.flush().unwrap();
    }
    acked();
}

fn store(dir: &Path, votes: bool) {
    let data = DataDir::open(dir).unwrap();
    let group = GroupName::new("power").unwrap();
    let (log, _) = LogStore::open(data.log_dir(&group), LogOptions::default()).unwrap();
    let options = StateOptions { pause: Duration::ZERO, ..StateOptions::default() };
    let (state, _) = StateStore::open(data.state_dir(), options).unwrap();
    let (mut slot, mut sequence) = (Slot::Zero, 0);

    for index in 0..RECORDS {
        let id = LogId { term: 1, node: 1, index };
        let (tx, rx) = channel();
        let payload = Bytes::from(index.to_be_bytes().repeat(20));
        log.append(vec![Entry { id, payload }], Box::new(move |result| tx.send(result).unwrap()))
            .unwrap();
        rx.recv().unwrap().unwrap();
        if (index + 1) % 50 == 0 {
            sequence += 1;
            checkpoint(&state, &group, slot, sequence, id);
            slot = slot.other();
        }
    }

    if votes {
        log.save_vote(Vote { term: RECORDS, node: 1, committed: false }).unwrap();
    }
    acked();
}

fn checkpoint(state: &StateStore, group: &GroupName, slot: Slot, sequence: u64, applied: LogId) {
    let mut writer = state.begin(group, slot).unwrap();
    let records = applied.index + 1;
    for id in 0..records {
        writer.put(keys::KIND_META, id, &encode(schema::META, &id).unwrap()).unwrap();
    }

    let digest = (0..records).sum();
    let header = Header {
        applied: Some(applied),
        membership: Vec::new(),
        records,
        digest,
        sequence,
        received: false,
    };

    writer.commit(&header).unwrap();
}
