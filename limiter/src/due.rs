//! What time causes: expiry, timeouts, and turns that come because a rate has refilled. Bounded work at a time.

use crate::acquire::blocked;
use crate::caps;
use crate::event::{Event, EventKind};
use crate::lease_id::LeaseId;
use crate::name::{LimitName, ResourceName};
use crate::outcome::{LeaseState, Refusal};
use crate::record::{Caller, Ended, Life, Presence, RecordKey};
use crate::state::{Entry, Remembered, State};
use crate::time::LogTime;

/// Why a lease ends, with what its answer to the end needs.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub refusal: Option<Refusal>,
    pub refunded: Vec<(LimitName, u64)>,
    pub debited: Vec<(LimitName, u64)>,
}

impl Entry {
    pub fn emit(&mut self, resource: &ResourceName, kind: EventKind) {
        self.events.push(Event { resource: resource.clone(), kind });
    }
}

impl State {
    /// Does what time has made due and what is left over, a bounded amount of it. Half of the entry's budget is for that; the
    /// commands have the rest.
    pub(crate) fn run_due(&mut self, entry: &mut Entry) {
        if !self.level().shares_work() {
            // What is left over is due since the beginning of time.
            self.run_timed(entry, caps::DUE_WORK_PER_ENTRY_MAX);
            return;
        }
        let share = entry.work_left / 2;
        // Neither waits for the other: what is left over may take as much time as it likes, at half the speed.
        let for_timed = if self.left_over.is_empty() { share } else { share / 2 };
        let timed = for_timed - self.run_timed(entry, for_timed);
        let left = self.finish_left_over(entry, share - timed);
        entry.work_left = entry.work_left - share + left;
    }

    /// Does what time has made due, in that order; returns what is left of the budget.
    fn run_timed(&mut self, entry: &mut Entry, mut budget: usize) -> usize {
        while let Some((at, id)) = self.due.first().copied() {
            if at > entry.now || budget == 0 {
                break;
            }
            // Every visit costs, so that a resource with nothing to do cannot be visited for ever.
            budget = self.settle(entry, id, budget).saturating_sub(1);
        }
        budget
    }

    /// Goes on with what is left over, in so many resources at a time, each with an equal part of the budget; returns what is
    /// left of it.
    fn finish_left_over(&mut self, entry: &mut Entry, mut budget: usize) -> usize {
        let parts = self.left_over.len().clamp(1, caps::LEFT_OVER_SHARED_MAX);
        let part = budget.div_ceil(parts);
        for _ in 0..parts {
            let mut next = self.left_over.first().copied();
            while let Some(id) = next.filter(|_| budget > 0) {
                let given = part.min(budget);
                budget = (budget - given + self.settle(entry, id, given)).saturating_sub(1);
                next = self.left_over.range(id + 1..).next().copied();
            }
        }
        budget
    }

    /// Does what is due in one resource, before a command in it is decided.
    pub(crate) fn settle_due(&mut self, entry: &mut Entry, id: u64) {
        if self.resources.get(id).is_some_and(|resource| resource.is_due(entry.now)) {
            self.settle_now(entry, id);
        }
    }

    /// Does what is due in one resource for the sake of a command, and grants its line what fits.
    pub(crate) fn settle_now(&mut self, entry: &mut Entry, id: u64) {
        if self.level().shares_work() {
            entry.work_left = self.settle(entry, id, entry.work_left);
        } else {
            self.settle(entry, id, caps::WORK_PER_COMMAND_MAX);
        }
    }

    /// Does what is due in one resource, and grants its line what fits; returns what is left of the budget.
    pub(crate) fn settle(&mut self, entry: &mut Entry, id: u64, budget: usize) -> usize {
        let Some(resource) = self.resources.get(id) else { return budget };
        if resource.deleted {
            return self.dissolve(entry, id, budget);
        }
        if resource.live.line.is_empty() && !resource.is_due(entry.now) {
            return budget;
        }
        let was_due = resource.is_due(entry.now);
        let mut left = self.expire(entry, id, budget);
        left = self.sweep(entry, id, left);
        left = self.grant_line(entry, id, left);
        if left != budget || was_due {
            self.reschedule(id);
        }
        left
    }

    fn expire(&mut self, entry: &mut Entry, id: u64, mut budget: usize) -> usize {
        while budget > 0 {
            let Some(resource) = self.resources.get(id) else { break };
            let Some((at, seq)) = resource.live.timers.first().copied() else { break };
            if at > entry.now {
                break;
            }
            budget -= 1;
            self.end_overdue(entry, seq);
        }
        budget
    }

