//! The transitions of a lease: every change of its stage, and no other code makes one.
//!
//! ```text
//!            admit                     grant
//!  (none) ----------> waiting -----------------------------> held
//!                    |  ^  |                                |  ^  |
//!          enqueue,  +--+  | end: cancelled, timed out,     +--+  | end: released, expired,
//!          keep_alive      |      rejected                prolong |      lapsed
//!                          |                                      |
//!                          +-------------> ended <----------------+
//!                                            |
//!                                            +---- forget ----> (none)
//! ```
//! Each transition keeps all that is derived in step with the record: the queue, the set of held
//! leases and the timers of its resource, the index of requests, the list of what is to be
//! forgotten. The caller reschedules the resource. A held lease of a deleted resource is forgotten
//! without an end (`forget_held`).
//!
//! What must hold before and after is asserted. What cannot be is a [`Defect`].

use crate::caps;
use crate::collections::index;
use crate::model::command::Acquire;
use crate::model::event::{EventKind, Rejection};
use crate::model::lease_id::LeaseId;
use crate::model::name::LimitName;
use crate::model::numbers::TtlMs;
use crate::model::outcome::{LeaseState, Refusal};
use crate::model::time::LogTime;
use crate::state::defect::Defect;
use crate::state::indexes::Remembered;
use crate::state::lease::{Caller, Ended, Holding, LeaseRecord, LeaseStage, Presence};
use crate::state::records::{EditLease, RecordKey};
use crate::state::{Entry, State};

/// How a lease ends, with what the answer to its end needs.
#[derive(Debug)]
pub(crate) struct Ending {
    pub state: LeaseState,
    pub refusal: Option<Refusal>,
    pub refunded: Vec<(LimitName, u64)>,
    pub debited: Vec<(LimitName, u64)>,
}

impl Ending {
    /// An end that is told by its state alone.
    pub fn of(state: LeaseState) -> Self {
        Self { state, refusal: None, refunded: Vec::new(), debited: Vec::new() }
    }

    /// An end that the server makes, and why.
    pub fn refused(state: LeaseState, refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), ..Self::of(state) }
    }
}

impl State {
    /// Makes the lease that an acquire asks for. It is to be granted or put into the queue next.
    pub(crate) fn admit(
        &mut self,
        entry: &Entry,
        id: u64,
        acquire: Acquire,
        body: u64,
        call: u64,
    ) -> Result<u64, Defect> {
        debug_assert!(self.find_request(&acquire.request).is_none(), "a request has one lease");
        let resource = self.records.resource(id)?;
        debug_assert!(!resource.deleted, "nothing is admitted to a deleted resource");

        let ttl_ms = acquire
            .ttl_ms
            .map_or(resource.lease.default_ttl_ms, TtlMs::get)
            .min(resource.lease.max_ttl_ms);
        let wait_ms = acquire.wait_ms.get().min(resource.queue.max_wait_ms);
        let resource_name = resource.name.clone();
        let meta = self.records.changes.edit(RecordKey::Meta, &mut self.records.meta);
        meta.leases_made += 1;
        let seq = meta.leases_made;

        let lease = LeaseRecord {
            tag: tag(index::hash(acquire.request.as_str()), seq),
            resource: id,
            resource_name,
            request: acquire.request,
            body,
            load: acquire.load,
            priority: acquire.priority.get(),
            ttl_ms,
            metadata: acquire.metadata,
            arrived: entry.now,
            stage: LeaseStage::Waiting {
                until: entry.now.after_ms(wait_ms),
                alive_until: entry.now.after_us(caps::KEEPALIVE_US),
            },
            caller: Caller::of_call(call),
        };
        let request_hash = self.indexes.requests.hash(lease.request.as_str());
        self.indexes.requests.insert(request_hash, Remembered::Lease(seq).number());
        let replaced = self
            .records
            .leases
            .insert(seq, self.records.changes.create(RecordKey::Lease(seq), lease));
        debug_assert!(replaced.is_none(), "the number of a lease is never used twice");
        Ok(seq)
    }

