//! The bytes of every frame, and what becomes of damaged ones.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use ratequeue_limiter::{Command, LogTime};
use ratequeue_storage::LogId;

use super::*;
use crate::format::types::{Data, LeaderId, RaftEntry, RaftLogId, RaftMembership};
use crate::node::Address;

fn vote(committed: bool) -> RaftVote {
    RaftVote { leader_id: LeaderId { term: 3, node_id: 2 }, committed }
}

fn id(index: u64) -> RaftLogId {
    raft_id(LogId { term: 3, node: 2, index })
}

fn entries() -> Vec<RaftEntry> {
    let bytes = crate::format::batch::encode(LogTime(9), &[Command::Tick]).unwrap();
    let nodes = BTreeMap::from([(1, Address::from("a:1"))]);
    let membership = RaftMembership::new(vec![BTreeSet::from([1])], nodes).unwrap();
    vec![
        RaftEntry { log_id: id(7), payload: EntryPayload::Blank },
        RaftEntry { log_id: id(8), payload: EntryPayload::Normal(Data { bytes, own: true }) },
        RaftEntry { log_id: id(9), payload: EntryPayload::Membership(membership) },
    ]
}

/// Every frame there is, by name.
fn frames() -> Vec<(&'static str, Bytes)> {
    let mut transfer = VoteRequest::new(vote(false), None);
    transfer.leadership_transfer = true;
    let append = AppendEntriesRequest {
        vote: vote(true),
        prev_log_id: Some(id(6)),
        entries: entries(),
        leader_commit: None,
    };

    let hand_over = TransferLeaderRequest::new(vote(true), 5, Some(id(9)));
    let records = vec![Record { kind: 2, id: 4, value: vec![1, 2, 3] }];
    let answered = VoteResponse { vote: vote(true), vote_granted: true, last_log_id: Some(id(1)) };

    vec![
        ("vote", Request::Vote(VoteRequest::new(vote(false), Some(id(9)))).encode().unwrap()),
        ("pre-vote", Request::PreVote(transfer).encode().unwrap()),
        ("append", Request::Append(append).encode().unwrap()),
        ("hand over", Request::TransferLeader(hand_over).encode().unwrap()),
        (
            "snapshot begins",
            Piece::Begin { vote: vote(true), header: Bytes::from_static(b"head") }.encode(),
        ),
        ("snapshot goes on", Piece::Chunk { number: 1, records }.encode()),
        ("snapshot ends", Piece::End { chunks: 2 }.encode()),
        ("vote answered", Response::Vote(answered).encode()),
        ("append done", Response::Append(Ok(Some(id(9)))).encode()),
        ("append conflicts", Response::Append(Err(StreamAppendError::Conflict(id(6)))).encode()),
        ("higher vote", Response::Append(Err(StreamAppendError::HigherVote(vote(false)))).encode()),
        ("handed over", Response::TransferLeader(Ok(())).encode()),
        ("snapshot installed", Response::Snapshot(vote(true)).encode()),
        ("refused", Response::Refused("why".to_owned()).encode()),
    ]
}

/// What a frame says, in openraft's words; the answer to which decoder takes it.
fn read(frame: &Bytes) -> Result<String, WireError> {
    match frame[2] {
        1..=4 => Request::decode(frame.clone()).map(|request| format!("{request:?}")),
        5..=7 => Piece::decode(frame.clone()).map(|piece| format!("{piece:?}")),
        _ => Response::decode(frame.clone()).map(|response| format!("{response:?}")),
    }
}

/// To be changed only together with a new kind or version.
const GOLDEN: &str = include_str!("golden");

#[test]
fn frames_have_their_golden_bytes() {
    let text: String = frames()
        .iter()
        .map(|(name, frame)| {
            let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{name}: {hex}\n")
        })
        .collect();
    assert_eq!(text, GOLDEN, "\n{text}");
}

#[test]
fn frames_read_back() {
    let said: BTreeMap<&str, String> =
        frames().iter().map(|(name, frame)| (*name, read(frame).unwrap())).collect();
    assert!(said["pre-vote"].contains("leadership_transfer: true"), "{}", said["pre-vote"]);
    assert!(said["append"].contains("membership"), "{}", said["append"]);
    assert!(said["refused"].contains("why"));
    let Request::Append(append) = Request::decode(frames()[2].1.clone()).unwrap() else {
        panic!("not an append")
    };

    let again: Vec<Entry> =
        append.entries.iter().map(|entry| entry::to_stored(entry).unwrap()).collect();
    let before: Vec<Entry> =
        entries().iter().map(|entry| entry::to_stored(entry).unwrap()).collect();

    assert_eq!(again, before);
    // Whatever comes from elsewhere was not stamped here.
    assert!(
        append
            .entries
            .iter()
            .all(|entry| !matches!(&entry.payload, EntryPayload::Normal(data) if data.own))
    );
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unnoticed() {
    for (name, frame) in frames() {
        for bit in 0..frame.len() * 8 {
            let mut bytes = frame.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&Bytes::from(bytes)).is_err(), "{name}, bit {bit}");
        }
        for len in 3..frame.len() {
            assert!(read(&frame.slice(..len)).is_err(), "{name}, {len} bytes");
        }
    }
}

#[test]
fn a_length_that_lies_is_cut_not_believed() {
    let mut out = Out::new(3);
    out.vote(&vote(true));
    out.option_id(None);
    out.option_id(None);
    out.u32(usize::MAX);
    assert_eq!(Request::decode(out.finish()).unwrap_err(), WireError::Cut);
    let mut out = Out::new(99);
    out.u8(0);
    assert_eq!(Request::decode(out.finish()).unwrap_err(), WireError::Kind(99));
}
