//! What time and the callers do to the leases of a queue, and whose turn it is then.

use super::{Answer, Lease, LeaseStage, Model, Presence};

impl Model {
    /// What time has done to a resource, and then the turns of its queue.
    pub(super) fn settle(&mut self, id: usize) {
        let now = self.now;
        let timer = |lease: &Lease| match lease.life {
            LeaseStage::Waiting => lease.until.min(lease.alive_until),
            LeaseStage::Held => lease.deadline.min(lease.claim_until.unwrap_or(u64::MAX)),
            LeaseStage::Released
            | LeaseStage::Expired
            | LeaseStage::Cancelled
            | LeaseStage::TimedOut
            | LeaseStage::Rejected
            | LeaseStage::Lapsed => u64::MAX,
        };

        let mut due: Vec<usize> = (0..self.leases.len())
            .filter(|lease| {
                let lease = &self.leases[*lease];
                lease.resource == id && !lease.forgotten && timer(lease) <= now
            })
            .collect();

        due.sort_by_key(|lease| (timer(&self.leases[*lease]), *lease));
        for lease in due {
            match self.leases[lease].life {
                LeaseStage::Held
                    if self.leases[lease]
                        .claim_until
                        .is_some_and(|at| at < self.leases[lease].deadline) =>
                {
                    self.lapse(lease);
                }
                LeaseStage::Held => self.end_lease(lease, LeaseStage::Expired, None),
                _ if self.leases[lease].until <= self.leases[lease].alive_until => {
                    self.end_lease(lease, LeaseStage::TimedOut, Some(Answer::WaitTimeout));
                }
                _ => self.end_lease(lease, LeaseStage::Cancelled, None),
            }
        }

        self.turns(id);
    }

    /// Nobody has claimed it: what it was charged is given back as far as it counts.
    fn lapse(&mut self, lease: usize) {
        let id = self.leases[lease].resource;
        for (name, limit) in &mut self.resources[id].limits {
            if let Some(charge) =
                self.leases[lease].charges.get(name).filter(|charge| charge.uid == limit.uid)
            {
                limit.give_back(lease, charge, self.now);
            }
        }
        self.end_lease(lease, LeaseStage::Lapsed, None);
    }

    /// Another call has come for a lease.
    pub(super) fn call_for(&mut self, lease: usize, call: u64) {
        self.keep_alive(Some(lease));
        if !matches!(self.leases[lease].life, LeaseStage::Waiting | LeaseStage::Held) {
            return;
        }

        let id = self.leases[lease].resource;
        let held = matches!(self.leases[lease].life, LeaseStage::Held);
        let claimed = self.leases[lease].claim_until.take().is_none();
        let was = std::mem::replace(&mut self.leases[lease].presence, Presence::Attached);

        // A lease that is held and claimed may be another caller's: the end of a further call says
        // nothing of that one.
        if held && claimed && self.leases[lease].call != call {
            self.leases[lease].call = 0;
        } else if call != 0 || was != Presence::Attached || !claimed {
            self.leases[lease].call = call;
        }

        if was == Presence::PassedOver
            && let Some(why) = self.impossible(id, &self.leases[lease].acquire.load)
        {
            self.end_lease(lease, LeaseStage::Rejected, Some(why));
        }

        self.turns(id);
    }

    /// A call for a lease has ended without an answer.
    pub(super) fn detach(&mut self, lease: usize) {
        let id = self.leases[lease].resource;
        let claim_ms = self.resources[id].spec.claim_ms;
        let detached = &mut self.leases[lease];

        match detached.life {
            LeaseStage::Waiting if detached.presence == Presence::Attached => {
                detached.presence =
                    if claim_ms == 0 { Presence::PassedOver } else { Presence::Detached };
                detached.passed_over |= claim_ms == 0;
                detached.alive_until = self.now + 15_000_000;
            }
            LeaseStage::Held if detached.claim_until.is_none() => {
                detached.claim_until = Some(self.now + claim_ms * 1000);
                if claim_ms == 0 {
                    self.lapse(lease);
                }
            }
            _ => {}
        }

        self.turns(id);
    }

    pub(super) fn turns(&mut self, id: usize) {
        if self.resources[id].deleted {
            return;
        }

        for lease in self.queue(id) {
            if self.leases[lease].presence == Presence::Detached
                && self.resources[id].spec.claim_ms == 0
            {
                self.leases[lease].presence = Presence::PassedOver;
                self.leases[lease].passed_over = true;
                continue;
            }
            if !self.blocking(id, &self.leases[lease].acquire.load).is_empty() {
                return;
            }
            self.grant(lease);
        }
    }
}
