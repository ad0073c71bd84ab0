//! The ends that time brings: a wait that ran out, a caller that fell silent, a deadline, a grant
//! that nobody claimed.

use crate::lease::transitions::Ending;
use crate::model::outcome::{LeaseState, Refusal};
use crate::state::defect::Defect;
use crate::state::estimate::blocked;
use crate::state::lease::LeaseStage;
use crate::state::records::{EditLease, RecordKey};
use crate::state::{Entry, State};

impl State {
    /// Ends a lease if its timer has run out, in the way that came first; true when it did.
    pub(crate) fn end_overdue(&mut self, entry: &mut Entry, seq: u64) -> Result<bool, Defect> {
        let Some(lease) = self.records.leases.get(seq).filter(|lease| lease.is_overdue(entry.now))
        else {
            return Ok(false);
        };

        match &lease.stage {
            LeaseStage::Waiting { until, alive_until } if until <= alive_until => {
                let (resource, level) = (self.records.resource(lease.resource)?, self.level());
                let mut blocked =
                    blocked(resource, &lease.load, lease.priority, Some(seq), entry.now, level);
                if level.keeps_no_estimates() {
                    blocked.retry_after_ms = 0;
                }
                self.end(
                    entry,
                    seq,
                    Ending::refused(LeaseState::TimedOut, Refusal::WaitTimeout(blocked)),
                )?;
            }
            LeaseStage::Waiting { .. } => {
                self.end(entry, seq, Ending::of(LeaseState::Cancelled))?
            }
            LeaseStage::Held(holding)
                if lease.caller.claim_until.is_some_and(|at| at < holding.deadline) =>
            {
                self.lapse(entry, seq)?;
            }
            LeaseStage::Held(_) => self.end(entry, seq, Ending::of(LeaseState::Expired))?,
            LeaseStage::Ended(_) => return Err(Defect::new("an ended lease has a timer")),
        }

        Ok(true)
    }

    /// Ends a lease that nobody has claimed. Nothing was done for it, so its charges are given back
    /// as far as they count.
    fn lapse(&mut self, entry: &mut Entry, seq: u64) -> Result<(), Defect> {
        let EditLease { lease, resource, changes, .. } = self.records.lease_mut(seq)?;
        let LeaseStage::Held(holding) = &lease.stage else {
            return Err(Defect::new("a lease lapses that is not held"));
        };

        let mut ending = Ending::of(LeaseState::Lapsed);
        for limit in
            &mut changes.edit(RecordKey::Resource(lease.resource), &mut resource.record).limits
        {
            let Some(charge) = holding.charges.iter().find(|charge| charge.id == limit.id) else {
                continue;
            };
            let refunded = limit.give_back(charge, entry.now);
            debug_assert!(refunded <= charge.amount, "no more is given back than was charged");
            if refunded > 0 {
                ending.refunded.push((limit.name.clone(), refunded));
            }
        }
        self.end(entry, seq, ending)
    }
}
