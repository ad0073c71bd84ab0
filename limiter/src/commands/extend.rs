//! Extend: gives a held lease a new deadline.

use crate::model::command::Extend;
use crate::model::numbers::TtlMs;
use crate::model::outcome::{LeaseState, Outcome, Refusal, Reply};
use crate::state::lease::LeaseStage;
use crate::state::{Entry, State};

impl State {
    pub(crate) fn extend(&mut self, entry: &mut Entry, extend: &Extend) -> Outcome {
        let (seq, id) = self.find_lease(entry, extend.lease)?;
        if let Some(refusal) = not_held(&self.records.lease(seq)?.stage) {
            return Err(refusal);
        }

        self.claim_lease(seq)?;
        let times = self.records.resource(id)?.lease;
        let ttl_ms = extend.ttl_ms.map_or(times.default_ttl_ms, TtlMs::get).min(times.max_ttl_ms);
        self.prolong(entry.now, seq, entry.now.after_ms(ttl_ms))?;
        self.reschedule(id);
        self.lease_reply(seq, entry.now).map(Reply::Extended)
    }
}

/// Why a lease cannot be extended, unless it is held.
fn not_held(stage: &LeaseStage) -> Option<Refusal> {
    match stage {
        LeaseStage::Held(_) => None,
        LeaseStage::Waiting { .. } => Some(Refusal::LeaseNotHeld(LeaseState::Waiting)),
        LeaseStage::Ended(end) if end.state == LeaseState::Expired => Some(Refusal::LeaseExpired),
        LeaseStage::Ended(end) => Some(Refusal::LeaseNotHeld(end.state)),
    }
}
