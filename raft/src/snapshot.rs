//! What openraft hands around as a snapshot: a checkpoint in a slot of this node, or one that has come from the leader.

use std::sync::Arc;

use ratequeue_limiter::State;
use ratequeue_storage::{Header, RecordSink, SlotError};

use crate::slots::{Checkpoint, CheckpointError, Incoming, Slots, Whole};

/// A snapshot that can be read, or installed.
pub(crate) enum SnapshotData {
    /// A whole slot of this process, to be read.
    Stored { slots: Arc<Slots>, checkpoint: Checkpoint },
    /// What has come from the leader, in the spare slot, to be switched to.
    Received(Box<Whole>),
}

impl SnapshotData {
    pub fn stored(slots: Arc<Slots>, checkpoint: Checkpoint) -> Self {
        Self::Stored { slots, checkpoint }
    }

    /// Makes it the newest checkpoint of `into`. Blocks.
    pub fn install(self, into: &Arc<Slots>) -> Result<(Header, State), CheckpointError> {
        match self {
            Self::Received(whole) => whole.commit(),
            Self::Stored { slots, checkpoint } => {
                let mut copy = Copy { incoming: into.receive()?, failed: None };
                let read = slots.store().read_slot(slots.group(), checkpoint.slot, &mut copy);
                if let Some(error) = copy.failed {
                    return Err(error);
                }
                debug_assert_eq!(read.as_ref().ok().map(|header| header.sequence), Some(checkpoint.header.sequence));
                copy.incoming.finish(&read?)?.commit()
            }
        }
    }
}

/// Copies a slot of one store into the spare slot of another.
struct Copy {
    incoming: Incoming,
    failed: Option<CheckpointError>,
}

impl RecordSink for Copy {
    fn record(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), SlotError> {
        self.incoming.record(kind, id, value).map_err(|error| {
            let text = error.to_string();
            self.failed = Some(error);
            SlotError::Sink(text)
        })
    }

    fn digest(&mut self) -> u64 {
        self.incoming.digest()
    }
}
