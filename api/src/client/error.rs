//! Why a call of the client failed.

use crate::error::{ErrorCode, Problem};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with an error.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No node answered in time.
    #[error("no node answered: {0}. Is one running at {1}?")]
    Unreachable(String, String),
    /// A node answered something that is not RateQueue's.
    #[error("{0} does not answer like a RateQueue node: {1}")]
    Foreign(String, String),
    /// The time to wait is over, and the lease was not granted.
    #[error("the wait ran out: {0}")]
    WaitOver(String),
    /// The client was set up wrongly.
    #[error("{0}")]
    Configuration(String),
}

impl ClientError {
    /// The server's error code, if it was the server's error.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Problem(problem) => Some(problem.code),
            Self::Unreachable(..) | Self::Foreign(..) | Self::WaitOver(_) | Self::Configuration(_) => None,
        }
    }

    /// True when the server says that a lease is neither held nor in line.
    pub(super) fn is_end_of_lease(&self) -> bool {
        use ErrorCode::{LeaseEnded, LeaseExpired, LeaseNotFound, LeaseNotHeld, ResourceDeleted};
        matches!(self.code(), Some(LeaseEnded | LeaseExpired | LeaseNotFound | LeaseNotHeld | ResourceDeleted))
    }

    /// True when the server says that the key of an acquire has no lease, or one that is over.
    pub(super) fn is_end_of_acquire(&self) -> bool {
        use ErrorCode::{LimitExceeded, LoadExceedsCapacity, QueueFull, ResourceNotFound, WaitTimeout};
        self.is_end_of_lease()
            || matches!(
                self.code(),
                Some(WaitTimeout | LimitExceeded | QueueFull | ResourceNotFound | LoadExceedsCapacity)
            )
    }
}