    /// Ends a lease if its timer has run out, in the way that came first; true when it did.
    pub(crate) fn end_overdue(&mut self, entry: &mut Entry, seq: u64) -> bool {
        let Some(lease) = self.leases.get(seq).filter(|lease| lease.timer().is_some_and(|at| at <= entry.now)) else {
            return false;
        };
        let Some(resource) = self.resources.get(lease.resource) else { return false };
        match &lease.life {
            Life::Waiting { until, alive_until } if until <= alive_until => {
                let level = self.level();
                let mut blocked = blocked(resource, &lease.load, lease.priority, Some(seq), entry.now, level);
                if level.keeps_no_estimates() {
                    blocked.retry_after_ms = 0;
                }
                let refusal = Some(Refusal::WaitTimeout(blocked));
                self.end(entry, seq, LeaseState::TimedOut, Ending { refusal, ..Ending::default() });
            }
            Life::Waiting { .. } => self.end(entry, seq, LeaseState::Cancelled, Ending::default()),
            Life::Held(holding) if lease.caller.claim_until.is_some_and(|at| at < holding.deadline) => {
                self.lapse(entry, seq);
            }
            Life::Held(_) => self.end(entry, seq, LeaseState::Expired, Ending::default()),
            Life::Ended(_) => return false,
        }
        true
    }

    /// Goes on looking for waiting leases that a change of the limits has made impossible.
    fn sweep(&mut self, entry: &mut Entry, id: u64, mut budget: usize) -> usize {
        while budget > 0 {
            let Some(resource) = self.resources.get_mut(id) else { break };
            let Some((priority, seq)) = resource.sweep else { break };
            let next = resource.live.line.at_or_after(priority, seq);
            let cursor = next.map(|(priority, seq)| (priority, seq + 1));
            self.changes.edit(RecordKey::Resource(id), &mut resource.slot).sweep = cursor;
            budget -= 1;
            let Some((_, seq)) = next else { break };
            let Some(lease) = self.leases.get(seq) else { break };
            if let Some(refusal) = resource.impossible(&lease.load) {
                let ending = Ending { refusal: Some(refusal), ..Ending::default() };
                self.end(entry, seq, LeaseState::Rejected, ending);
            }
        }
        budget
    }

    /// Grants from the head of the line on, as long as the head fits.
    fn grant_line(&mut self, entry: &mut Entry, id: u64, mut budget: usize) -> usize {
        let level = self.level();
        while budget > 0 {
            let Some(resource) = self.resources.get(id) else { break };
            let Some(seq) = resource.live.line.head() else { break };
            let Some(lease) = self.leases.get(seq) else { break };
            if lease.caller.presence == Presence::Detached && resource.queue.claim_ms == 0 {
                self.pass_over(id, seq);
                budget -= 1;
                continue;
            }
            if resource.impossible(&lease.load).is_some() || !resource.fits(&lease.load, entry.now, level) {
                break;
            }
            self.grant(entry, id, seq);
            budget -= 1;
        }
        budget
    }

    /// Ends the waiting leases of a deleted resource and forgets its held ones; the last step forgets the resource.
    fn dissolve(&mut self, entry: &mut Entry, id: u64, mut budget: usize) -> usize {
        while budget > 0 {
            let Some(resource) = self.resources.get(id) else { return budget };
            if let Some(seq) = resource.live.line.any() {
                let refusal = Some(Refusal::ResourceDeleted);
                self.end(entry, seq, LeaseState::Rejected, Ending { refusal, ..Ending::default() });
            } else if let Some(seq) = resource.live.held.first().copied() {
                self.forget_held(id, seq);
            } else {
                self.remove_resource(id);
                return budget;
            }
            budget -= 1;
        }
        self.reschedule(id);
        budget
    }

    fn remove_resource(&mut self, id: u64) {
        if let Some(resource) = self.resources.remove(id) {
            resource.due.map(|at| self.due.remove(&(at, id)));
            self.left_over.remove(&id);
            self.changes.remove(RecordKey::Resource(id), resource.slot);
        }
    }

    pub(crate) fn forget_held(&mut self, id: u64, seq: u64) {
        if let Some(resource) = self.resources.get_mut(id) {
            resource.live.held.remove(&seq);
            let timer = self.leases.get(seq).and_then(|lease| lease.timer());
            timer.map(|at| resource.live.timers.remove(&(at, seq)));
            resource.live.tidy();
        }
        self.forget_lease(seq);
    }

