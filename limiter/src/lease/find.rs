//! Finds the lease that a command speaks of, after what is due in its resource was done.

use crate::model::lease_id::LeaseId;
use crate::model::name::RequestId;
use crate::model::outcome::Refusal;
use crate::model::time::LogTime;
use crate::state::defect::Defect;
use crate::state::indexes::Remembered;
use crate::state::{Entry, State};

impl State {
    /// What this request id stands for. The held leases of a deleted resource are forgotten, also
    /// those that are left over because there were too many.
    pub(crate) fn recall(&mut self, request: &RequestId) -> Result<Option<Remembered>, Defect> {
        let found = self.find_request(request);
        let Some(Remembered::Lease(seq)) = found else { return Ok(found) };
        let lease = self.records.lease(seq)?;
        if lease.is_held() && self.records.resource(lease.resource)?.deleted {
            self.forget_held(seq)?;
            return Ok(None);
        }
        Ok(found)
    }

    /// Finds a lease, after what is due in its resource was done: its number, and that of its
    /// resource.
    pub(crate) fn find_lease(
        &mut self,
        entry: &mut Entry,
        lease: LeaseId,
    ) -> Result<(u64, u64), Refusal> {
        let (id, is_due) = self.look_up(entry.now, lease).ok_or(Refusal::LeaseNotFound)?;
        if is_due {
            self.settle_now(entry, id)?;
            self.end_overdue(entry, lease.seq)?;
            self.reschedule(id);
            self.look_up(entry.now, lease).ok_or(Refusal::LeaseNotFound)?;
        }
        Ok((lease.seq, id))
    }

    /// The resource of a lease, and whether something is due in it. A held lease of a deleted
    /// resource is forgotten.
    fn look_up(&self, now: LogTime, lease: LeaseId) -> Option<(u64, bool)> {
        let found = self.records.leases.get(lease.seq).filter(|found| found.tag == lease.tag)?;
        let id = found.resource;
        let Some(resource) = self.records.resources.get(id) else { return Some((id, false)) };
        let is_forgotten = resource.deleted && found.is_held();
        (!is_forgotten).then_some((id, resource.is_due(now)))
    }
}
