//! The invariants of the state, each with a check of its own. Tests run them after every step.

use crate::caps;
use crate::limit::Usage;
use crate::model::outcome::LeaseState;
use crate::model::spec::Rule;
use crate::state::State;
use crate::state::lease::{Caller, LeaseStage, Presence};
use crate::state::resource::Resource;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(text())) }
}

impl State {
    /// Checks the invariants that a state can show by itself. O(n log n): for tests and for looking
    /// at a stored state.
    ///
    /// # Errors
    /// [`Broken`] says which invariant does not hold, and where.
    pub fn check(&self) -> Result<(), Broken> {
        for (id, resource) in self.records.resources.iter() {
            self.check_concurrency(resource)?;
            self.check_queue(id, resource)?;
            self.check_schedule(id, resource)?;
            self.check_work_conserving(resource)?;
        }
        self.check_leases()?;
        self.check_remembered()?;
        self.check_names()?;
        self.check_claims()
    }

    /// Each name is claimed once, by a claim that was made.
    fn check_claims(&self) -> Result<(), Broken> {
        let all = self.indexes.claimed.len() + self.indexes.past.len();
        ensure(all == self.records.claims.len(), || {
            "a claim without a name, or a name claimed twice".to_owned()
        })?;

        ensure(self.indexes.past.len() <= caps::CLAIMS_PAST_MAX, || {
            "too many claims are remembered".to_owned()
        })?;
        let made = self.records.catalog.as_ref().map_or(0, |catalog| catalog.claims_made);

        for (id, claim) in self.records.claims.iter() {
            let known = match claim.past {
                Some(at) => self.indexes.past.has(&claim.resource, at, id),
                None => self.indexes.claimed.get(&claim.resource) == Some(&id),
            };
            ensure(known, || format!("{}: its claim is lost", claim.resource))?;
            ensure(id <= made && claim.at <= self.now(), || {
                format!("{}: its claim was never made", claim.resource)
            })?;
        }

        Ok(())
    }

    /// What concurrency limits count is what the held leases cost.
    fn check_concurrency(&self, resource: &Resource) -> Result<(), Broken> {
        // A deleted resource forgets its held leases bit by bit, and what they count with it.
        for limit in resource.limits.iter().filter(|_| !resource.deleted) {
            let Usage::Concurrency(used) = limit.usage else { continue };
            let held = resource.live.held.iter().filter_map(|seq| self.records.leases.get(*seq));
            let cost: u64 = held.map(|lease| limit.cost(&lease.load)).sum();
            ensure(used == cost, || {
                format!("{}/{}: counts {used}, held {cost}", resource.name, limit.name)
            })?;
        }
        Ok(())
    }

    /// The queue and the set of held leases are those of the lease records.
    fn check_queue(&self, id: u64, resource: &Resource) -> Result<(), Broken> {
        let mine = self.records.leases.iter().filter(|(_, lease)| lease.resource == id);
        let (mut waiting, mut held, mut load, mut aside) = (0u64, 0usize, 0u128, 0usize);
        for (seq, lease) in mine {
            match &lease.stage {
                LeaseStage::Waiting { .. } if lease.caller.presence == Presence::PassedOver => {
                    aside += 1
                }
                LeaseStage::Waiting { .. } => {
                    waiting += 1;
                    load += u128::from(lease.load.total());
                    let here = resource.live.queue.at_or_after(lease.priority, seq)
                        == Some((lease.priority, seq));
                    ensure(here, || {
                        format!("{}: waiting lease {seq} is not in the queue", resource.name)
                    })?;
                }
                LeaseStage::Held(_) => {
                    held += 1;
                    ensure(resource.live.held.contains(&seq), || {
                        format!("{}: held lease {seq} is lost", resource.name)
                    })?;
                }
                LeaseStage::Ended(_) => {}
            }
        }

        let total = resource.live.queue.total();
        ensure(total.count == waiting && total.load == load, || {
            format!("{}: the queue sums {total:?}", resource.name)
        })?;

        ensure(resource.live.queue.aside() == aside, || {
            format!("{}: {aside} are passed over", resource.name)
        })?;
        ensure(resource.live.held.len() == held, || {
            format!("{}: holds leases that are not held", resource.name)
        })?;

        ensure(resource.live.timers.len() as u64 == waiting + (held + aside) as u64, || {
            format!("{}: timers are off", resource.name)
        })
    }

