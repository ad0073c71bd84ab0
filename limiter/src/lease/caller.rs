//! Whether the caller of a lease is still there.
//!
//! ```text
//!                 its call ends                     granted
//!   attached ---------------------> detached ---------------------> held, to be claimed --not in time--> lapsed
//!      ^   <-- another call for it --   |                                |
//!      |                                | claim_ms 0: it is passed over  +-- a call, a look, extend: held
//!      +------- granted: held           |                                +-- release: released
//! ```
//! A call has a number, and the lease keeps that of the call which came last. Only the end of that
//! one counts: whoever repeats a call at another node need not fear that the end of the first is
//! told late. Once another call comes for a lease that is held and claimed, no end counts any more:
//! either caller may have been told, and works. An attached caller pays nothing for all this.

use crate::lease::transitions::Ending;
use crate::model::command::NO_CALL;
use crate::model::outcome::LeaseState;
use crate::state::defect::Defect;
use crate::state::lease::{Caller, LeaseStage, Presence};
use crate::state::records::EditLease;
use crate::state::{Entry, State};

impl State {
    /// Another call has come for a lease. One that waits is kept alive, and one that is held is
    /// claimed. The caller settles and reschedules its resource.
    pub(crate) fn call_for(
        &mut self,
        entry: &mut Entry,
        seq: u64,
        call: u64,
    ) -> Result<(), Defect> {
        self.keep_alive(entry.now, seq)?;
        let lease = self.records.lease(seq)?;
        // What is overdue, and only left over because there was too much of it, is not revived.
        if lease.is_ended() || lease.is_overdue(entry.now) {
            return Ok(());
        }

        let was_passed_over = lease.caller.presence == Presence::PassedOver;
        let is_there =
            lease.caller.presence == Presence::Attached && lease.caller.claim_until.is_none();
        let caller = if is_there && lease.is_held() && lease.caller.call != call {
            Caller { call: NO_CALL, ..lease.caller }
        } else if is_there && call == NO_CALL {
            // Nobody is told when a call without a number ends: the one that is there still counts.
            lease.caller
        } else {
            Caller { call, presence: Presence::Attached, claim_until: None }
        };
        if caller == lease.caller {
            return Ok(());
        }

        self.edit_live(seq, |lease| lease.caller = caller)?;
        if was_passed_over {
            self.step_back(entry, seq)?;
        }
        Ok(())
    }

    /// Gives a lease that was passed over its turn again, unless it has become impossible
    /// meanwhile.
    fn step_back(&mut self, entry: &mut Entry, seq: u64) -> Result<(), Defect> {
        let EditLease { lease, resource, .. } = self.records.lease_mut(seq)?;
        debug_assert!(lease.is_waiting(), "only a waiting lease has a turn");
        resource.live.queue.step_back(lease.priority, seq);
        match resource.impossible(&lease.load) {
            Some(refusal) => self.end(entry, seq, Ending::refused(LeaseState::Rejected, refusal)),
            None => Ok(()),
        }
    }

    /// The last call for a lease has ended without an answer.
    pub(crate) fn detach_caller(&mut self, entry: &mut Entry, seq: u64) -> Result<(), Defect> {
        let lease = self.records.lease(seq)?;
        let claim_ms = self.records.resource(lease.resource)?.queue.claim_ms;
        let caller = lease.caller;

        match &lease.stage {
            LeaseStage::Waiting { .. } if caller.presence == Presence::Attached => {
                self.keep_alive(entry.now, seq)?;
                if claim_ms == 0 {
                    return self.pass_over(seq);
                }
                self.edit_live(seq, |lease| lease.caller.presence = Presence::Detached)
            }
            // It was granted, and its caller never heard of it.
            LeaseStage::Held(_) if caller.claim_until.is_none() => {
                let claim_until = Some(entry.now.after_ms(claim_ms));
                self.edit_live(seq, |lease| lease.caller.claim_until = claim_until)?;
                self.end_overdue(entry, seq).map(|_| ())
            }
            LeaseStage::Waiting { .. } | LeaseStage::Held(_) | LeaseStage::Ended(_) => Ok(()),
        }
    }

    /// Takes a lease that its caller is away from out of its turn, since its resource waits for no
    /// claims.
    pub(crate) fn pass_over(&mut self, seq: u64) -> Result<(), Defect> {
        self.edit_live(seq, |lease| lease.caller.presence = Presence::PassedOver)?;
        let EditLease { lease, resource, .. } = self.records.lease_mut(seq)?;
        debug_assert!(lease.is_waiting(), "only a waiting lease has a turn");
        resource.live.queue.step_aside(lease.priority, seq);
        Ok(())
    }

    /// Claims a held lease, as its holder has just shown to be there: the end of no call counts any
    /// more, and be it told late.
    pub(crate) fn claim_lease(&mut self, seq: u64) -> Result<(), Defect> {
        let lease = self.records.lease(seq)?;
        let caller = Caller { call: NO_CALL, presence: Presence::Attached, claim_until: None };
        if !lease.is_held() || lease.caller == caller {
            return Ok(());
        }
        self.edit_live(seq, |lease| lease.caller = caller)
    }
}
