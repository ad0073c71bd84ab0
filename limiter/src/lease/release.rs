//! Gives a lease back, for its holder or for a caller that has gone.

use crate::lease::transitions::Ending;
use crate::model::lease_id::LeaseId;
use crate::model::load::Load;
use crate::model::outcome::{LeaseState, Refusal};
use crate::state::defect::Defect;
use crate::state::lease::LeaseStage;
use crate::state::records::{EditLease, RecordKey};
use crate::state::{Entry, State};

impl State {
    /// Gives a lease back, whether it waits or is held, and corrects its charges to what was really
    /// used; returns its number. One that has ended stays as it is.
    pub(crate) fn give_back(
        &mut self,
        entry: &mut Entry,
        lease: LeaseId,
        used: Option<&Load>,
    ) -> Result<u64, Refusal> {
        let (seq, id) = self.find_lease(entry, lease)?;
        let ending = match &self.records.lease(seq)?.stage {
            LeaseStage::Waiting { .. } if self.is_left_over(id) => {
                Ending::refused(LeaseState::Rejected, Refusal::ResourceDeleted)
            }
            LeaseStage::Waiting { .. } => Ending::of(LeaseState::Cancelled),
            LeaseStage::Held(_) => match used {
                Some(used) => self.true_up(entry, seq, used)?,
                None => Ending::of(LeaseState::Released),
            },
            LeaseStage::Ended(_) => return Ok(seq),
        };

        self.end(entry, seq, ending)?;
        self.settle_now(entry, id)?;
        self.reschedule(id);
        Ok(seq)
    }

    /// Whether a waiting lease of this resource is only there because there were too many to end
    /// them at once.
    fn is_left_over(&self, id: u64) -> bool {
        self.level().rejects_left_over()
            && self.records.resources.get(id).is_some_and(|resource| resource.deleted)
    }

    /// Corrects the charges of a held lease to what was really used.
    fn true_up(&mut self, entry: &Entry, seq: u64, used: &Load) -> Result<Ending, Defect> {
        let EditLease { lease, resource, changes, .. } = self.records.lease_mut(seq)?;
        let LeaseStage::Held(holding) = &lease.stage else {
            return Err(Defect::new("charges are corrected of a lease that is not held"));
        };

        let mut ending = Ending::of(LeaseState::Released);
        for limit in
            &mut changes.edit(RecordKey::Resource(lease.resource), &mut resource.record).limits
        {
            let charge = holding.charges.iter().find(|charge| charge.id == limit.id);
            let (Some(charge), Some(really)) = (charge, limit.really_used(used)) else { continue };
            let (refunded, debited) = limit.true_up(charge, really, entry.now);
            debug_assert!(refunded == 0 || debited == 0, "a correction goes one way");
            if refunded > 0 {
                ending.refunded.push((limit.name.clone(), refunded));
            }
            if debited > 0 {
                ending.debited.push((limit.name.clone(), debited));
            }
        }
        Ok(ending)
    }
}
