//! The content of a log entry: commands, and the log time at which they are decided.

use bytes::Bytes;
use ratequeue_codec::{self as codec, CodecError, schema};
use ratequeue_limiter::{Command, LogTime};
use serde::{Deserialize, Serialize};

/// What one entry carries, as it is read.
#[derive(Debug, Deserialize)]
pub(crate) struct EntryBatch {
    /// Stamped by the leader that proposed it.
    pub stamp: LogTime,
    /// Decided in this order.
    pub commands: Vec<Command>,
}

/// The same, as it is written. Field by field what [`EntryBatch`] is.
#[derive(Serialize)]
struct EntryBatchRef<'a> {
    stamp: LogTime,
    commands: &'a [Command],
}

/// The bytes of an entry, made once by its proposer and shared by log, replication and apply.
pub(crate) fn encode(stamp: LogTime, commands: &[Command]) -> Result<Bytes, CodecError> {
    codec::encode(schema::LOG_ENTRY, &EntryBatchRef { stamp, commands }).map(Bytes::from)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<EntryBatch, CodecError> {
    codec::decode(schema::LOG_ENTRY, bytes)
}

/// The stamp alone, without its commands.
pub(crate) fn stamp(bytes: &[u8]) -> Result<LogTime, CodecError> {
    codec::decode_head(schema::LOG_ENTRY, bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// To be changed only together with a new schema ordinal.
    #[test]
    fn has_its_golden_bytes() {
        let bytes = encode(LogTime(1_000_000), &[Command::Tick]).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "52510106070000009004dafdfc40420f000107");
        let batch = decode(&bytes).unwrap();
        assert_eq!((batch.stamp, batch.commands), (LogTime(1_000_000), vec![Command::Tick]));
        assert_eq!(stamp(&bytes).unwrap(), LogTime(1_000_000));
        assert!(stamp(&bytes[..bytes.len() - 1]).is_err());
    }
}