    /// Puts a new lease at the end of its priority in the queue.
    pub(crate) fn enqueue(&mut self, entry: &mut Entry, seq: u64) -> Result<(), Defect> {
        let EditLease { lease, resource, .. } = self.records.lease_mut(seq)?;
        debug_assert!(lease.is_waiting(), "only a waiting lease joins the queue");
        debug_assert!(!resource.live.queue.keeps(lease.priority, seq), "it joins the queue once");

        let load = lease.load.total();
        resource.live.queue.push(lease.priority, seq, load);
        resource.live.timers.extend(lease.timer().map(|at| (at, seq)));
        let (lease, priority) = (LeaseId { seq, tag: lease.tag }, lease.priority);
        entry.emit(resource, EventKind::Queued { lease, load, priority });
        Ok(())
    }

    /// Notes that somebody still asks for a lease, or did until now, if it waits.
    pub(crate) fn keep_alive(&mut self, now: LogTime, seq: u64) -> Result<(), Defect> {
        let lease = self.records.lease(seq)?;
        let LeaseStage::Waiting { alive_until, .. } = &lease.stage else { return Ok(()) };
        let next = now.after_us(caps::KEEPALIVE_US);
        // What is overdue, and only left over because there was too much of it, is not revived.
        if next == *alive_until || lease.is_overdue(now) {
            return Ok(());
        }

        debug_assert!(next > *alive_until, "a sign of life takes no time away");
        self.edit_live(seq, |lease| {
            if let LeaseStage::Waiting { alive_until, .. } = &mut lease.stage {
                *alive_until = next;
            }
        })
    }

    /// Charges a new or waiting lease to all limits and makes it held. They must all fit.
    pub(crate) fn grant(&mut self, entry: &mut Entry, seq: u64) -> Result<(), Defect> {
        let level = self.level();
        let EditLease { lease: tracked, resource, meta, changes } = self.records.lease_mut(seq)?;
        if !tracked.is_waiting() {
            return Err(Defect::new("a lease is granted that does not wait"));
        }
        debug_assert!(!resource.deleted, "a deleted resource grants nothing");
        debug_assert!(
            resource.fits(&tracked.load, entry.now, level),
            "a lease is granted that does not fit"
        );

        let meta = changes.edit(RecordKey::Meta, meta);
        meta.fencing_token += 1;
        let fencing_token = meta.fencing_token;
        let timer = tracked.timer();
        let id = tracked.resource;
        let lease = changes.edit(RecordKey::Lease(seq), tracked);
        let record = changes.edit(RecordKey::Resource(id), &mut resource.record);
        let limits = record.limits.iter_mut();
        let charges =
            limits.map(|limit| limit.charge(limit.cost(&lease.load), entry.now)).collect();
        let deadline = entry.now.after_ms(lease.ttl_ms);
        lease.stage = LeaseStage::Held(Holding {
            fencing_token,
            granted: entry.now,
            deadline,
            log_index: entry.index,
            charges,
        });
        if lease.caller.presence != Presence::Attached {
            let claim_until = Some(entry.now.after_ms(record.queue.claim_ms));
            lease.caller = Caller { presence: Presence::Attached, claim_until, ..lease.caller };
        }

        resource.live.queue.remove(lease.priority, seq);
        let is_new = resource.live.held.insert(seq);
        debug_assert!(is_new, "a lease is granted once");
        timer.map(|at| resource.live.timers.remove(&(at, seq)));
        resource.live.timers.extend(lease.timer().map(|at| (at, seq)));
        debug_assert!(!lease.is_overdue(entry.now), "a lease is not over when it is granted");

        let granted = EventKind::Granted {
            lease: LeaseId { seq, tag: lease.tag },
            load: lease.load.total(),
            priority: lease.priority,
            fencing_token,
            waited_us: entry.now.since_us(lease.arrived),
        };
        entry.emit(resource, granted);
        Ok(())
    }

    /// Gives a held lease another deadline.
    pub(crate) fn prolong(
        &mut self,
        now: LogTime,
        seq: u64,
        deadline: LogTime,
    ) -> Result<(), Defect> {
        debug_assert!(deadline >= now, "a deadline lies ahead");
        if !self.records.lease(seq)?.is_held() {
            return Err(Defect::new("a lease is prolonged that is not held"));
        }
        self.edit_live(seq, |lease| {
            if let LeaseStage::Held(holding) = &mut lease.stage {
                holding.deadline = deadline;
            }
        })
    }

