//! Detach: calls have ended without an answer.

use crate::caps;
use crate::model::command::{Detach, NO_CALL};
use crate::model::outcome::{Outcome, Refusal, Reply};
use crate::state::{Entry, State};

impl State {
    pub(crate) fn detach(&mut self, entry: &mut Entry, detach: &Detach) -> Outcome {
        for (lease, call) in detach.calls.iter().take(caps::DETACH_LEASES_MAX) {
            let Some((seq, id)) = known(self.find_lease(entry, *lease))? else { continue };
            let is_last = *call != NO_CALL && self.records.lease(seq)?.caller.call == *call;
            if is_last && detach.for_good {
                known(self.give_back(entry, *lease, None))?;
            } else if is_last {
                self.detach_caller(entry, seq)?;
                self.settle_now(entry, id)?;
                self.reschedule(id);
            }
        }
        Ok(Reply::Noted)
    }
}

/// What concerns a lease that is there; one that is forgotten concerns nobody.
fn known<T>(found: Result<T, Refusal>) -> Result<Option<T>, Refusal> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(defect @ Refusal::Internal(_)) => Err(defect),
        Err(_) => Ok(None),
    }
}
