//! Release: ends a held lease, or gives a place in the queue up.

use crate::model::command::Release;
use crate::model::lease_id::LeaseId;
use crate::model::outcome::{LeaseState, Outcome, Refusal, Released, Reply};
use crate::state::defect::Defect;
use crate::state::lease::LeaseStage;
use crate::state::{Entry, State};

impl State {
    pub(crate) fn release(&mut self, entry: &mut Entry, release: &Release) -> Outcome {
        let seq = self.give_back(entry, release.lease, release.used.as_ref())?;
        self.released(seq)
    }

    /// The answer to a release, the same however often it is asked.
    fn released(&self, seq: u64) -> Outcome {
        let lease = self.records.lease(seq)?;
        let LeaseStage::Ended(end) = &lease.stage else {
            return Err(Defect::new("a released lease has not ended").into());
        };

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
}