    fn forget_lease(&mut self, seq: u64) {
        if let Some(slot) = self.leases.remove(seq) {
            self.requests.remove(self.requests.hash(slot.request.as_str()), Remembered::Lease(seq).number());
            self.changes.remove(RecordKey::Lease(seq), slot);
        }
    }

    /// Ends a waiting or held lease: takes it out of the line, or frees its concurrency. The caller grants the line.
    pub(crate) fn end(&mut self, entry: &mut Entry, seq: u64, state: LeaseState, ending: Ending) {
        let Some(slot) = self.leases.get_mut(seq) else { return };
        let Some(resource) = self.resources.get_mut(slot.resource) else { return };
        let id = slot.resource;
        slot.timer().map(|at| resource.live.timers.remove(&(at, seq)));
        let fencing_token = match &slot.life {
            Life::Waiting { .. } => {
                resource.live.line.remove(slot.priority, seq);
                None
            }
            Life::Held(holding) => {
                resource.live.held.remove(&seq);
                for limit in &mut self.changes.edit(RecordKey::Resource(id), &mut resource.slot).limits {
                    limit.free(&slot.load);
                }
                Some(holding.fencing_token)
            }
            Life::Ended(_) => return,
        };
        resource.live.tidy();
        let lease = self.changes.edit(RecordKey::Lease(seq), slot);
        lease.life = Life::Ended(Box::new(Ended {
            state,
            at: entry.now,
            log_index: entry.index,
            refusal: ending.refusal,
            fencing_token,
            refunded: ending.refunded,
            debited: ending.debited,
        }));
        lease.caller = Caller::default();
        self.remembered_bytes += lease.remembered_bytes();
        self.ended.push(entry.now, seq);
        let (lease, load) = (LeaseId { seq, tag: lease.tag }, lease.load.total());
        entry.emit(&resource.slot.name, EventKind::Ended { lease, load, state });
    }

    /// Forgets ended leases and changes, after an entry with so many events: those past their time, and the oldest when there
    /// are too many.
    pub(crate) fn forget(&mut self, now: LogTime, events: usize) {
        let bounds_bytes = self.level().bounds_bytes();
        let more = if bounds_bytes { caps::FORGOTTEN_PER_ENTRY_MORE } else { caps::FORGOTTEN_PER_ENTRY_MAX };
        let past = |at: LogTime| at.after_us(caps::REMEMBERED_US_MIN) <= now;
        for _ in 0..more + events {
            let lease = self.ended.first();
            let memo = self.memos.first_key_value().map(|(id, memo)| (memo.at, *id));
            let is_large = bounds_bytes && self.remembered_bytes > caps::REMEMBERED_BYTES_MAX;
            let crowded = is_large || self.ended.len() + self.memos.len() > caps::REMEMBERED_MAX;
            let lease_first = match (lease, memo) {
                (Some((lease, _)), Some((memo, _))) => lease <= memo,
                (lease, _) => lease.is_some(),
            };
            let oldest = if lease_first { lease } else { memo };
            let Some((at, id)) = oldest else { return };
            if !past(at) && !crowded {
                return;
            }
            if !past(at) {
                if is_large && self.strip_oldest() {
                    continue;
                }
                self.changes.edit(RecordKey::Meta, &mut self.meta).forgotten_early += 1;
            }
            if lease_first {
                self.ended.pop_first();
                let bytes = self.leases.get(id).map_or(0, |lease| lease.remembered_bytes());
                self.remembered_bytes = self.remembered_bytes.saturating_sub(bytes);
                self.forget_lease(id);
            } else if let Some(slot) = self.memos.remove(&id) {
                self.remembered_bytes = self.remembered_bytes.saturating_sub(caps::REMEMBERED_CHANGE_BYTES);
                self.requests.remove(self.requests.hash(slot.request.as_str()), Remembered::Memo(id).number());
                self.changes.remove(RecordKey::Memo(id), slot);
            }
        }
    }

    /// Takes its metadata from the oldest ended lease that has any; false when none has.
    fn strip_oldest(&mut self) -> bool {
        let leases = &self.leases;
        let has_metadata = |seq: u64| leases.get(seq).is_some_and(|lease| !lease.metadata.is_empty());
        let Some(seq) = self.ended.first_with(has_metadata) else { return false };
        let Some(slot) = self.leases.get_mut(seq) else { return false };
        self.remembered_bytes = self.remembered_bytes.saturating_sub(slot.metadata_bytes());
        self.changes.edit(RecordKey::Lease(seq), slot).metadata.clear();
        true
    }
}
