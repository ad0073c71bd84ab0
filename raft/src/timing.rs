//! How fast a dead leader is noticed, by how far apart the nodes of a group are.

use std::time::Duration;

use crate::caps;

/// How fast a dead leader is noticed. The same on all nodes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The longest round trip between two of its nodes, about.
    pub round_trip: Duration,
    /// How often a leader says that it is there.
    pub heartbeat: Duration,
    /// A follower that hears nothing for a random time between this ...
    pub election_min: Duration,
    /// ... and this asks for votes. Also how long a leader may decide without hearing from a
    /// majority.
    pub election_max: Duration,
}

impl Default for Timing {
    /// 50 ms, 150 to 300 ms: for one region.
    fn default() -> Self {
        Self {
            round_trip: Duration::ZERO,
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
        }
    }
}

impl Timing {
    /// For a group whose nodes are this round trip apart: a heartbeat and its answer fit well into
    /// the time after which the next one is due, three may be lost before anybody asks for
    /// votes, and two candidates are mostly farther apart than votes take.
    #[must_use]
    pub fn for_round_trip(round_trip: Duration) -> Self {
        let near = Self::default();
        let margin = round_trip * 3 / 2;
        let heartbeat = near.heartbeat + margin;
        let election_min = heartbeat * 3;
        let election_max = election_min + (near.election_max - near.election_min) + margin;
        Self { round_trip, heartbeat, election_min, election_max }
    }

    /// Entries that are proposed and not yet applied. An entry takes a round trip: the farther the
    /// nodes, the more of them must be under way for the next caller not to wait for the last.
    pub(crate) fn entries_in_flight(&self) -> usize {
        let more = self.round_trip.as_millis() / caps::ENTRY_INTERVAL.as_millis();
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        caps::ENTRIES_IN_FLIGHT.saturating_add(more).min(caps::ENTRIES_IN_FLIGHT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timing_of_no_distance_is_that_of_one_region() {
        assert_eq!(Timing::for_round_trip(Duration::ZERO), Timing::default());
        let far = Timing::for_round_trip(Duration::from_millis(80));
        assert_eq!(far.heartbeat, Duration::from_millis(170));
        assert_eq!(
            (far.election_min, far.election_max),
            (Duration::from_millis(510), Duration::from_millis(780))
        );
    }
}
