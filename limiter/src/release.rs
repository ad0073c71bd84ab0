//! Release, extend and keepalive: what a holder or a waiter says about its lease.

use crate::acquire::check_ttl;
use crate::caps;
use crate::command::{Extend, Keepalive, Release};
use crate::due::Ending;
use crate::lease_id::LeaseId;
use crate::load::Load;
use crate::outcome::{LeaseState, Outcome, Refusal, Released, Reply};
use crate::record::{Holding, Life, RecordKey};
use crate::state::{Entry, State};
use crate::time::LogTime;

impl State {
    pub(crate) fn release(&mut self, entry: &mut Entry, release: Release) -> Outcome {
        if let Some(Err(bad)) = release.used.as_ref().map(Load::validate) {
            return Err(Refusal::Malformed(format!("used: {bad}")));
        }
        let (seq, id) = self.find_lease(entry, release.lease)?;
        let Some(lease) = self.leases.get(seq) else { return Err(Refusal::LeaseNotFound) };
        match &lease.life {
            Life::Waiting { .. } if self.is_left_over(id) => {
                let ending = Ending { refusal: Some(Refusal::ResourceDeleted), ..Ending::default() };
                self.end(entry, seq, LeaseState::Rejected, ending);
            }
            Life::Waiting { .. } => self.end(entry, seq, LeaseState::Cancelled, Ending::default()),
            Life::Held(holding) => {
                let ending = match &release.used {
                    Some(used) => {
                        let holding = holding.clone();
                        self.true_up(id, &holding, used, entry.now)
                    }
                    None => Ending::default(),
                };
                self.end(entry, seq, LeaseState::Released, ending);
            }
            Life::Ended(_) => return self.released(seq),
        }
        self.settle_now(entry, id);
        self.reschedule(id);
        self.released(seq)
    }

    /// Whether a waiting lease of this resource is only there because there were too many to end them at once.
    fn is_left_over(&self, id: u64) -> bool {
        self.level().rejects_left_over() && self.resources.get(id).is_some_and(|resource| resource.deleted)
    }

    /// The answer to a release, the same however often it is asked.
    fn released(&self, seq: u64) -> Outcome {
        let Some(lease) = self.leases.get(seq) else { return Err(Refusal::LeaseNotFound) };
        let Life::Ended(end) = &lease.life else { return Err(Refusal::LeaseNotFound) };
        match end.state {
            LeaseState::Released | LeaseState::Cancelled => Ok(Reply::Released(Released {
                id: LeaseId { seq, tag: lease.tag },
                state: end.state,
                refunded: end.refunded.clone(),
                debited: end.debited.clone(),
            })),
            LeaseState::Expired => Err(Refusal::LeaseExpired),
            state @ (LeaseState::TimedOut
            | LeaseState::Rejected
            | LeaseState::Lapsed
            | LeaseState::Waiting
            | LeaseState::Held) => Err(Refusal::LeaseEnded(state)),
        }
    }

    /// Corrects the charges of a lease to what was really used.
    fn true_up(&mut self, id: u64, holding: &Holding, used: &Load, now: LogTime) -> Ending {
        let mut ending = Ending::default();
        let Some(resource) = self.resources.get_mut(id) else { return ending };
        for limit in &mut self.changes.edit(RecordKey::Resource(id), &mut resource.slot).limits {
            let charge = holding.charges.iter().find(|charge| charge.id == limit.id);
            let (Some(charge), Some(really)) = (charge, limit.really_used(used)) else { continue };
            let (refunded, debited) = limit.true_up(charge, really, now);
            if refunded > 0 {
                ending.refunded.push((limit.name.clone(), refunded));
            }
            if debited > 0 {
                ending.debited.push((limit.name.clone(), debited));
            }
        }
        ending
    }

    pub(crate) fn extend(&mut self, entry: &mut Entry, extend: &Extend) -> Outcome {
        check_ttl(extend.ttl_ms)?;
        let (seq, id) = self.find_lease(entry, extend.lease)?;
        self.claim_lease(seq);
        let (Some(resource), Some(slot)) = (self.resources.get_mut(id), self.leases.get_mut(seq)) else {
            return Err(not_held(self.leases.get(seq).map(|lease| &lease.life)));
        };
        let Life::Held(holding) = &slot.life else { return Err(not_held(Some(&slot.life))) };
        let times = resource.lease;
        let deadline = entry.now.after_ms(extend.ttl_ms.unwrap_or(times.default_ttl_ms).min(times.max_ttl_ms));
        resource.live.timers.remove(&(holding.deadline, seq));
        resource.live.timers.insert((deadline, seq));
        if let Life::Held(holding) = &mut self.changes.edit(RecordKey::Lease(seq), slot).life {
            holding.deadline = deadline;
        }
        self.reschedule(id);
        self.lease_reply(seq, entry.now).map(Reply::Extended)
    }

    pub(crate) fn keepalive(&mut self, entry: &mut Entry, keepalive: &Keepalive) -> Outcome {
        for lease in keepalive.leases.iter().take(caps::KEEPALIVE_LEASES_MAX) {
            let Some(found) = self.leases.get(lease.seq).filter(|found| found.tag == lease.tag) else { continue };
            let id = found.resource;
            self.keep_alive(entry.now, lease.seq);
            self.reschedule(id);
        }
        Ok(Reply::Noted)
    }

    /// Finds a lease, after what is due in its resource was done.
    pub(crate) fn find_lease(&mut self, entry: &mut Entry, lease: LeaseId) -> Result<(u64, u64), Refusal> {
        let (id, due) = self.look_up(entry.now, lease).ok_or(Refusal::LeaseNotFound)?;
        if due {
            self.settle_now(entry, id);
            self.end_overdue(entry, lease.seq);
            self.reschedule(id);
            self.look_up(entry.now, lease).ok_or(Refusal::LeaseNotFound)?;
        }
        Ok((lease.seq, id))
    }

    /// The resource of a lease, and whether something is due in it. A held lease of a deleted resource is forgotten.
    fn look_up(&self, now: LogTime, lease: LeaseId) -> Option<(u64, bool)> {
        let found = self.leases.get(lease.seq).filter(|found| found.tag == lease.tag)?;
        let id = found.resource;
        let Some(resource) = self.resources.get(id) else { return Some((id, false)) };
        let forgotten = resource.deleted && matches!(found.life, Life::Held(_));
        (!forgotten).then_some((id, resource.is_due(now)))
    }
}

fn not_held(life: Option<&Life>) -> Refusal {
    match life {
        None => Refusal::LeaseNotFound,
        Some(Life::Waiting { .. }) => Refusal::LeaseNotHeld(LeaseState::Waiting),
        Some(Life::Held(_)) => Refusal::LeaseNotHeld(LeaseState::Held),
        Some(Life::Ended(end)) if end.state == LeaseState::Expired => Refusal::LeaseExpired,
        Some(Life::Ended(end)) => Refusal::LeaseNotHeld(end.state),
    }
}
