//! The calls that wait for a lease on this node: who is woken, and whose place is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use ratequeue_limiter::{Event, EventKind, LeaseId};
use tokio::sync::Notify;

use crate::caps;

/// The calls that are attached on this node.
#[derive(Debug, Default)]
pub(crate) struct Attachments {
    /// As many as calls wait on this node, which the server bounds.
    waiting: Mutex<HashMap<LeaseId, Vec<Arc<Notify>>>>,
    /// Number of leases in `waiting`, so that apply need not lock when there are none.
    leases: AtomicUsize,
    /// Leases whose last call has gone since the last keepalive. They get one more, so that a
    /// place is kept for the whole of its time after the caller was there last. As many as
    /// calls come and go between two keepalives; the oldest are let go.
    departed: Mutex<VecDeque<LeaseId>>,
    /// A lease came, or departed.
    some: Notify,
    stopping: AtomicBool,
}

impl Attachments {
    /// Notes a call, which is woken through what this returns.
    pub fn add(&self, lease: LeaseId) -> Arc<Notify> {
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

    /// The call has gone.
    pub fn remove(&self, lease: LeaseId, notify: &Arc<Notify>) {
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

    /// Wakes the calls of every lease that these events took out of its line. To be called after
    /// the state changed.
    pub fn wake(&self, events: &[Event]) {
        if events.is_empty() || self.leases.load(Ordering::SeqCst) == 0 {
            return;
        }
        let waiting = self.waiting.lock();
        for event in events {
            let (EventKind::Granted { lease, .. } | EventKind::Ended { lease, .. }) = &event.kind
            else {
                continue;
            };
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

    /// Whether all waits end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
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
