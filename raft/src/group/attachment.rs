//! [`Attachment`]: a call that waits for a lease, kept alive while it waits and woken when the wait is over.
//!
//! An attachment registers first, then looks at the state, then sleeps. Apply changes the state
//! first, then wakes. So one of them sees the other, whatever the order.

use std::sync::Arc;

use ratequeue_limiter::LeaseId;
use tokio::sync::Notify;

use crate::caps;
use crate::group::handle::Group;

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The lease does not wait (any more): it was granted, it ended, or there is no such lease. The
    /// state tells which.
    NoLongerWaiting,
    /// The group is being stopped. The lease may still wait: attach at another node.
    ShuttingDown,
}

/// One call that waits for a lease. While it exists the lease is kept alive, on this node's word or
/// through the leader: it is not cancelled for want of interest. Dropping it ends that.
#[derive(Debug)]
pub struct Attachment {
    group: Group,
    lease: LeaseId,
    /// A log entry after which the lease was in the queue.
    index: u64,
    notify: Arc<Notify>,
}

impl Group {
    /// Attaches a call that waits for a lease: as long as it exists the lease is kept alive,
    /// through whoever leads. `index` is a log entry after which the lease was in the queue;
    /// this node may still have to apply it.
    #[must_use]
    pub fn attach(&self, lease: LeaseId, index: u64) -> Attachment {
        Attachment::new(self.clone(), lease, index)
    }
}

impl Attachment {
    pub(crate) fn new(group: Group, lease: LeaseId, index: u64) -> Self {
        let notify = group.replica().attachments.add(lease);
        Self { group, lease, index, notify }
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Returns when the lease no longer waits, as far as this node has applied, or the group is
    /// being stopped. Whoever leads meanwhile does not matter: the queue is the same
    /// everywhere. May be dropped and called again.
    pub async fn ended_waiting(&mut self) -> Woken {
        let replica = self.group.replica();
        let is_stopping = || replica.attachments.is_stopping();

        // Before it has the entry, this node does not know the queue. However long it lags, the
        // call is not given up.
        while self.group.wait_applied(self.index).await.is_err() {
            if is_stopping() {
                return Woken::ShuttingDown;
            }
            tokio::time::sleep(caps::RETRY_PAUSE).await;
        }

        loop {
            if !replica.is_waiting(self.lease) {
                return Woken::NoLongerWaiting;
            }
            if is_stopping() {
                return Woken::ShuttingDown;
            }
            self.notify.notified().await;
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.group.replica().attachments.remove(self.lease, &self.notify);
    }
}
