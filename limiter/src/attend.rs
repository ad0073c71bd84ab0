//! Attend and detach: whether the caller of a lease is still there.
//!
//! ```text
//!                 its call ends                     granted
//!   attached ---------------------> detached ---------------------> held, to be claimed --not in time--> lapsed
//!      ^   <-- another call for it --   |                                |
//!      |                                | claim_ms 0: it is passed over  +-- a call, a look, extend: held
//!      +------- granted: held           |                                +-- release: released
//! ```
//! A call has a number, and the lease keeps that of the call which came last. Only the end of that one counts: whoever repeats
//! a call at another node need not fear that the end of the first is told late. Once another call comes for a lease that is
//! held and claimed, no end counts any more: either caller may have been told, and works. An attached caller pays nothing for
//! all this.

use crate::caps;
use crate::command::{Attend, Detach, NO_CALL, Release};
use crate::due::Ending;
use crate::lease_id::LeaseId;
use crate::outcome::{LeaseState, Outcome, Reply};
use crate::record::{Caller, Life, Presence, RecordKey};
use crate::state::{Entry, State};

impl State {
    pub(crate) fn attend(&mut self, entry: &mut Entry, attend: Attend) -> Outcome {
        let (seq, id) = self.find_lease(entry, attend.lease)?;
        self.call_for(entry, seq, attend.call);
        self.settle_now(entry, id);
        self.reschedule(id);
        self.lease_reply(seq, entry.now).map(Reply::Attended)
    }

    /// Another call has come for a lease. One that waits is kept alive, and one that is held is claimed. The caller settles and
    /// reschedules its resource.
    pub(crate) fn call_for(&mut self, entry: &mut Entry, seq: u64, call: u64) {
        self.keep_alive(entry.now, seq);
        let Some(lease) = self.leases.get(seq) else { return };
        if matches!(lease.life, Life::Ended(_)) {
            return;
        }
        // What is overdue, and only left over because there was too much of it, is not revived.
        let before = lease.timer();
        if before.is_some_and(|at| at <= entry.now) {
            return;
        }

        let passed_over = lease.caller.presence == Presence::PassedOver;
        let (id, priority) = (lease.resource, lease.priority);
        let is_there = lease.caller.presence == Presence::Attached && lease.caller.claim_until.is_none();
        let caller = if is_there && matches!(lease.life, Life::Held(_)) && lease.caller.call != call {
            Caller { call: NO_CALL, ..lease.caller }
        } else if is_there && call == NO_CALL {
            // Nobody is told when a call without a number ends: the one that is there still counts.
            lease.caller
        } else {
            Caller { call, presence: Presence::Attached, claim_until: None }
        };
        if caller == lease.caller {
            return;
        }
        self.edit_caller(seq, caller);
        if passed_over {
            self.step_back(entry, id, priority, seq);
        }
    }

    /// Gives a lease that was passed over its turn again, unless it has become impossible meanwhile.
    fn step_back(&mut self, entry: &mut Entry, id: u64, priority: u8, seq: u64) {
        let Some(resource) = self.resources.get_mut(id) else { return };
        resource.live.line.step_back(priority, seq);
        let Some(lease) = self.leases.get(seq) else { return };
        if let Some(refusal) = resource.impossible(&lease.load) {
            let ending = Ending { refusal: Some(refusal), ..Ending::default() };
            self.end(entry, seq, LeaseState::Rejected, ending);
        }
    }

    pub(crate) fn detach(&mut self, entry: &mut Entry, detach: &Detach) -> Outcome {
        for (lease, call) in detach.calls.iter().take(caps::DETACH_LEASES_MAX) {
            let Ok((seq, id)) = self.find_lease(entry, *lease) else { continue };
            let is_last = self.leases.get(seq).is_some_and(|lease| *call != NO_CALL && lease.caller.call == *call);
            if is_last && detach.for_good {
                // Its answer is for nobody.
                let _ = self.release(entry, Release { lease: *lease, used: None });
            } else if is_last {
                self.detach_lease(entry, id, seq);
                self.settle_now(entry, id);
                self.reschedule(id);
            }
        }
        Ok(Reply::Noted)
    }

