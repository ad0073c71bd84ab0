//! Calls that wait for a lease: kept alive while they wait, woken when the wait is over.
//!
//! An attachment registers first, then looks at the state, then sleeps. Apply changes the state first, then wakes. So one
//! of them sees the other, whatever the order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use ratequeue_limiter::{Event, EventKind, LeaseId};
use tokio::sync::Notify;

use crate::caps;
use crate::group::Group;

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The lease does not wait (any more): it was granted, it ended, or there is no such lease. The state tells which.
    NoLongerWaiting,
    /// The group is being stopped. The lease may still wait: attach at another node.
    ShuttingDown,
}

/// The calls that are attached on this node.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    /// As many as calls wait on this node, which the server bounds.
    waiting: Mutex<HashMap<LeaseId, Vec<Arc<Notify>>>>,
    /// Number of leases in `waiting`, so that apply need not lock when there are none.
    leases: AtomicUsize,
    /// Leases whose last call has gone since the last keepalive. They get one more, so that a place is kept for the whole of
    /// its time after the caller was there last. As many as calls come and go between two keepalives; the oldest are let go.
    departed: Mutex<VecDeque<LeaseId>>,
    /// A lease came, or departed.
    some: Notify,
    stopping: AtomicBool,
}

impl Attachments {
    fn add(&self, lease: LeaseId) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock();
        waiting.entry(lease).or_default().push(Arc::clone(&notify));
        let leases = waiting.len();
        self.leases.store(leases, Ordering::SeqCst);
        if leases == 1 {
            self.some.notify_one();
        }
        notify
    }

    fn remove(&self, lease: LeaseId, notify: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        if let Some(calls) = waiting.get_mut(&lease) {
            calls.retain(|call| !Arc::ptr_eq(call, notify));
            if calls.is_empty() {
                waiting.remove(&lease);
                let mut departed = self.departed.lock();
                if departed.len() >= caps::DEPARTED_MAX {
                    departed.pop_front();
                }
                departed.push_back(lease);
            }
        }
        self.leases.store(waiting.len(), Ordering::SeqCst);
    }

    /// Wakes the calls of every lease that these events took out of its line. To be called after the state changed.
    pub fn wake(&self, events: &[Event]) {
        if events.is_empty() || self.leases.load(Ordering::SeqCst) == 0 {
            return;
        }
        let waiting = self.waiting.lock();
        for event in events {
            let (EventKind::Granted { lease, .. } | EventKind::Ended { lease, .. }) = &event.kind else { continue };
            for call in waiting.get(lease).into_iter().flatten() {
                call.notify_one();
            }
        }
    }

    /// Wakes all calls, to look around again.
    pub fn wake_all(&self) {
        self.waiting.lock().values().flatten().for_each(|call| call.notify_one());
    }

    /// Ends all waits, now and later.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    /// The leases for which a call waits here, or waited since this was asked last, in order.
    pub fn take_alive(&self) -> Vec<LeaseId> {
        let mut leases: Vec<LeaseId> = self.waiting.lock().keys().copied().collect();
        leases.extend(self.departed.lock().drain(..));
        leases.sort_unstable();
        leases.dedup();
        leases
    }

    /// Returns when there is a lease, or was.
    pub async fn any(&self) {
        while self.leases.load(Ordering::SeqCst) == 0 && self.departed.lock().is_empty() {
            self.some.notified().await;
        }
    }
}

/// One call that waits for a lease. While it exists the lease is kept alive, on this node's word or through the leader: it is
/// not cancelled for want of interest. Dropping it ends that.
#[derive(Debug)]
pub struct Attachment {
    group: Group,
    lease: LeaseId,
    /// A log entry after which the lease was in line.
    index: u64,
    notify: Arc<Notify>,
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

    /// Returns when the lease no longer waits, as far as this node has applied, or the group is being stopped. Whoever leads
    /// meanwhile does not matter: the line is the same everywhere.
    /// May be dropped and called again.
    pub async fn ended_waiting(&mut self) -> Woken {
        let replica = self.group.replica();
        let is_stopping = || replica.attachments.stopping.load(Ordering::SeqCst);
        // Before it has the entry, this node does not know the line. However long it lags, the call is not given up.
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
