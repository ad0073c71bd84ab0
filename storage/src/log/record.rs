//! What is in the log, and how it is laid out in the chunk files.
//!
//! raft-log checks a record's checksum only after it has read as much as the record itself says. A
//! damaged length or type could therefore make it read past the end of the file, which it takes for
//! a cut last record and *removes*, acknowledged records included. So every part checks itself: the
//! ids and the vote have the same length and a checksum of their own, and so has the length of a
//! payload. A damaged part is then an error, never "the end of the file".

use std::cmp::Ordering;
use std::fmt;
use std::io;

use bytes::Bytes;
use raft_log::codeq::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Which entry of the log: its place, and the leader that put it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// Term of the leader that proposed the entry.
    pub term: u64,
    /// That leader, or 0 where the caller does not tell leaders of one term apart.
    pub node: u64,
    /// Place in the log.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}-N{}.{}", self.term, self.node, self.index)
    }
}

/// What a node promised in an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// The node voted for.
    pub node: u64,
    /// Whether that node is known to have won.
    pub committed: bool,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: LogId,
    /// Its content, opaque here. At most [`ratequeue_codec::caps::LOG_PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Bytes,
}

/// The types that raft-log is used with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WalTypes;

impl raft_log::Types for WalTypes {
    type LogId = WalLogId;
    type LogPayload = WalPayload;
    type Vote = WalVote;
    type Callback = super::durable::Ack;
    type UserData = WalNothing;

    fn log_index(id: &WalLogId) -> u64 {
        id.0.index
    }

    fn payload_size(payload: &WalPayload) -> u64 {
        u64::try_from(payload.0.len()).unwrap_or(u64::MAX)
    }
}

/// Length of an id or a vote before its checksum. The same for both: see the module's text.
const PART_BYTES: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WalLogId(pub LogId);

/// Ordered by term alone: that a term never goes back is what every kind of Raft vote has in
/// common. Which vote may follow another inside a term is the protocol's business.
#[derive(Debug, Clone, Copy)]
pub(super) struct WalVote(pub Vote);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WalPayload(pub Bytes);

/// raft-log can keep data of its user; we have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WalNothing;

impl PartialEq for WalVote {
    fn eq(&self, other: &Self) -> bool {
        self.0.term == other.0.term
    }
}

impl Eq for WalVote {}

impl PartialOrd for WalVote {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.0.term.cmp(&other.0.term))
    }
}

impl Encode for WalLogId {
    fn encode<W: io::Write>(&self, w: W) -> io::Result<usize> {
        write_part(w, [self.0.term, self.0.node, self.0.index])
    }
}

impl Decode for WalLogId {
    fn decode<R: io::Read>(r: R) -> io::Result<Self> {
        let [term, node, index] = read_part(r, "log id")?;
        Ok(Self(LogId { term, node, index }))
    }
}

impl Encode for WalVote {
    fn encode<W: io::Write>(&self, w: W) -> io::Result<usize> {
        write_part(w, [self.0.term, self.0.node, u64::from(self.0.committed)])
    }
}

impl Decode for WalVote {
    fn decode<R: io::Read>(r: R) -> io::Result<Self> {
        let [term, node, committed] = read_part(r, "vote")?;
        Ok(Self(Vote { term, node, committed: committed != 0 }))
    }
}

impl Encode for WalPayload {
    fn encode<W: io::Write>(&self, mut w: W) -> io::Result<usize> {
        let len = u32::try_from(self.0.len()).map_err(|_| bad("payload too large"))?;
        let len = len.to_be_bytes();
        w.write_all(&len)?;
        w.write_all(&crc32c::crc32c(&len).to_be_bytes())?;
        w.write_all(&self.0)?;
        Ok(8 + self.0.len())
    }
}

impl Decode for WalPayload {
    fn decode<R: io::Read>(mut r: R) -> io::Result<Self> {
        let (mut len, mut crc) = ([0; 4], [0; 4]);
        r.read_exact(&mut len)?;
        r.read_exact(&mut crc)?;
        if crc32c::crc32c(&len) != u32::from_be_bytes(crc) {
            return Err(bad("the length of a payload is damaged"));
        }
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > ratequeue_codec::caps::LOG_PAYLOAD_BYTES_MAX {
            return Err(bad("a payload is longer than the limit"));
        }
        let mut payload = vec![0; len];
        r.read_exact(&mut payload)?;
        Ok(Self(Bytes::from(payload)))
    }
}

impl Encode for WalNothing {
    fn encode<W: io::Write>(&self, _w: W) -> io::Result<usize> {
        Ok(0)
    }
}

impl Decode for WalNothing {
    fn decode<R: io::Read>(_r: R) -> io::Result<Self> {
        Ok(Self)
    }
}

fn write_part<W: io::Write>(mut w: W, numbers: [u64; 3]) -> io::Result<usize> {
    let mut part = [0; PART_BYTES];
    let bytes = numbers.into_iter().flat_map(u64::to_be_bytes);
    for (to, from) in part.iter_mut().zip(bytes) {
        *to = from;
    }
    w.write_all(&part)?;
    w.write_all(&crc32c::crc32c(&part).to_be_bytes())?;
    Ok(PART_BYTES + 4)
}

fn read_part<R: io::Read>(mut r: R, what: &str) -> io::Result<[u64; 3]> {
    let (mut part, mut crc) = ([0; PART_BYTES], [0; 4]);
    r.read_exact(&mut part)?;
    r.read_exact(&mut crc)?;
    if crc32c::crc32c(&part) != u32::from_be_bytes(crc) {
        return Err(bad(&format!("a {what} is damaged")));
    }
    let mut numbers = [0; 3];
    let (chunks, _) = part.as_chunks::<8>();
    for (to, from) in numbers.iter_mut().zip(chunks) {
        *to = u64::from_be_bytes(*from);
    }
    Ok(numbers)
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ID: LogId = LogId { term: 3, node: 2, index: 1_000 };

    fn hex(value: &impl Encode) -> String {
        let mut bytes = Vec::new();
        let written = value.encode(&mut bytes).unwrap();
        assert_eq!(written, bytes.len());
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The layout of the chunk files, as far as it is ours. It has no version of its own: a change
    /// is a new folder format.
    #[test]
    fn parts_have_their_golden_bytes() {
        assert_eq!(hex(&WalLogId(ID)), "0000000000000003000000000000000200000000000003e8d4490a22");
        assert_eq!(
            hex(&WalVote(Vote { term: 3, node: 2, committed: true })),
            "0000000000000003000000000000000200000000000000017b2cd16d"
        );
        assert_eq!(hex(&WalPayload(Bytes::from_static(b"abc"))), "000000035b37b833616263");
        assert_eq!(hex(&WalNothing), "");
    }

    #[test]
    fn a_vote_is_not_shorter_than_an_id() {
        let vote = Vote { term: u64::MAX, node: 1, committed: false };
        assert_eq!(hex(&WalVote(vote)).len(), hex(&WalLogId(ID)).len());
    }

    #[test]
    fn a_part_of_zeros_is_damage() {
        let zeros = [0; 64];
        for error in [
            WalLogId::decode(&zeros[..]).unwrap_err(),
            WalVote::decode(&zeros[..]).unwrap_err(),
            WalPayload::decode(&zeros[..]).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
