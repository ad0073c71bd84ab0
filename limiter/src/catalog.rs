//! The catalog: which name was claimed for which group, so that a name is unique in the whole cluster.
//!
//! One group keeps it for all. To create a resource its name is claimed there first, then the resource is created in its
//! group; to delete it the order is reversed. What breaks off in between leaves a claim without a resource, which anybody
//! may take back, in two steps:
//!
//! ```text
//!   group of the catalog                      group of the resource
//!   Claim    name -> placement, number n
//!                                             PutClaimed  under claim n: refused once n is fenced
//!                                             Fence n     refused while the resource exists
//!   Unclaim  removes the claim if it is n
//! ```
//! A claim has the log index at which it was made for its number, so a later one is higher. `Fence n` makes the group refuse
//! to create anything under a claim up to n: a creation that comes late finds its claim outdated, and claims anew. So no
//! name ever exists in two groups, however late a message comes. The fence is one number a group: it may hit creations of
//! other names, which only have to claim again.
//!
//! Fencing tokens go on across groups: a group tells its last one when it is fenced, the catalog keeps the highest, and a
//! claim carries it to the group of the resource that is created under it.

use crate::caps;
use crate::command::{ClaimName, FenceClaims, PutClaimed, UnclaimName};
use crate::name::ResourceName;
use crate::outcome::{ClaimView, Outcome, Refusal, Reply};
use crate::record::{Catalog, Claim, RecordKey};
use crate::state::{Entry, State};

impl State {
    pub(crate) fn claim_name(&mut self, entry: &Entry, claim: ClaimName) -> Outcome {
        if let Some(id) = self.claimed.get(&claim.resource).copied() {
            return self.claim_again(entry, id, &claim);
        }
        if self.claims.len() >= caps::CLAIMS_MAX {
            return Err(Refusal::TooManyResources);
        }
        let catalog = self.edit_catalog();
        catalog.claims_made += 1;
        let (id, fencing_token) = (catalog.claims_made, catalog.fencing_token);
        let ClaimName { resource, placement, after: _ } = claim;
        let record = Claim { resource: resource.clone(), placement, number: entry.index, at: entry.now, fencing_token };
        self.claimed.insert(resource, id);
        self.claims.insert(id, self.changes.create(RecordKey::Claim(id), record));
        self.claim_reply(id, true)
    }

    /// A claim that is there stays, but for its number when that was fenced.
    fn claim_again(&mut self, entry: &Entry, id: u64, claim: &ClaimName) -> Outcome {
        if let Some(slot) = self.claims.get_mut(id)
            && slot.placement == claim.placement
            && slot.number <= claim.after
        {
            let record = self.changes.edit(RecordKey::Claim(id), slot);
            record.number = entry.index;
            record.at = entry.now;
        }
        self.claim_reply(id, false)
    }

    fn claim_reply(&self, id: u64, fresh: bool) -> Outcome {
        let claim = self.claims.get(id).map(|claim| claim.view()).ok_or(Refusal::ResourceNotFound)?;
        Ok(Reply::Claimed { claim, fresh })
    }

    pub(crate) fn unclaim_name(&mut self, unclaim: &UnclaimName) -> Outcome {
        let id = self.claimed.get(&unclaim.resource).copied();
        let is_meant = |id: &u64| self.claims.get(*id).is_some_and(|claim| claim.number == unclaim.number);
        if let Some(id) = id.filter(is_meant) {
            self.claimed.remove(&unclaim.resource);
            if let Some(slot) = self.claims.remove(id) {
                self.changes.remove(RecordKey::Claim(id), slot);
            }
        }
        let known = self.catalog.as_ref().map_or(0, |catalog| catalog.fencing_token);
        if unclaim.fencing_token > known {
            self.edit_catalog().fencing_token = unclaim.fencing_token;
        }
        Ok(Reply::Noted)
    }

    pub(crate) fn fence_claims(&mut self, fence: &FenceClaims) -> Outcome {
        if self.find_resource(&fence.resource).is_some() {
            return Err(Refusal::ResourceExists);
        }
        if fence.number > self.fence() {
            self.edit_catalog().fence = fence.number;
        }
        Ok(Reply::Fenced { fencing_token: self.meta.fencing_token })
    }

    /// A put that may create its resource only under a claim that is not fenced. A claim of 0 never is: it only replaces.
    pub(crate) fn put_claimed(&mut self, entry: &mut Entry, claimed: PutClaimed) -> Outcome {
        let PutClaimed { put, claim, fencing_token } = claimed;
        let creates = self.find_resource(&put.resource).is_none() && self.recall(&put.request).is_none();
        if creates && claim <= self.fence() {
            return Err(Refusal::ClaimOutdated { fence: self.fence() });
        }
        let outcome = self.put_resource(entry, put);
        if matches!(&outcome, Ok(Reply::Put { created: true, .. })) && fencing_token > self.meta.fencing_token {
            self.changes.edit(RecordKey::Meta, &mut self.meta).fencing_token = fencing_token;
        }
        outcome
    }

    fn fence(&self) -> u64 {
        self.catalog.as_ref().map_or(0, |catalog| catalog.fence)
    }

    /// The record of the counters; made when it is first needed, since most groups never do.
    fn edit_catalog(&mut self) -> &mut Catalog {
        let changes = &mut self.changes;
        let slot = self.catalog.get_or_insert_with(|| changes.create(RecordKey::Catalog, Catalog::default()));
        changes.edit(RecordKey::Catalog, slot)
    }

    /// What a name was claimed for. O(log n).
    #[must_use]
    pub fn claim(&self, resource: &ResourceName) -> Option<ClaimView> {
        let id = self.claimed.get(resource)?;
        self.claims.get(*id).map(|claim| claim.view())
    }

    /// Up to `max` claims in name order, from the first one after `after` on.
    #[must_use]
    pub fn claims(&self, after: Option<&ResourceName>, max: usize) -> Vec<ClaimView> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let ids = self.claimed.range::<ResourceName, _>((from, Unbounded)).take(max).map(|(_, id)| id);
        ids.filter_map(|id| self.claims.get(*id)).map(|claim| claim.view()).collect()
    }

    /// Whether any name is claimed for this placement. O(n) in the number of claims.
    #[must_use]
    pub fn has_claims_for(&self, placement: &str) -> bool {
        self.claimed.values().filter_map(|id| self.claims.get(*id)).any(|claim| claim.placement.as_str() == placement)
    }

    /// Number of claims.
    #[must_use]
    pub fn claims_len(&self) -> usize {
        self.claimed.len()
    }
}

impl Claim {
    fn view(&self) -> ClaimView {
        ClaimView {
            resource: self.resource.clone(),
            placement: self.placement.clone(),
            number: self.number,
            at: self.at,
            fencing_token: self.fencing_token,
        }
    }
}
