//! Indexes: what is derived from the records, so that every question is answered without a search.
//!
//! [`Indexes::of`] makes them from the records alone. Queues, held leases and timers of a resource
//! are derived too; they lie beside its record ([`Resource`]), since every decision needs both.

use std::collections::{BTreeMap, BTreeSet};

use crate::caps;
use crate::collections::ended::EndedLeases;
use crate::collections::index::Index;
use crate::collections::paged::Paged;
use crate::collections::past::PastClaimIndex;
use crate::model::name::ResourceName;
use crate::model::time::LogTime;
use crate::state::defect::Inconsistent;
use crate::state::lease::{LeaseRecord, LeaseStage, Presence};
use crate::state::records::Records;
use crate::state::resource::Resource;

/// What is derived from the records.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    /// Claims in name order, without those that were given back.
    pub claimed: BTreeMap<ResourceName, u64>,
    /// Claims that were given back and are still remembered, by name and by when.
    pub past: PastClaimIndex,
    /// Resources in name order, without deleted ones.
    pub names: BTreeMap<ResourceName, u64>,
    /// The same by hash, for the path of every acquire.
    pub name_index: Index,
    /// Leases and remembered changes by request id, as [`Remembered::number`] writes them.
    pub requests: Index,
    /// The resources in which time alone changes something, by when.
    pub due: BTreeSet<(LogTime, u64)>,
    /// The resources in which work is left over: deleted ones, and those whose queue is to be
    /// searched.
    pub left_over: BTreeSet<u64>,
    /// Ended leases in the order in which they are forgotten.
    pub ended: EndedLeases,
    /// Bytes of all that is remembered, about.
    pub remembered_bytes: u64,
}

/// What a request id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remembered {
    Lease(u64),
    Change(u64),
}

impl Remembered {
    /// An even number is twice a lease's, an odd one twice a change's plus one.
    pub fn number(self) -> u64 {
        match self {
            Self::Lease(seq) => seq << 1,
            Self::Change(id) => id << 1 | 1,
        }
    }

    pub fn from_number(number: u64) -> Self {
        if number & 1 == 0 { Self::Lease(number >> 1) } else { Self::Change(number >> 1) }
    }
}

impl Indexes {
    /// The indexes of no records. The seed is for those by hash.
    pub fn seeded(seed: u64) -> Self {
        Self { name_index: Index::seeded(seed), requests: Index::seeded(seed), ..Self::default() }
    }

    /// The indexes of these records, but for what is due: that depends on the feature level, and
    /// follows.
    ///
    /// # Errors
    /// [`Inconsistent`] when a record refers to another that is not there.
    pub fn of(records: &mut Records, seed: u64) -> Result<Self, Inconsistent> {
        let mut indexes = Self::seeded(seed);
        indexes.add_claims(records)?;

        for (id, resource) in records.resources.iter().filter(|(_, resource)| !resource.deleted) {
            indexes.names.insert(resource.name.clone(), id);
            indexes.name_index.insert(indexes.name_index.hash(resource.name.as_str()), id);
        }

        let mut ended = Vec::new();
        for (seq, lease) in records.leases.iter() {
            link_lease(&mut records.resources, seq, lease)?;
            indexes.requests.insert(
                indexes.requests.hash(lease.request.as_str()),
                Remembered::Lease(seq).number(),
            );
            if let LeaseStage::Ended(end) = &lease.stage {
                ended.push((end.at, seq));
                indexes.remembered_bytes += lease.remembered_bytes();
            }
        }
        indexes.ended = ended.into_iter().collect();

        for (id, change) in &records.remembered {
            indexes.requests.insert(
                indexes.requests.hash(change.request.as_str()),
                Remembered::Change(*id).number(),
            );
            indexes.remembered_bytes += caps::REMEMBERED_CHANGE_BYTES;
        }
        Ok(indexes)
    }

    fn add_claims(&mut self, records: &Records) -> Result<(), Inconsistent> {
        for (id, claim) in records.claims.iter() {
            match claim.past {
                Some(at) => self.past.insert(&claim.resource, at, id),
                None if self.claimed.insert(claim.resource.clone(), id).is_some() => {
                    return Err(Inconsistent("a name is claimed twice".to_owned()));
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Puts a live lease where its resource finds it.
fn link_lease(
    resources: &mut Paged<Resource>,
    seq: u64,
    lease: &LeaseRecord,
) -> Result<(), Inconsistent> {
    let Some(at) = lease.timer() else { return Ok(()) };
    let Some(resource) = resources.get_mut(lease.resource) else {
        return Err(Inconsistent(format!("the resource of lease {seq} is missing")));
    };

    resource.live.timers.insert((at, seq));
    match &lease.stage {
        LeaseStage::Waiting { .. } => {
            resource.live.queue.push(lease.priority, seq, lease.load.total());
            if lease.caller.presence == Presence::PassedOver {
                resource.live.queue.step_aside(lease.priority, seq);
            }
        }
        LeaseStage::Held(_) => _ = resource.live.held.insert(seq),
        LeaseStage::Ended(_) => {}
    }
    Ok(())
}
