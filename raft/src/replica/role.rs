//! Who leads, as far as this node knows, and whether it still says so.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::format::types::LeaderId;
use crate::node::NodeId;

/// Whether this node leads, and who else may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Role {
    /// The leadership of this node, while it leads.
    pub leading: Option<LeaderId>,
    /// The leader, this node or another.
    pub leader: Option<NodeId>,
}

/// The role of this node in its group, for everybody who acts on it.
#[derive(Debug)]
pub(crate) struct RoleWatch(watch::Sender<Role>);

impl Default for RoleWatch {
    fn default() -> Self {
        Self(watch::Sender::new(Role::default()))
    }
}

impl RoleWatch {
    pub fn get(&self) -> Role {
        *self.0.borrow()
    }

    pub fn leading(&self) -> bool {
        self.0.borrow().leading.is_some()
    }

    pub fn subscribe(&self) -> watch::Receiver<Role> {
        self.0.subscribe()
    }

    /// Sets it, and says what it was.
    pub fn set(&self, role: Role) -> Role {
        let mut before = role;
        self.0.send_if_modified(|current| {
            before = std::mem::replace(current, role);
            before != role
        });
        before
    }
}

/// When a leader elsewhere was last heard from. openraft goes on naming one that is out of reach
/// for as long as nobody else is elected.
#[derive(Debug)]
pub(crate) struct LeaderContact {
    since: Instant,
    /// Microseconds after `since`; 0 before the first time.
    at_us: AtomicU64,
    /// When a leader first said that it has no quorum; 0 when the last one that was asked had one.
    lost_us: AtomicU64,
}

impl Default for LeaderContact {
    fn default() -> Self {
        Self { since: Instant::now(), at_us: AtomicU64::new(0), lost_us: AtomicU64::new(0) }
    }
}

impl LeaderContact {
    /// The leader has just been heard from.
    pub fn record_contact(&self) {
        self.at_us.store(self.now_us(), Ordering::Relaxed);
    }

    /// A leader has just decided something, or has just said that it cannot for want of a quorum.
    pub fn record_quorum(&self, has_one: bool) {
        let (old, new) =
            if has_one { (self.lost_us.load(Ordering::Relaxed), 0) } else { (0, self.now_us()) };
        // Somebody else has noted the same meanwhile.
        let _ = self.lost_us.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Whether it was heard from that recently.
    pub fn within(&self, age: Duration) -> bool {
        self.at_us.load(Ordering::Relaxed) > 0 && self.silence() <= age
    }

    /// For how long it has not been heard from; since the start, before the first time.
    pub fn silence(&self) -> Duration {
        self.ago(self.at_us.load(Ordering::Relaxed))
    }

    /// For how long leaders have said that they have no quorum.
    pub fn without_quorum(&self) -> Duration {
        let lost_us = self.lost_us.load(Ordering::Relaxed);
        if lost_us == 0 { Duration::ZERO } else { self.ago(lost_us) }
    }

    fn ago(&self, us: u64) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_micros(us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_near_only_once_it_was_heard_and_not_for_long() {
        let contact = LeaderContact::default();
        assert!(!contact.within(Duration::MAX));
        contact.record_contact();
        assert!(contact.within(Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(2));
        assert!(!contact.within(Duration::from_millis(1)));

        assert_eq!(contact.without_quorum(), Duration::ZERO);
        contact.record_quorum(false);
        std::thread::sleep(Duration::from_millis(2));
        contact.record_quorum(false);
        assert!(contact.without_quorum() >= Duration::from_millis(2), "since it was first said");
        contact.record_quorum(true);
        assert_eq!(contact.without_quorum(), Duration::ZERO);
    }
}
