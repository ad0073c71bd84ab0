//! File descriptors: how many the process may have, and how many of them are for connections.
//!
//! ```text
//!  limit  =  files of the node  +  links to other nodes  +  surplus for health  +  connections
//!            FILES                 LINKS_PER_NODE each       SURPLUS               the rest, up to CONNECTIONS_MAX
//! ```
//! Connections are what callers decide about. They get what is left, so that the log always finds a
//! descriptor for its next file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Connections of callers that are open at once.
const CONNECTIONS_MAX: u64 = 20_000;
/// Fewer connections are not worth a node.
const CONNECTIONS_MIN: u64 = 16;
/// Connections beyond the bound, which are answered and closed: health, and that there are too
/// many. One more is being accepted.
pub const SURPLUS: u32 = 16;
/// What a node needs for itself: the files of two logs and of the checkpoints, and what the runtime
/// takes.
const FILES: u64 = 80;
/// Connections with each other node: five lanes in each direction.
const LINKS_PER_NODE: u64 = 10;
/// Connections to the peer address that have not said yet who they are.
const LINKS_UNKNOWN: u64 = 64;

/// The process may open too few files for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may open {limit} files, and a node needs {needed}: raise the limit (`ulimit -n`, or LimitNOFILE of its unit), best to 65536"
)]
pub struct TooFewFiles {
    limit: u64,
    needed: u64,
}

/// How the descriptors of the process are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// What the system allows; `None` when it does not limit them.
    pub limit: Option<u64>,
    /// Connections of callers that may be open at once.
    pub connections: u32,
}

impl Descriptors {
    /// Raises the limit of the process as far as it may, and shares it out for a node that has so
    /// many others.
    ///
    /// # Errors
    /// When the limit is too low for one.
    pub fn acquire(others: usize) -> Result<Self, TooFewFiles> {
        Self::share(raise(), others)
    }

    fn share(limit: Option<u64>, others: usize) -> Result<Self, TooFewFiles> {
        let others = u64::try_from(others).unwrap_or(u64::MAX);
        let links = if others == 0 {
            0
        } else {
            others.saturating_mul(LINKS_PER_NODE).saturating_add(LINKS_UNKNOWN)
        };

        let reserve =
            links.saturating_add(FILES).saturating_add(u64::from(SURPLUS)).saturating_add(1);
        let left = limit.unwrap_or(u64::MAX).saturating_sub(reserve);
        let connections = left.min(CONNECTIONS_MAX);

        if connections < CONNECTIONS_MIN {
            let needed = reserve.saturating_add(CONNECTIONS_MIN);
            return Err(TooFewFiles { limit: limit.unwrap_or_default(), needed });
        }

        // It is at most CONNECTIONS_MAX.
        Ok(Self { limit, connections: u32::try_from(connections).unwrap_or(u32::MAX) })
    }
}

/// Raises the soft limit to the hard one; gives the limit that counts now.
fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, limit = limit.current, "the limit of open files could not be raised");
            limit.current
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn connections_get_what_is_left() {
        let connections = |limit, others| Descriptors::share(limit, others).unwrap().connections;
        assert_eq!(connections(None, 0), 20_000);
        assert_eq!(connections(Some(65_536), 63), 20_000);
        assert_eq!(connections(Some(1_024), 0), 1_024 - 97);
        assert_eq!(connections(Some(1_024), 8), 1_024 - 97 - 144);
        assert_eq!(connections(Some(256), 0), 159);
    }

    #[test]
    fn too_low_a_limit_says_what_is_needed() {
        assert_eq!(Descriptors::share(Some(113), 0).unwrap().connections, 16);
        let text = Descriptors::share(Some(112), 0).unwrap_err().to_string();
        assert!(
            text.contains("112 files") && text.contains("needs 113") && text.contains("ulimit -n"),
            "{text}"
        );
    }
}