    /// Changes a live lease within its stage, and gives its timer its place.
    pub(crate) fn edit_live(
        &mut self,
        seq: u64,
        change: impl FnOnce(&mut LeaseRecord),
    ) -> Result<(), Defect> {
        let EditLease { lease, resource, changes, .. } = self.records.lease_mut(seq)?;
        debug_assert!(!lease.is_ended(), "an ended lease stays as it is");
        let before = lease.timer();
        change(changes.edit(RecordKey::Lease(seq), lease));

        let after = lease.timer();
        debug_assert!(after.is_some(), "a live lease has a timer");
        if before != after {
            before.map(|at| resource.live.timers.remove(&(at, seq)));
            resource.live.timers.extend(after.map(|at| (at, seq)));
        }
        Ok(())
    }

    /// Ends a waiting or held lease: takes it out of the queue, or frees its concurrency. The
    /// caller grants the queue.
    pub(crate) fn end(
        &mut self,
        entry: &mut Entry,
        seq: u64,
        ending: Ending,
    ) -> Result<(), Defect> {
        let state = ending.state;
        debug_assert!(
            !matches!(state, LeaseState::Waiting | LeaseState::Held),
            "{state:?} is no end"
        );
        let EditLease { lease, resource, changes, .. } = self.records.lease_mut(seq)?;
        let timer = lease.timer();
        let fencing_token = match &lease.stage {
            LeaseStage::Waiting { .. } => {
                let was_there = resource.live.queue.remove(lease.priority, seq);
                debug_assert!(was_there, "a waiting lease is in the queue");
                None
            }
            LeaseStage::Held(holding) => {
                let was_there = resource.live.held.remove(&seq);
                debug_assert!(was_there, "a held lease is listed");
                let record =
                    changes.edit(RecordKey::Resource(lease.resource), &mut resource.record);
                record.limits.iter_mut().for_each(|limit| limit.free(&lease.load));
                Some(holding.fencing_token)
            }
            LeaseStage::Ended(_) => return Err(Defect::new("a lease ends twice")),
        };
        timer.map(|at| resource.live.timers.remove(&(at, seq)));
        resource.live.tidy();

        let rejection = ending.refusal.as_ref().and_then(Rejection::of);
        let lease = changes.edit(RecordKey::Lease(seq), lease);
        lease.stage = LeaseStage::Ended(Box::new(Ended {
            state,
            at: entry.now,
            log_index: entry.index,
            refusal: ending.refusal,
            fencing_token,
            refunded: ending.refunded,
            debited: ending.debited,
        }));
        lease.caller = Caller::default();
        debug_assert!(lease.timer().is_none(), "time does nothing to an ended lease");
        self.indexes.remembered_bytes += lease.remembered_bytes();
        self.indexes.ended.push(entry.now, seq);

        let ended = EventKind::Ended {
            lease: LeaseId { seq, tag: lease.tag },
            load: lease.load.total(),
            priority: lease.priority,
            state,
            rejection,
        };
        entry.emit(resource, ended);
        Ok(())
    }

    /// Forgets an ended lease; the caller has taken it off the list of those. Its request may be
    /// used again.
    pub(crate) fn forget(&mut self, seq: u64) -> Result<(), Defect> {
        let lease = self.records.lease(seq)?;
        debug_assert!(lease.is_ended(), "only what has ended is forgotten");
        self.indexes.remembered_bytes =
            self.indexes.remembered_bytes.saturating_sub(lease.remembered_bytes());
        self.remove_lease(seq);
        Ok(())
    }

    /// Forgets a held lease of a deleted resource.
    pub(crate) fn forget_held(&mut self, seq: u64) -> Result<(), Defect> {
        let EditLease { lease, resource, .. } = self.records.lease_mut(seq)?;
        debug_assert!(
            resource.deleted && lease.is_held(),
            "the holders of a resource that is there are not forgotten"
        );
        resource.live.held.remove(&seq);
        lease.timer().map(|at| resource.live.timers.remove(&(at, seq)));
        resource.live.tidy();
        self.remove_lease(seq);
        Ok(())
    }

    fn remove_lease(&mut self, seq: u64) {
        if let Some(lease) = self.records.leases.remove(seq) {
            let request_hash = self.indexes.requests.hash(lease.request.as_str());
            self.indexes.requests.remove(request_hash, Remembered::Lease(seq).number());
            self.records.changes.remove(RecordKey::Lease(seq), lease);
        }
    }
}

/// A tag that cannot be told from the number alone; the request id is its caller's.
fn tag(request_hash: u64, seq: u64) -> u32 {
    let mixed = request_hash ^ seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 32).unwrap_or(0)
}
