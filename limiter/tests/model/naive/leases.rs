//! Commands on leases: acquire, release, extend.

use std::collections::BTreeMap;

use super::{Answer, Happens, Lease, LeaseStage, Model, Presence};
use crate::steps::{Acquire, Load};

impl Model {
    pub(super) fn acquire(&mut self, acquire: &Acquire, call: u64) -> Answer {
        if let Some(lease) = self.of_request(acquire.request) {
            if self.leases[lease].acquire != *acquire {
                return Answer::Conflict;
            }
            self.call_for(lease, call);
            return match self.leases[lease].life {
                LeaseStage::Waiting => Answer::Waiting(lease),
                LeaseStage::Held => Answer::Held(lease),
                ended => self.leases[lease].why.clone().unwrap_or(Answer::Ended(ended)),
            };
        }

        if self.memos.iter().any(|memo| memo.request == acquire.request) {
            return Answer::Conflict;
        }

        let Some(id) = self.find(acquire.resource) else { return Answer::NoResource };
        if let Some(answer) = self.impossible(id, &acquire.load) {
            return answer;
        }

        let queue = self.queue(id);
        let behind =
            queue.iter().any(|lease| self.leases[*lease].acquire.priority <= acquire.priority);
        let mut blocking = self.blocking(id, &acquire.load);
        let granted = !behind && blocking.is_empty();
        let spec = &self.resources[id].spec;

        let wait_ms = acquire.wait_ms.min(spec.max_wait_ms);
        let aside = self.places(id, |presence| presence == Presence::PassedOver).len();
        if !granted && (wait_ms == 0 || queue.len() + aside >= spec.max_waiting as usize) {
            if blocking.is_empty() {
                blocking.push("queue".to_owned());
            }
            return if wait_ms == 0 {
                Answer::LimitExceeded(blocking)
            } else {
                Answer::QueueFull(blocking)
            };
        }

        let lease = self.leases.len();
        self.leases.push(Lease {
            acquire: acquire.clone(),
            resource: id,
            life: LeaseStage::Waiting,
            until: self.now + wait_ms * 1000,
            alive_until: self.now + 15_000_000,
            ttl_ms: acquire.ttl_ms.unwrap_or(spec.default_ttl_ms).min(spec.max_ttl_ms),
            deadline: 0,
            call,
            presence: Presence::Attached,
            passed_over: false,
            claim_until: None,
            charges: BTreeMap::new(),
            why: None,
            released: None,
            ended_at: 0,
            forgotten: false,
        });

        if granted {
            self.grant(lease);
            return Answer::Held(lease);
        }

        self.events.push((id, lease, Happens::Queued));
        Answer::Waiting(lease)
    }

    pub(super) fn release(&mut self, request: u64, used: Option<&Load>) -> Answer {
        let Some(lease) = self.target(request) else { return Answer::NoLease };
        let id = self.leases[lease].resource;
        let (mut refunded, mut debited) = (Vec::new(), Vec::new());

        let life = match self.leases[lease].life {
            LeaseStage::Waiting => LeaseStage::Cancelled,
            LeaseStage::Held => {
                for (name, limit) in &mut self.resources[id].limits {
                    let charge = self.leases[lease]
                        .charges
                        .get(name)
                        .filter(|charge| charge.uid == limit.uid);
                    let (Some(charge), Some(used)) = (charge, used) else { continue };
                    let (back, owed) = limit.true_up(lease, charge, used, self.now);
                    refunded.extend((back > 0).then(|| ((*name).to_owned(), back)));
                    debited.extend((owed > 0).then(|| ((*name).to_owned(), owed)));
                }
                LeaseStage::Released
            }
            LeaseStage::Expired => return Answer::Expired,
            // Cancelled by silence, released or given up: the answer stays the same.
            LeaseStage::Released | LeaseStage::Cancelled => {
                let cancelled = Answer::Released { life: LeaseStage::Cancelled, refunded, debited };
                return self.leases[lease].released.clone().unwrap_or(cancelled);
            }
            ended @ (LeaseStage::TimedOut | LeaseStage::Rejected | LeaseStage::Lapsed) => {
                return Answer::Ended(ended);
            }
        };

        let answer = Answer::Released { life, refunded, debited };
        self.end_lease(lease, life, None);
        self.leases[lease].released = Some(answer.clone());
        self.turns(id);
        answer
    }

    pub(super) fn extend(&mut self, request: u64, ttl_ms: Option<u64>) -> Answer {
        let Some(lease) = self.target(request) else { return Answer::NoLease };
        match self.leases[lease].life {
            LeaseStage::Held => {
                let spec = &self.resources[self.leases[lease].resource].spec;
                let ttl_ms = ttl_ms.unwrap_or(spec.default_ttl_ms).min(spec.max_ttl_ms);
                self.leases[lease].deadline = self.now + ttl_ms * 1000;
                self.leases[lease].claim_until = None;
                self.leases[lease].call = 0;
                self.leases[lease].presence = Presence::Attached;
                Answer::Extended(lease)
            }
            LeaseStage::Expired => Answer::Expired,
            other => Answer::NotHeld(other),
        }
    }
}
