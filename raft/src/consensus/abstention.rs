//! A voter that has just started abstains.
//!
//! A leader reads without asking while a majority has acknowledged it within an election timeout:
//! whoever has acknowledged it elects nobody else for so long. A process that was killed and
//! started again has forgotten that it has. So it neither gives votes nor asks for them before an
//! election timeout has passed, and by then it has heard from the leader, if there is one.
//! (openraft names this in `storage/helper.rs` and leaves it to its users; Raft dissertation,
//! chapters 4.2.3 and 6.4.1.)
//!
//! What a leader has agreed to, by handing leadership over, is answered at once.

use std::time::{Duration, Instant};

/// Until when this node abstains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abstention {
    until: Option<Instant>,
}

impl Abstention {
    /// Of a node that may have acknowledged a leader in an earlier life, which ended before now.
    pub fn for_a_voter(election_max: Duration) -> Self {
        Self { until: Some(Instant::now() + election_max) }
    }

    /// Of a node that has never voted.
    pub fn none() -> Self {
        Self { until: None }
    }

    /// How long it still lasts; `None` once it is over.
    pub fn left(&self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends() {
        assert_eq!(Abstention::none().left(), None);
        let abstention = Abstention::for_a_voter(Duration::from_millis(5));
        assert!(abstention.left().is_some_and(|left| left <= Duration::from_millis(5)));
        std::thread::sleep(Duration::from_millis(6));
        assert_eq!(abstention.left(), None);
    }
}