    /// Whatever time will change has its place in the order of due work.
    fn check_schedule(&self, id: u64, resource: &Resource) -> Result<(), Broken> {
        let listed = self
            .indexes
            .due
            .iter()
            .filter(|(_, other)| *other == id)
            .map(|(at, _)| *at)
            .collect::<Vec<_>>();

        let due = resource.due.into_iter().collect::<Vec<_>>();
        ensure(listed == due, || format!("{}: due {due:?} but listed {listed:?}", resource.name))?;
        let left_over = self.indexes.left_over.contains(&id);
        ensure(left_over == resource.is_left_over(), || {
            format!("{}: left over, or not", resource.name)
        })?;

        for (at, seq) in &resource.live.timers {
            let timer = self.records.leases.get(*seq).and_then(|lease| lease.timer());
            ensure(timer == Some(*at), || {
                format!("{}: the timer of lease {seq} is off", resource.name)
            })?;
            let in_time = resource.due.is_some_and(|due| due <= *at);
            ensure(in_time || resource.deleted, || {
                format!("{}: lease {seq} is late", resource.name)
            })?;
        }

        Ok(())
    }

    /// Free capacity and a fitting head of the queue do not coexist, but for work that is due and
    /// bounded.
    fn check_work_conserving(&self, resource: &Resource) -> Result<(), Broken> {
        let head = resource.live.queue.head().and_then(|seq| self.records.leases.get(seq));
        let fits = head.is_some_and(|lease| {
            !resource.deleted && resource.fits(&lease.load, self.now(), self.level())
        });
        let left_over = resource.is_due(self.now());
        ensure(!fits || left_over, || {
            format!("{}: the head of the queue fits and waits", resource.name)
        })
    }

    /// Lease ids, fencing tokens and request ids belong to one lease each; ended leases are listed
    /// to be forgotten.
    fn check_leases(&self) -> Result<(), Broken> {
        let mut tokens = std::collections::BTreeSet::new();
        let mut requests = std::collections::BTreeSet::new();
        for (seq, lease) in self.records.leases.iter() {
            ensure(seq <= self.records.meta.leases_made, || format!("lease {seq} was never made"))?;
            ensure(requests.insert(&lease.request), || {
                format!("two leases of request {}", lease.request)
            })?;
            ensure(self.find_request(&lease.request).is_some(), || {
                format!("request {} is lost", lease.request)
            })?;
            let token = match &lease.stage {
                LeaseStage::Waiting { .. } => None,
                LeaseStage::Held(holding) => Some(holding.fencing_token),
                LeaseStage::Ended(end) => {
                    ensure(self.indexes.ended.contains(end.at, seq), || {
                        format!("ended lease {seq} is kept for ever")
                    })?;
                    let over = !matches!(end.state, LeaseState::Waiting | LeaseState::Held);
                    ensure(over, || format!("ended lease {seq} is {:?}", end.state))?;
                    end.fencing_token
                }
            };
            if let Some(token) = token {
                ensure(tokens.insert(token) && token <= self.records.meta.fencing_token, || {
                    format!("token {token} is off")
                })?;
            }
        }

        Ok(())
    }

    /// The bytes that are remembered are counted, and callers are known of live leases only.
    fn check_remembered(&self) -> Result<(), Broken> {
        let mut bytes = caps::REMEMBERED_CHANGE_BYTES * self.records.remembered.len() as u64;
        for (seq, lease) in self.records.leases.iter() {
            if matches!(lease.stage, LeaseStage::Ended(_)) {
                bytes += lease.remembered_bytes();
                ensure(lease.caller == Caller::default(), || {
                    format!("ended lease {seq} has a caller")
                })?;
            }
            let claim =
                lease.caller.claim_until.is_none() || matches!(lease.stage, LeaseStage::Held(_));
            ensure(claim, || format!("lease {seq} is to be claimed and is not held"))?;
            let away = lease.caller.presence == Presence::Attached
                || matches!(lease.stage, LeaseStage::Waiting { .. });
            ensure(away, || format!("lease {seq} waits for nobody, and has no caller"))?;
        }

        ensure(bytes == self.indexes.remembered_bytes, || {
            format!("{bytes} bytes are remembered, not {}", self.indexes.remembered_bytes)
        })
    }

    fn check_names(&self) -> Result<(), Broken> {
        let named = self.records.resources.iter().filter(|(_, resource)| !resource.deleted).count();
        ensure(self.indexes.names.len() == named, || {
            "a name without a resource, or the other way round".to_owned()
        })?;

        for (name, id) in &self.indexes.names {
            ensure(self.find_resource(name) == Some(*id), || format!("{name} is not found"))?;
        }

        for (_, resource) in self.records.resources.iter() {
            for limit in &resource.limits {
                let fitting = matches!(
                    (&limit.usage, limit.spec.rule),
                    (Usage::Bucket(_), Rule::TokenBucket { .. })
                        | (Usage::Window(_), Rule::SlidingWindow { .. })
                        | (Usage::Concurrency(_), Rule::Concurrency { .. })
                );
                ensure(fitting, || {
                    format!("{}/{}: usage of another kind", resource.name, limit.name)
                })?;
            }
        }

        Ok(())
    }
}
