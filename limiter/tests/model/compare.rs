//! What the core answers and reports, against what the model says.

use ratequeue_limiter::{
    Applied, Blocked, EventKind, LeaseId, LeaseState, Outcome, Refusal, Reply,
};

use crate::naive::{Answer, Happens, LeaseStage};
use crate::run::{Run, ensure};

impl Run {
    /// The same lease of both, also when it is new.
    fn same_lease(&mut self, lease: usize, id: LeaseId) -> Result<(), String> {
        if lease == self.ids.len() {
            ensure(!self.ids.contains(&id), || format!("{id} was given out twice"))?;
            self.ids.push(id);
        }
        ensure(self.ids.get(lease) == Some(&id), || {
            format!("lease {lease} is {:?}, not {id}", self.ids.get(lease))
        })
    }

    pub fn compare(&mut self, answer: &Answer, outcome: &Outcome) -> Result<(), String> {
        let fits = match (answer, outcome) {
            (Answer::Waiting(lease), Ok(Reply::Acquired(view))) => {
                self.same_lease(*lease, view.id)?;
                view.state() == LeaseState::Waiting
            }
            (Answer::Held(lease), Ok(Reply::Acquired(view))) => {
                self.same_lease(*lease, view.id)?;
                view.state() == LeaseState::Held
            }
            (Answer::Attended(lease, is), Ok(Reply::Attended(view))) => {
                self.same_lease(*lease, view.id)?;
                life(view.state()) == *is
            }
            (Answer::Extended(lease), Ok(Reply::Extended(view))) => {
                self.same_lease(*lease, view.id)?;
                view.state() == LeaseState::Held
            }
            (Answer::Released { life: end, refunded, debited }, Ok(Reply::Released(released))) => {
                let named =
                    |amounts: &[(ratequeue_limiter::LimitName, u64)]| -> Vec<(String, u64)> {
                        amounts.iter().map(|(name, n)| (name.to_string(), *n)).collect()
                    };
                life(released.state) == *end
                    && named(&released.refunded) == *refunded
                    && named(&released.debited) == *debited
            }
            (Answer::Put { created, version }, Ok(Reply::Put { created: c, resource })) => {
                (created, *version) == (c, resource.version)
            }
            (Answer::Patched { version }, Ok(Reply::Patched(resource))) => {
                *version == resource.version
            }
            (Answer::Deleted, Ok(Reply::Deleted)) | (Answer::Noted, Ok(Reply::Noted)) => true,
            (answer, Err(refusal)) => *answer == refused(refusal)?,
            _ => false,
        };

        ensure(fits, || format!("should be {answer:?}, is {outcome:?}"))
    }

    /// What happened to the leases of each resource, in order.
    pub fn compare_events(&self, applied: &Applied) -> Result<(), String> {
        for name in ["x", "y"] {
            let mine = self
                .model
                .events
                .iter()
                .filter(|(id, _, _)| self.model.resources[*id].name == name);
            let mine: Vec<_> = mine.map(|(_, lease, what)| (self.ids[*lease], *what)).collect();
            let events = applied.events.iter().filter(|event| event.resource.as_str() == name);
            let theirs: Vec<_> = events
                .filter_map(|event| match event.kind {
                    EventKind::Queued { lease, .. } => Some((lease, Happens::Queued)),
                    EventKind::Granted { lease, .. } => Some((lease, Happens::Granted)),
                    EventKind::Ended { lease, state, .. } => {
                        Some((lease, Happens::Ends(life(state))))
                    }
                    EventKind::Refused { .. }
                    | EventKind::LimitsChanged { .. }
                    | EventKind::Deleted => None,
                })
                .collect();
            ensure(mine == theirs, || format!("in {name} should happen {mine:?}, but {theirs:?}"))?;
        }

        Ok(())
    }
}

pub fn life(state: LeaseState) -> LeaseStage {
    match state {
        LeaseState::Waiting => LeaseStage::Waiting,
        LeaseState::Held => LeaseStage::Held,
        LeaseState::Released => LeaseStage::Released,
        LeaseState::Expired => LeaseStage::Expired,
        LeaseState::Cancelled => LeaseStage::Cancelled,
        LeaseState::TimedOut => LeaseStage::TimedOut,
        LeaseState::Rejected => LeaseStage::Rejected,
        LeaseState::Lapsed => LeaseStage::Lapsed,
    }
}

fn violated(blocked: &Blocked) -> Result<Vec<String>, String> {
    ensure(blocked.retry_after_ms >= 1, || "come back at once?".to_owned())?;
    Ok(blocked
        .violated
        .iter()
        .map(|name| name.as_ref().map_or("queue".to_owned(), ToString::to_string))
        .collect())
}

fn refused(refusal: &Refusal) -> Result<Answer, String> {
    Ok(match refusal {
        Refusal::LimitExceeded(blocked) => Answer::LimitExceeded(violated(blocked)?),
        Refusal::QueueFull(blocked) => Answer::QueueFull(violated(blocked)?),
        Refusal::WaitTimeout(blocked) => violated(blocked).map(|_| Answer::WaitTimeout)?,
        Refusal::LoadExceedsCapacity { limit, .. } => Answer::LoadExceeds(limit.to_string()),
        Refusal::DimensionNeeded { limit, .. } => Answer::DimensionNeeded(limit.to_string()),
        Refusal::IdempotencyConflict => Answer::Conflict,
        Refusal::ResourceNotFound => Answer::NoResource,
        Refusal::LeaseNotFound => Answer::NoLease,
        Refusal::LeaseExpired => Answer::Expired,
        Refusal::LeaseNotHeld(state) => Answer::NotHeld(life(*state)),
        Refusal::LeaseEnded(state) => Answer::Ended(life(*state)),
        Refusal::ResourceDeleted => Answer::ResourceDeleted,
        Refusal::VersionConflict { version } => Answer::WrongVersion(*version),
        Refusal::InvalidResource(_) => Answer::Invalid,
        // The model has no claims: `catalog.rs` has.
        Refusal::TooManyResources
        | Refusal::TooManyLeases
        | Refusal::Malformed(_)
        | Refusal::Internal(_)
        | Refusal::ResourceExists
        | Refusal::ClaimOutdated { .. }
        | Refusal::NamePast(_) => {
            return Err(format!("unexpected: {refusal}"));
        }
    })
}
