//! What the nodes of a group say to each other, byte by byte. It is ours: openraft's types are put
//! in and taken out here.
//!
//! ```text
//! 0       1         2      3        7
//! | magic | version | kind | crc32c | body
//! ```
//! Numbers are little endian. The checksum covers version, kind and body. An option is one byte, 0
//! or 1, and then the value; bytes are a length (u32) and then themselves. A new field is a new
//! kind, or a new version when all nodes know it.
//!
//! | kind | body |
//! |---|---|
//! | 1 vote, 2 pre-vote | vote, option of the last log id, whether leadership is handed over |
//! | 3 append | vote, option of the log id before, option of the committed one, number (u32), entries: log id, payload |
//! | 4 hand over | vote of the old leader, the new leader, option of the last log id |
//! | 5 snapshot begins | vote, header (its own schema) |
//! | 6 snapshot goes on | number of the chunk from 0, number (u32), records: kind, id, value |
//! | 7 snapshot ends | number of chunks |
//! | 8 page of a checkpoint | its sequence, or 0; option of the record before: kind, id |
//! | 16 vote answered | vote, granted, option of the last log id |
//! | 17 append done | option of the log id up to which the logs agree |
//! | 18 append conflicts | the log id that is missing |
//! | 19 higher vote | the vote |
//! | 20 handed over | nothing |
//! | 21 snapshot installed | vote |
//! | 22 refused | why, as text |
//! | 23 page | sequence, header (its own schema), number (u32), records: kind, id, value |

#[cfg(test)]
mod tests;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, VoteRequest, VoteResponse,
};
use openraft::raft::{TransferLeaderError, TransferLeaderRequest};
use ratequeue_storage::{Entry, Record};

use crate::format::bytes::{In, Out, WireError, open};
use crate::format::entry;
use crate::format::page::{Page, PageRequest};
use crate::format::types::{RaftVote, Types, raft_id, stored_id};

/// What a node asks of another.
#[derive(Debug)]
pub(crate) enum Request {
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Append(AppendEntriesRequest<Types>),
    TransferLeader(TransferLeaderRequest<Types>),
    Page(PageRequest),
}

/// A piece of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Begin { vote: RaftVote, header: Bytes },
    Chunk { number: u64, records: Vec<Record> },
    End { chunks: u64 },
}

/// Why leadership was not taken over, in the words of the node that was to take it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotTransferred(pub String);

/// What the other answers.
#[derive(Debug)]
pub(crate) enum Response {
    Vote(VoteResponse<Types>),
    Append(StreamAppendResult<Types>),
    TransferLeader(Result<(), NotTransferred>),
    Snapshot(RaftVote),
    Refused(String),
    Page(Page),
}

impl Response {
    pub fn of_transfer(result: Result<(), TransferLeaderError<Types>>) -> Self {
        Self::TransferLeader(result.map_err(|error| NotTransferred(error.to_string())))
    }
}

impl Request {
    pub fn encode(&self) -> std::io::Result<Bytes> {
        match self {
            Self::Vote(vote) => Ok(encode_vote(1, vote)),
            Self::PreVote(vote) => Ok(encode_vote(2, vote)),
            Self::Append(append) => encode_append(append),
            Self::TransferLeader(transfer) => {
                let mut out = Out::new(4);
                out.vote(transfer.from_leader());
                out.u64(*transfer.to_node_id());
                out.option_id(transfer.last_log_id());
                Ok(out.finish())
            }
            Self::Page(asked) => {
                let mut out = Out::new(8);
                out.u64(asked.sequence);
                out.u64(asked.reach);
                out.u8(u8::from(asked.after.is_some()));
                if let Some((kind, id)) = asked.after {
                    out.u8(kind);
                    out.u64(id);
                }
                Ok(out.finish())
            }
        }
    }

    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let (kind, mut body) = open(frame)?;
        let request = match kind {
            1 | 2 => {
                let mut vote = VoteRequest::new(body.vote()?, body.option_id()?);
                vote.leadership_transfer = body.flag()?;
                if kind == 1 { Self::Vote(vote) } else { Self::PreVote(vote) }
            }
            3 => Self::Append(decode_append(&mut body)?),
            4 => {
                let (from, to, last) = (body.vote()?, body.u64()?, body.option_id()?);
                Self::TransferLeader(TransferLeaderRequest::new(from, to, last))
            }
            8 => {
                let (sequence, reach) = (body.u64()?, body.u64()?);
                let after = if body.flag()? { Some((body.u8()?, body.u64()?)) } else { None };
                Self::Page(PageRequest { sequence, reach, after })
            }
            kind => return Err(WireError::Kind(kind)),
        };

