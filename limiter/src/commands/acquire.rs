//! Acquire: asks for a lease, and is granted, put into the queue, or refused.

use crate::caps;
use crate::model::command::{Acquire, NO_CALL};
use crate::model::event::{EventKind, Rejection};
use crate::model::outcome::{LeaseState, Outcome, Refusal, Reply};
use crate::model::time::LogTime;
use crate::state::defect::Defect;
use crate::state::estimate::blocked;
use crate::state::indexes::Remembered;
use crate::state::lease::LeaseStage;
use crate::state::{Entry, State};

/// What becomes of an acquire that is not refused.
enum Turn {
    Granted,
    Queued,
}

impl State {
    /// Decides an acquire, made by a call that has a number, or by one that has none ([`NO_CALL`]).
    pub(crate) fn acquire(&mut self, entry: &mut Entry, acquire: Acquire, call: u64) -> Outcome {
        let body = acquire.body();
        match self.recall(&acquire.request)? {
            Some(Remembered::Lease(seq)) => return self.acquire_again(entry, seq, body, call),
            Some(Remembered::Change(_)) => return Err(Refusal::IdempotencyConflict),
            None => {}
        }

        // No decision sees capacity that is already free again.
        let id = self.find_resource(&acquire.resource).ok_or(Refusal::ResourceNotFound)?;
        self.settle_due(entry, id)?;
        let turn = match self.turn_of(id, &acquire, entry.now) {
            Ok(turn) => turn,
            Err(refusal) => {
                self.emit_refused(entry, id, &acquire, &refusal)?;
                return Err(refusal);
            }
        };

        let seq = self.admit(entry, id, acquire, body, call)?;
        match turn {
            Turn::Granted => self.grant(entry, seq)?,
            Turn::Queued => self.enqueue(entry, seq)?,
        }
        self.reschedule(id);
        self.lease_reply(seq, entry.now).map(Reply::Acquired)
    }

    fn emit_refused(
        &self,
        entry: &mut Entry,
        id: u64,
        acquire: &Acquire,
        refusal: &Refusal,
    ) -> Result<(), Defect> {
        let Some(rejection) = Rejection::of(refusal) else { return Ok(()) };
        let (load, priority) = (acquire.load.total(), acquire.priority.get());
        let resource = self.records.resource(id)?;
        entry.emit(resource, EventKind::Refused { load, priority, rejection });
        Ok(())
    }

    /// The same request again: the same lease, in whatever stage it is now.
    fn acquire_again(&mut self, entry: &mut Entry, seq: u64, body: u64, call: u64) -> Outcome {
        let lease = self.records.lease(seq)?;
        if lease.body != body {
            return Err(Refusal::IdempotencyConflict);
        }

        let resource = lease.resource;
        self.settle_due(entry, resource)?;
        self.end_overdue(entry, seq)?;
        self.call_for(entry, seq, call)?;
        if call != NO_CALL {
            // It may have been passed over until now.
            self.settle_now(entry, resource)?;
        }
        self.reschedule(resource);

        let lease = self.records.lease(seq)?;
        match &lease.stage {
            LeaseStage::Waiting { .. } | LeaseStage::Held(_) => {
                self.lease_reply(seq, entry.now).map(Reply::Acquired)
            }
            LeaseStage::Ended(end) => Err(match (&end.state, &end.refusal) {
                (LeaseState::TimedOut | LeaseState::Rejected, Some(refusal)) => {
                    self.shown_refusal(lease, refusal, entry.now)
                }
                (state, _) => Refusal::LeaseEnded(*state),
            }),
        }
    }

    /// Whether the acquire is granted at once or joins the queue.
    fn turn_of(&self, id: u64, acquire: &Acquire, now: LogTime) -> Result<Turn, Refusal> {
        let (resource, level) = (self.records.resource(id)?, self.level());
        if let Some(refusal) = resource.impossible(&acquire.load) {
            return Err(refusal);
        }

        let queue = &resource.live.queue;
        let is_behind = queue.blocks(acquire.priority.get());
        let turn = if !is_behind && resource.fits(&acquire.load, now, level) {
            Turn::Granted
        } else {
            let blocked =
                || blocked(resource, &acquire.load, acquire.priority.get(), None, now, level);
            if acquire.wait_ms.get().min(resource.queue.max_wait_ms) == 0 {
                return Err(Refusal::LimitExceeded(blocked()));
            }
            if queue.kept() >= u64::from(resource.queue.max_waiting) {
                return Err(Refusal::QueueFull(blocked()));
            }
            Turn::Queued
        };
        if self.leases_live() >= caps::LEASES_LIVE_MAX {
            Err(Refusal::TooManyLeases)
        } else {
            Ok(turn)
        }
    }
}
