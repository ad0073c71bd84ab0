//! What can go wrong, by who has to do something about it.

use std::collections::BTreeSet;

use ratequeue_storage::{GroupName, LogError};
use serde::{Deserialize, Serialize};

use crate::caps;
use crate::node::NodeId;

/// Why a group could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is on the disk is damaged, or in use by another process: starting again cannot help
    /// (exit code 78).
    #[error("group {group}: {detail}")]
    Damaged {
        /// The group.
        group: String,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// The system refused something; starting again may help.
    #[error("group {group}: {detail}")]
    Io {
        /// The group.
        group: String,
        /// What it said.
        detail: String,
    },
    /// The group follows rules that this version does not know: a newer version does (exit code
    /// 78).
    #[error("group {group}: {detail}")]
    Outdated {
        /// The group.
        group: String,
        /// Which level it is at, and which this version knows.
        detail: String,
    },
    /// The options make no sense.
    #[error("group {group}: {detail}")]
    Invalid {
        /// The group.
        group: String,
        /// Which, and why.
        detail: String,
    },
}

impl OpenError {
    /// Whether starting again cannot help.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Outdated { .. })
    }

    pub(crate) fn of_damage(group: &GroupName, error: &impl std::error::Error) -> Self {
        Self::Damaged { group: group.to_string(), detail: error.to_string() }
    }

    pub(crate) fn of_log(group: &str, error: &LogError) -> Self {
        let (group, detail) = (group.to_owned(), error.to_string());
        if error.needs_operator() {
            Self::Damaged { group, detail }
        } else {
            Self::Io { group, detail }
        }
    }
}

/// What of a membership does not fit into an entry of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// There are too many members.
    #[error("a group has at most {} members", caps::MEMBERS_MAX)]
    Members,
    /// An address is too long.
    #[error("an address has at most {} bytes", caps::ADDRESS_BYTES_MAX)]
    Address,
}

/// Why a group was not formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// It was formed before, of other voters.
    #[error("the group is formed already, of the voters {voters:?}")]
    AlreadyFormed {
        /// Its voters.
        voters: BTreeSet<NodeId>,
    },
    /// This node is not among the voters, or there are none.
    #[error("this node is not among the voters")]
    NotAVoter,
    /// There are more voters than a group has members, or an address is too long.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The group has stopped.
    #[error("the group has stopped")]
    Stopped,
}

/// Why a command has no outcome. Each says whether anything may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SubmitError {
    /// Nothing happened: this node leads, but a majority of the voters does not answer.
    #[error("no majority of the group's voters answers")]
    NoQuorum,
    /// Nothing happened: another node leads, or none that this one knows.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who leads, if known. Never this node.
        leader: Option<NodeId>,
    },
    /// It may have happened or may yet happen. Only asking again with the same request id tells.
    #[error("the outcome is unknown")]
    UnknownOutcome,
    /// Nothing happened: the group is being stopped, or has failed.
    #[error("the group is being stopped")]
    ShuttingDown,
    /// Nothing happened: as many commands wait as may wait.
    #[error("too many commands wait")]
    Overloaded,
    /// Nothing happened: the disk is nearly full. Releases are still taken.
    #[error("the disk is nearly full")]
    StorageFull,
    /// Nothing happened: a member of the group runs a version that could not read it.
    #[error("a member of the group runs a version that does not know this yet")]
    FeatureNotEnabled {
        /// The member, if it is known which.
        behind: Option<NodeId>,
    },
}
