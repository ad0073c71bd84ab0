//! Settles a resource: ends what is overdue in it, ends what has become impossible, and grants its
//! queue what fits. Bounded work at a time; what is left over follows in later entries.

use crate::caps;
use crate::lease::transitions::Ending;
use crate::model::outcome::{LeaseState, Refusal};
use crate::state::defect::Defect;
use crate::state::lease::Presence;
use crate::state::records::RecordKey;
use crate::state::{Entry, State};

impl State {
    /// Does what is due in one resource, before a command in it is decided.
    pub(crate) fn settle_due(&mut self, entry: &mut Entry, id: u64) -> Result<(), Defect> {
        if self.records.resources.get(id).is_some_and(|resource| resource.is_due(entry.now)) {
            self.settle_now(entry, id)?;
        }
        Ok(())
    }

    /// Does what is due in one resource for the sake of a command, and grants its queue what fits.
    pub(crate) fn settle_now(&mut self, entry: &mut Entry, id: u64) -> Result<(), Defect> {
        if self.level().shares_work() {
            entry.work_left = self.settle(entry, id, entry.work_left)?;
        } else {
            self.settle(entry, id, caps::WORK_PER_COMMAND_MAX)?;
        }
        Ok(())
    }

    /// Does what is due in one resource, and grants its queue what fits; returns what is left of
    /// the budget. A resource that is gone has nothing to settle.
    pub(crate) fn settle(
        &mut self,
        entry: &mut Entry,
        id: u64,
        budget: usize,
    ) -> Result<usize, Defect> {
        let Some(resource) = self.records.resources.get(id) else { return Ok(budget) };
        if resource.deleted {
            return self.dissolve(entry, id, budget);
        }
        let was_due = resource.is_due(entry.now);
        if resource.live.queue.is_empty() && !was_due {
            return Ok(budget);
        }

        let mut left = self.expire(entry, id, budget)?;
        left = self.sweep(entry, id, left)?;
        left = self.grant_queue(entry, id, left)?;
        debug_assert!(left <= budget, "work does not pay");
        if left != budget || was_due {
            self.reschedule(id);
        }
        Ok(left)
    }

    fn expire(&mut self, entry: &mut Entry, id: u64, mut budget: usize) -> Result<usize, Defect> {
        while budget > 0 {
            let first = self.records.resource(id)?.live.timers.first().copied();
            let Some((_, seq)) = first.filter(|(at, _)| *at <= entry.now) else { break };
            budget -= 1;
            if !self.end_overdue(entry, seq)? {
                return Err(Defect::new("a timer has run out of a lease that is not overdue"));
            }
        }
        Ok(budget)
    }

    /// Goes on looking for waiting leases that a change of the limits has made impossible.
    fn sweep(&mut self, entry: &mut Entry, id: u64, mut budget: usize) -> Result<usize, Defect> {
        while budget > 0 {
            let Some(resource) = self.records.resources.get_mut(id) else { break };
            let Some((priority, seq)) = resource.sweep else { break };
            let next = resource.live.queue.at_or_after(priority, seq);
            debug_assert!(
                next.is_none_or(|next| next >= (priority, seq)),
                "a search does not go back"
            );
            let cursor = next.map(|(priority, seq)| (priority, seq + 1));
            self.records.changes.edit(RecordKey::Resource(id), &mut resource.record).sweep = cursor;
            budget -= 1;

            let Some((_, seq)) = next else { break };
            let Some(lease) = self.records.leases.get(seq) else {
                return Err(Defect::new("a lease is gone that is in the queue"));
            };
            if let Some(refusal) = resource.impossible(&lease.load) {
                self.end(entry, seq, Ending::refused(LeaseState::Rejected, refusal))?;
            }
        }
        Ok(budget)
    }

    /// Grants from the head of the queue on, as long as the head fits.
    fn grant_queue(
        &mut self,
        entry: &mut Entry,
        id: u64,
        mut budget: usize,
    ) -> Result<usize, Defect> {
        let level = self.level();
        while budget > 0 {
            let resource = self.records.resource(id)?;
            let Some(seq) = resource.live.queue.head() else { break };
            let lease = self.records.lease(seq)?;
            if lease.caller.presence == Presence::Detached && resource.queue.claim_ms == 0 {
                self.pass_over(seq)?;
                budget -= 1;
                continue;
            }
            if resource.impossible(&lease.load).is_some()
                || !resource.fits(&lease.load, entry.now, level)
            {
                break;
            }
            self.grant(entry, seq)?;
            budget -= 1;
        }

        Ok(budget)
    }

    /// Ends the waiting leases of a deleted resource and forgets its held ones; the last step
    /// forgets the resource.
    fn dissolve(&mut self, entry: &mut Entry, id: u64, mut budget: usize) -> Result<usize, Defect> {
        while budget > 0 {
            let resource = self.records.resource(id)?;
            if let Some(seq) = resource.live.queue.any() {
                self.end(
                    entry,
                    seq,
                    Ending::refused(LeaseState::Rejected, Refusal::ResourceDeleted),
                )?;
            } else if let Some(seq) = resource.live.held.first().copied() {
                self.forget_held(seq)?;
            } else {
                self.remove_resource(id);
                return Ok(budget);
            }
            budget -= 1;
        }

        self.reschedule(id);
        Ok(budget)
    }

    fn remove_resource(&mut self, id: u64) {
        if let Some(resource) = self.records.resources.remove(id) {
            debug_assert!(resource.live.timers.is_empty(), "a resource goes after its leases");
            resource.due.map(|at| self.indexes.due.remove(&(at, id)));
            self.indexes.left_over.remove(&id);
            self.records.changes.remove(RecordKey::Resource(id), resource.record);
        }
    }
}
