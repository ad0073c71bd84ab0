//! Why a checkpoint was not made, and what that means for the group.

use ratequeue_codec::CodecError;
use ratequeue_limiter::NotCut;
use ratequeue_storage::{SlotError, StateError};

use crate::health;

/// Why a checkpoint was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// The group is being dropped.
    #[error("stopped")]
    Stopped,
    /// The slots are being written by somebody else, or the spare one is being read.
    #[error("the slots are in use")]
    Busy,
    /// There is too little room for it.
    #[error("{free} bytes are free, it may need {needed}")]
    NoSpace { free: u64, needed: u64 },
    /// It is of a state whose rules this version does not know.
    #[error("{}", health::outdated(*.0))]
    Outdated(u32),
    #[error(transparent)]
    NotCut(#[from] NotCut),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl CheckpointError {
    /// Whether it can be tried again later. A slot that was begun is given up, and the next
    /// checkpoint is a full one.
    pub fn is_deferred(&self) -> bool {
        match self {
            Self::Busy | Self::NoSpace { .. } | Self::NotCut(_) => true,
            Self::State(error) => !error.is_final() && !matches!(error, StateError::Refused { .. }),
            Self::Stopped | Self::Outdated(_) | Self::Slot(_) | Self::Codec(_) => false,
        }
    }

    /// Whether the disk is too full for it.
    pub fn is_no_room(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::State(error) => error.is_storage_full() && !error.is_final(),
            Self::Stopped
            | Self::Busy
            | Self::Outdated(_)
            | Self::NotCut(_)
            | Self::Slot(_)
            | Self::Codec(_) => false,
        }
    }

    /// Whether nothing is wrong but that it is not the time for it.
    pub fn is_expected(&self) -> bool {
        matches!(
            self,
            Self::Busy | Self::State(StateError::Busy(_) | StateError::NoDescriptors { .. })
        ) || self.is_no_room()
    }
}
