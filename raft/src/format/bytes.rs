//! Frames as bytes: head, checksum, and the primitive values of a body. The layout is in
//! [`wire`](crate::format::wire).

use bytes::{Buf, Bytes};
use ratequeue_storage::{LogId, Record};

use crate::format::types::{LeaderId, RaftLogId, RaftVote, raft_id, stored_id};

const MAGIC: u8 = b'Q';
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 7;

/// Why a frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the frame is cut")]
    Cut,
    #[error("the frame is damaged, or not a frame")]
    Damaged,
    #[error("frame version {0} is not known: the other node runs another version of RateQueue")]
    Version(u8),
    #[error("a frame of kind {0} is not expected")]
    Kind(u8),
    #[error("an entry cannot be read: {0}")]
    Entry(String),
}

pub(super) fn open(mut frame: Bytes) -> Result<(u8, In), WireError> {
    if frame.len() < HEAD_BYTES {
        return Err(WireError::Cut);
    }
    let (magic, version, kind, stored) =
        (frame.get_u8(), frame.get_u8(), frame.get_u8(), frame.get_u32_le());
    if magic != MAGIC || stored != checksum(version, kind, &frame) {
        return Err(WireError::Damaged);
    }
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    Ok((kind, In(frame)))
}

fn checksum(version: u8, kind: u8, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[version, kind]), body)
}

/// A frame that is being written.
pub(super) struct Out(Vec<u8>, u8);

impl Out {
    pub fn new(kind: u8) -> Self {
        Self(vec![0; HEAD_BYTES], kind)
    }

    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A number of things; there are never so many that it does not fit.
    pub fn u32(&mut self, value: usize) {
        self.0.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len());
        self.0.extend_from_slice(value);
    }

    pub fn records(&mut self, records: &[Record]) {
        self.u32(records.len());
        for record in records {
            self.u8(record.kind);
            self.u64(record.id);
            self.bytes(&record.value);
        }
    }

    pub fn id(&mut self, id: &RaftLogId) {
        let LogId { term, node, index } = stored_id(id);
        [term, node, index].into_iter().for_each(|number| self.u64(number));
    }

    pub fn option_id(&mut self, id: Option<&RaftLogId>) {
        self.u8(u8::from(id.is_some()));
        if let Some(id) = id {
            self.id(id);
        }
    }

    pub fn vote(&mut self, vote: &RaftVote) {
        self.u64(vote.leader_id.term);
        self.u64(vote.leader_id.node_id);
        self.u8(u8::from(vote.committed));
    }

    pub fn finish(mut self) -> Bytes {
        debug_assert!(self.0.len() >= HEAD_BYTES, "a frame without room for its head");
        let crc = checksum(VERSION, self.1, self.0.get(HEAD_BYTES..).unwrap_or_default());
        let head = [MAGIC, VERSION, self.1].into_iter().chain(crc.to_le_bytes());
        for (to, from) in self.0.iter_mut().zip(head) {
            *to = from;
        }
        Bytes::from(self.0)
    }
}

/// A body that is being read.
pub(super) struct In(Bytes);

impl In {
    pub fn take(&mut self, len: usize) -> Result<Bytes, WireError> {
        if self.0.len() < len { Err(WireError::Cut) } else { Ok(self.0.split_to(len)) }
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?.get_u8())
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(self.take(4)?.get_u32_le())
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(self.take(8)?.get_u64_le())
    }

    pub fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Damaged),
        }
    }

    pub fn bytes(&mut self) -> Result<Bytes, WireError> {
        let len = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        self.take(len)
    }

    pub fn records(&mut self) -> Result<Vec<Record>, WireError> {
        let count = self.u32()?;
        let mut records = Vec::new();
        for _ in 0..count {
            records.push(Record {
                kind: self.u8()?,
                id: self.u64()?,
                value: self.bytes()?.to_vec(),
            });
        }
        Ok(records)
    }

    pub fn id(&mut self) -> Result<RaftLogId, WireError> {
        let (term, node, index) = (self.u64()?, self.u64()?, self.u64()?);
        Ok(raft_id(LogId { term, node, index }))
    }

    pub fn option_id(&mut self) -> Result<Option<RaftLogId>, WireError> {
        if self.flag()? { self.id().map(Some) } else { Ok(None) }
    }

    pub fn vote(&mut self) -> Result<RaftVote, WireError> {
        let (term, node_id) = (self.u64()?, self.u64()?);
        Ok(RaftVote { leader_id: LeaderId { term, node_id }, committed: self.flag()? })
    }

    pub fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Damaged) }
    }
}
