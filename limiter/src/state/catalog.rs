//! The catalog: which name was claimed for which group, so that a name is unique in the whole
//! cluster.
//!
//! One group keeps it for all. To create a resource its name is claimed there first, then the
//! resource is created in its group; to delete it the order is reversed. What breaks off in between
//! leaves a claim without a resource, which anybody may take back, in two steps:
//!
//! ```text
//!   group of the catalog                      group of the resource
//!   Claim    name -> placement, number n
//!                                             PutClaimed  under claim n: refused once n is fenced
//!                                             Fence n     refused while the resource exists
//!   Unclaim  removes the claim if it is n
//! ```
//! A claim has the log index at which it was made for its number, so a later one is higher. `Fence
//! n` makes the group refuse to create anything under a claim up to n: a creation that comes late
//! finds its claim outdated, and claims anew. So no name ever exists in two groups, however late a
//! message comes. The fence is one number a group: it may hit creations of other names, which only
//! have to claim again.
//!
//! Fencing tokens go on across groups: a group tells its last one when it is fenced, the catalog
//! keeps the highest, and a claim carries it to the group of the resource that is created under it.

use crate::caps;
use crate::model::name::{Placement, ResourceName};
use crate::model::outcome::{ClaimView, PastClaims};
use crate::model::time::LogTime;
use crate::state::State;
use crate::state::claim::Claim;

impl State {
    /// The number up to which claims create nothing in this group.
    pub(crate) fn fence(&self) -> u64 {
        self.records.catalog.as_ref().map_or(0, |catalog| catalog.fence)
    }

    /// Where a name was claimed, if it was given back a short while before `at`. O(log n), and at
    /// most a few claims.
    #[must_use]
    pub fn past_claims(&self, resource: &ResourceName, at: LogTime) -> Option<PastClaims> {
        let is_recent =
            |claim: &&Claim| claim.past.is_some_and(|past| at.since_us(past) < caps::CLAIM_PAST_US);
        let ids = self.indexes.past.of(resource).take(caps::CLAIM_PLACES_MAX);
        let recent: Vec<&Claim> = ids
            .filter_map(|id| self.records.claims.get(id).map(|slot| &**slot))
            .filter(is_recent)
            .collect();

        let number = recent.first()?.number;
        let mut placements: Vec<Placement> = Vec::new();
        for claim in recent {
            if !placements.contains(&claim.placement) {
                placements.push(claim.placement.clone());
            }
        }
        Some(PastClaims { placements, number })
    }

    /// What a name was claimed for. O(log n).
    #[must_use]
    pub fn claim(&self, resource: &ResourceName) -> Option<ClaimView> {
        let id = self.indexes.claimed.get(resource)?;
        self.records.claims.get(*id).map(|claim| claim.view())
    }

    /// Up to `max` claims in name order, from the first one after `after` on.
    #[must_use]
    pub fn claims(&self, after: Option<&ResourceName>, max: usize) -> Vec<ClaimView> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let ids = self
            .indexes
            .claimed
            .range::<ResourceName, _>((from, Unbounded))
            .take(max)
            .map(|(_, id)| id);
        ids.filter_map(|id| self.records.claims.get(*id)).map(|claim| claim.view()).collect()
    }

    /// Whether any name is claimed for this placement. O(n) in the number of claims.
    #[must_use]
    pub fn has_claims_for(&self, placement: &str) -> bool {
        self.indexes
            .claimed
            .values()
            .filter_map(|id| self.records.claims.get(*id))
            .any(|claim| claim.placement.as_str() == placement)
    }

    /// Number of claims.
    #[must_use]
    pub fn claims_len(&self) -> usize {
        self.indexes.claimed.len()
    }
}