    /// The last call for a lease has ended without an answer.
    fn detach_lease(&mut self, entry: &mut Entry, id: u64, seq: u64) {
        let (Some(resource), Some(lease)) = (self.resources.get(id), self.leases.get(seq)) else { return };
        let claim_ms = resource.queue.claim_ms;
        let (priority, caller) = (lease.priority, lease.caller);
        match &lease.life {
            Life::Waiting { .. } if caller.presence == Presence::Attached => {
                self.keep_alive(entry.now, seq);
                let presence = if claim_ms == 0 { Presence::PassedOver } else { Presence::Detached };
                self.edit_caller(seq, Caller { presence, ..caller });
                if claim_ms == 0
                    && let Some(resource) = self.resources.get_mut(id)
                {
                    resource.live.line.step_aside(priority, seq);
                }
            }
            // It was granted, and its caller never heard of it.
            Life::Held(_) if caller.claim_until.is_none() => {
                self.edit_caller(seq, Caller { claim_until: Some(entry.now.after_ms(claim_ms)), ..caller });
                self.end_overdue(entry, seq);
            }
            Life::Waiting { .. } | Life::Held(_) | Life::Ended(_) => {}
        }
    }

    /// Takes a lease that its caller is away from out of its turn, since its resource waits for no claims.
    pub(crate) fn pass_over(&mut self, id: u64, seq: u64) {
        let Some(lease) = self.leases.get(seq) else { return };
        let (priority, caller) = (lease.priority, lease.caller);
        self.edit_caller(seq, Caller { presence: Presence::PassedOver, ..caller });
        if let Some(resource) = self.resources.get_mut(id) {
            resource.live.line.step_aside(priority, seq);
        }
    }

    /// Claims a held lease, as its holder has just shown to be there: the end of no call counts any more, and be it told late.
    pub(crate) fn claim_lease(&mut self, seq: u64) {
        let Some(lease) = self.leases.get(seq).filter(|lease| matches!(lease.life, Life::Held(_))) else { return };
        let caller = Caller { call: NO_CALL, presence: Presence::Attached, claim_until: None };
        if lease.caller != caller {
            self.edit_caller(seq, caller);
        }
    }

    /// Gives a lease another caller, and its timer its place. The caller reschedules its resource.
    fn edit_caller(&mut self, seq: u64, caller: Caller) {
        let Some(lease) = self.leases.get_mut(seq) else { return };
        let before = lease.timer();
        self.changes.edit(RecordKey::Lease(seq), lease).caller = caller;
        let after = lease.timer();
        if before != after
            && let Some(resource) = self.resources.get_mut(lease.resource)
        {
            before.map(|at| resource.live.timers.remove(&(at, seq)));
            resource.live.timers.extend(after.map(|at| (at, seq)));
        }
    }

    /// Ends a lease that nobody has claimed. Nothing was done for it, so its charges are given back as far as they count.
    pub(crate) fn lapse(&mut self, entry: &mut Entry, seq: u64) {
        let Some(lease) = self.leases.get(seq) else { return };
        let (id, Life::Held(holding)) = (lease.resource, &lease.life) else { return };
        let charges = holding.charges.clone();
        let Some(resource) = self.resources.get_mut(id) else { return };

        let mut ending = Ending::default();
        for limit in &mut self.changes.edit(RecordKey::Resource(id), &mut resource.slot).limits {
            let Some(charge) = charges.iter().find(|charge| charge.id == limit.id) else { continue };
            let refunded = limit.give_back(charge, entry.now);
            if refunded > 0 {
                ending.refunded.push((limit.name.clone(), refunded));
            }
        }
        self.end(entry, seq, LeaseState::Lapsed, ending);
    }

    /// What is to be known about a lease before it is said to be held: the call that came last, and whether it is claimed.
    #[must_use]
    pub fn caller(&self, lease: LeaseId) -> Option<(u64, bool)> {
        let found = self.leases.get(lease.seq).filter(|found| found.tag == lease.tag)?;
        Some((found.caller.call, found.caller.claim_until.is_none()))
    }
}

impl Caller {
    /// The caller of a lease that a call has just made.
    pub fn of_call(call: u64) -> Self {
        Self { call, ..Self::default() }
    }
}
