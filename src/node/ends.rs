//! Why a node does not start, and why it cannot go on.

use ratequeue_raft::{Group, Health, LinkError};
use ratequeue_storage::StateError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] ratequeue_storage::OpenError),
    /// The checkpoints cannot be opened.
    #[error(transparent)]
    State(#[from] StateError),
    /// The group cannot be opened.
    #[error(transparent)]
    Group(#[from] ratequeue_raft::OpenError),
    /// The group cannot be formed.
    #[error(transparent)]
    Form(#[from] ratequeue_raft::FormError),
    /// The other nodes cannot be listened for.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// What the node founds its cluster with was written by another version.
    #[error(
        "founding.json cannot be read ({0}): start the version that wrote it, or give the node an empty data folder"
    )]
    Founding(serde_json::Error),
    /// The region has no name that a group can have.
    #[error(transparent)]
    Name(#[from] ratequeue_storage::InvalidGroupName),
}

impl StartError {
    /// True when the data folder is foreign, locked or damaged: starting again does not help.
    pub fn is_about_data(&self) -> bool {
        match self {
            Self::Data(error) => error.needs_operator(),
            Self::Group(error) => error.is_damaged(),
            Self::Founding(_) => true,
            Self::State(_) | Self::Form(_) | Self::Link(_) | Self::Name(_) => false,
        }
    }
}

/// What went wrong while a group was stopped.
#[derive(Debug, thiserror::Error)]
#[error("group {group}: {error}")]
pub struct ShutdownError {
    /// The group.
    pub group: String,
    /// What happened.
    #[source]
    pub error: ratequeue_raft::ShutdownError,
}

/// Why a node cannot go on.
#[derive(Debug)]
pub struct Ended {
    /// What has happened, and what to do.
    pub why: String,
    /// Only a newer version can.
    pub is_outdated: bool,
}

impl Ended {
    /// Resolves when a group has failed.
    pub(super) async fn of(group: &Group) -> Self {
        let mut health = group.health();
        loop {
            let ended = health.borrow_and_update().clone();
            if let Some(why) = ended.failure() {
                let is_outdated = matches!(ended, Health::Outdated(_));
                return Self { why: format!("group {}: {why}", group.name()), is_outdated };
            }
            if health.changed().await.is_err() {
                return Self {
                    why: format!("group {} has ended", group.name()),
                    is_outdated: false,
                };
            }
        }
    }
}
