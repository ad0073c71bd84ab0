//! Why a call of the client failed.

use crate::error::{ErrorCode, Problem};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A node refused the call, for good.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// No node decided the call in time.
    #[error("{0}")]
    Unavailable(Unavailable),
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

/// The end of a call that no node decided in time.
#[derive(Debug)]
pub struct Unavailable {
    /// True when no attempt can have had an effect. Once one may have had, this stays false,
    /// whatever later ones say.
    pub no_effect: bool,
    /// The code of the last answer, if a node gave one.
    code: Option<ErrorCode>,
    why: String,
    nodes: String,
}

impl Unavailable {
    pub(super) fn new(no_effect: bool, last: &ClientError, nodes: String) -> Self {
        let why = if let ClientError::Unavailable(last) = last {
            last.why.clone()
        } else {
            last.to_string()
        };
        Self { no_effect, code: last.code(), why, nodes }
    }

    /// What came of the last attempt.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// No answer came, for this reason.
    pub(super) fn silent(no_effect: bool, why: impl Into<String>, nodes: String) -> Self {
        Self { no_effect, code: None, why: why.into(), nodes }
    }
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let happened = if self.no_effect {
            "nothing happened"
        } else {
            "it is not known whether the call took effect"
        };
        let advice = if self.code.is_none() { "Is one running at" } else { "Asked:" };
        write!(
            f,
            "no node decided the call in time ({happened}): {}. {advice} {}",
            self.why, self.nodes
        )?;
        if self.code.is_none() { write!(f, "?") } else { Ok(()) }
    }
}

impl ClientError {
    /// The server's error code, if it was the server's error. Not one that says more than is known
    /// of the whole call: after an attempt that may have had an effect, none that says that
    /// nothing happened.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Problem(problem) => Some(problem.code),
            Self::Unavailable(unavailable) => {
                unavailable.code.filter(|code| unavailable.no_effect || !code.no_effect())
            }
            Self::Foreign(..) | Self::WaitOver(_) | Self::Configuration(_) => None,
        }
    }

    /// True when the server says that a lease is neither held nor in the queue.
    pub(super) fn is_end_of_lease(&self) -> bool {
        use ErrorCode::{LeaseEnded, LeaseExpired, LeaseNotFound, LeaseNotHeld, ResourceDeleted};
        matches!(
            self.code(),
            Some(LeaseEnded | LeaseExpired | LeaseNotFound | LeaseNotHeld | ResourceDeleted)
        )
    }

    /// True when the server says that the key of an acquire has no lease, or one that is over.
    pub(super) fn is_end_of_acquire(&self) -> bool {
        use ErrorCode::{
            LimitExceeded, LoadExceedsCapacity, QueueFull, ResourceNotFound, WaitTimeout,
        };
        self.is_end_of_lease()
            || matches!(
                self.code(),
                Some(
                    WaitTimeout
                        | LimitExceeded
                        | QueueFull
                        | ResourceNotFound
                        | LoadExceedsCapacity
                )
            )
    }
}