        body.end()?;
        Ok(request)
    }
}

impl Piece {
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Begin { vote, header } => {
                let mut out = Out::new(5);
                out.vote(vote);
                out.bytes(header);
                out.finish()
            }
            Self::Chunk { number, records } => {
                let mut out = Out::new(6);
                out.u64(*number);
                out.records(records);
                out.finish()
            }
            Self::End { chunks } => {
                let mut out = Out::new(7);
                out.u64(*chunks);
                out.finish()
            }
        }
    }

    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let (kind, mut body) = open(frame)?;
        let piece = match kind {
            5 => Self::Begin { vote: body.vote()?, header: body.bytes()? },
            6 => {
                let number = body.u64()?;
                Self::Chunk { number, records: body.records()? }
            }
            7 => Self::End { chunks: body.u64()? },
            kind => return Err(WireError::Kind(kind)),
        };
        body.end()?;
        Ok(piece)
    }
}

impl Response {
    pub fn encode(&self) -> Bytes {
        let mut out;
        match self {
            Self::Vote(vote) => {
                out = Out::new(16);
                out.vote(&vote.vote);
                out.u8(u8::from(vote.vote_granted));
                out.option_id(vote.last_log_id.as_ref());
            }
            Self::Append(Ok(matching)) => {
                out = Out::new(17);
                out.option_id(matching.as_ref());
            }
            Self::Append(Err(StreamAppendError::Conflict(id))) => {
                out = Out::new(18);
                out.id(id);
            }
            Self::Append(Err(StreamAppendError::HigherVote(vote))) => {
                out = Out::new(19);
                out.vote(vote);
            }
            Self::TransferLeader(Ok(())) => out = Out::new(20),
            Self::Snapshot(vote) => {
                out = Out::new(21);
                out.vote(vote);
            }
            Self::TransferLeader(Err(NotTransferred(why))) | Self::Refused(why) => {
                out = Out::new(22);
                out.bytes(why.as_bytes());
            }
            Self::Page(page) => {
                out = Out::new(23);
                out.u64(page.sequence);
                out.bytes(&page.header);
                out.records(&page.records);
            }
        }

        out.finish()
    }

    pub fn decode(frame: Bytes) -> Result<Self, WireError> {
        let (kind, mut body) = open(frame)?;
        let response = match kind {
            16 => {
                let (vote, granted, last) = (body.vote()?, body.flag()?, body.option_id()?);
                Self::Vote(VoteResponse { vote, vote_granted: granted, last_log_id: last })
            }
            17 => Self::Append(Ok(body.option_id()?)),
            18 => Self::Append(Err(StreamAppendError::Conflict(body.id()?))),
            19 => Self::Append(Err(StreamAppendError::HigherVote(body.vote()?))),
            20 => Self::TransferLeader(Ok(())),
            21 => Self::Snapshot(body.vote()?),
            22 => Self::Refused(String::from_utf8_lossy(&body.bytes()?).into_owned()),
            23 => Self::Page(Page {
                sequence: body.u64()?,
                header: body.bytes()?,
                records: body.records()?,
            }),
            kind => return Err(WireError::Kind(kind)),
        };

        body.end()?;
        Ok(response)
    }
}

fn encode_vote(kind: u8, vote: &VoteRequest<Types>) -> Bytes {
    let mut out = Out::new(kind);
    out.vote(&vote.vote);
    out.option_id(vote.last_log_id.as_ref());
    out.u8(u8::from(vote.leadership_transfer));
    out.finish()
}

fn encode_append(append: &AppendEntriesRequest<Types>) -> std::io::Result<Bytes> {
    let mut out = Out::new(3);
    out.vote(&append.vote);
    out.option_id(append.prev_log_id.as_ref());
    out.option_id(append.leader_commit.as_ref());
    out.u32(append.entries.len());
    for entry in &append.entries {
        let Entry { id, payload } = entry::to_stored(entry)?;
        out.id(&raft_id(id));
        out.bytes(&payload);
    }
    Ok(out.finish())
}

fn decode_append(body: &mut In) -> Result<AppendEntriesRequest<Types>, WireError> {
    let (vote, prev_log_id, leader_commit) = (body.vote()?, body.option_id()?, body.option_id()?);
    let count = body.u32()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let entry = Entry { id: stored_id(&body.id()?), payload: body.bytes()? };
        entries.push(entry::to_raft(entry).map_err(|error| WireError::Entry(error.to_string()))?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}
