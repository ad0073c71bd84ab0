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

use std::collections::BTreeSet;

use crate::caps;
use crate::command::{ClaimName, FenceClaims, PutClaimed, UnclaimName};
use crate::name::{Placement, ResourceName};
use crate::outcome::{ClaimView, Outcome, PastClaims, Refusal, Reply};
use crate::record::{Catalog, Claim, RecordKey};
use crate::state::{Entry, State};
use crate::time::LogTime;

/// Claims that were given back, found by their names and forgotten in the order of their ends.
#[derive(Debug, Default)]
pub(crate) struct PastIndex {
    by_name: BTreeSet<(ResourceName, u64)>,
    by_end: BTreeSet<(LogTime, u64)>,
}

impl PastIndex {
    pub fn insert(&mut self, name: &ResourceName, at: LogTime, id: u64) {
        self.by_name.insert((name.clone(), id));
        self.by_end.insert((at, id));
    }

    fn remove(&mut self, name: &ResourceName, at: LogTime, id: u64) {
        self.by_name.remove(&(name.clone(), id));
        self.by_end.remove(&(at, id));
    }

    /// The claims of a name, the last one first.
    fn of<'a>(&'a self, name: &ResourceName) -> impl Iterator<Item = u64> + use<'a> {
        self.by_name.range((name.clone(), 0)..=(name.clone(), u64::MAX)).rev().map(|(_, id)| *id)
    }

    pub fn has(&self, name: &ResourceName, at: LogTime, id: u64) -> bool {
        self.by_name.contains(&(name.clone(), id)) && self.by_end.contains(&(at, id))
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }
}

impl State {
    pub(crate) fn claim_name(&mut self, entry: &Entry, claim: ClaimName) -> Outcome {
        if let Some(id) = self.claimed.get(&claim.resource).copied() {
            return self.claim_again(entry, id, &claim);
        }
        if self.claimed.len() >= caps::CLAIMS_MAX {
            return Err(Refusal::TooManyResources);
        }
        if let Some(past) = self.past_claims(&claim.resource, entry.now)
            && past.number > claim.after
        {
            return Err(Refusal::NamePast(past));
        }
        let catalog = self.edit_catalog();
        catalog.claims_made += 1;
        let (id, fencing_token) = (catalog.claims_made, catalog.fencing_token);
        let ClaimName { resource, placement, after: _ } = claim;
        let past = None;
        let record =
            Claim { resource: resource.clone(), placement, number: entry.index, at: entry.now, fencing_token, past };
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

    pub(crate) fn unclaim_name(&mut self, entry: &Entry, unclaim: &UnclaimName) -> Outcome {
        let id = self.claimed.get(&unclaim.resource).copied();
        let is_meant = |id: &u64| self.claims.get(*id).is_some_and(|claim| claim.number == unclaim.number);
        if let Some(id) = id.filter(is_meant) {
            self.claimed.remove(&unclaim.resource);
            if self.level().remembers_past_claims() {
                self.keep_past(entry.now, id);
            } else {
                self.remove_claim(id);
            }
        }
        let known = self.catalog.as_ref().map_or(0, |catalog| catalog.fencing_token);
        if unclaim.fencing_token > known {
            self.edit_catalog().fencing_token = unclaim.fencing_token;
        }
        Ok(Reply::Noted)
    }

    /// Remembers a claim that is given back, and forgets up to two that were: so there are never more than were made room for,
    /// and those that are too old get fewer.
    fn keep_past(&mut self, now: LogTime, id: u64) {
        if let Some(slot) = self.claims.get_mut(id) {
            self.past.insert(&slot.resource, now, id);
            self.changes.edit(RecordKey::Claim(id), slot).past = Some(now);
        }

        for _ in 0..2 {
            let Some((at, oldest)) = self.past.by_end.first().copied() else { return };
            if self.past.len() <= caps::CLAIMS_PAST_MAX && now.since_us(at) < caps::CLAIM_PAST_US {
                return;
            }
            if let Some(name) = self.claims.get(oldest).map(|claim| claim.resource.clone()) {
                self.past.remove(&name, at, oldest);
            }
            self.remove_claim(oldest);
        }
    }

    fn remove_claim(&mut self, id: u64) {
        if let Some(slot) = self.claims.remove(id) {
            self.changes.remove(RecordKey::Claim(id), slot);
        }
    }

    /// Where a name was claimed, if it was given back a short while before `at`. O(log n), and at most a few claims.
    #[must_use]
    pub fn past_claims(&self, resource: &ResourceName, at: LogTime) -> Option<PastClaims> {
        let is_recent = |claim: &&Claim| claim.past.is_some_and(|past| at.since_us(past) < caps::CLAIM_PAST_US);
        let ids = self.past.of(resource).take(caps::CLAIM_PLACES_MAX);
        let recent: Vec<&Claim> =
            ids.filter_map(|id| self.claims.get(id).map(|slot| &**slot)).filter(is_recent).collect();

        let number = recent.first()?.number;
        let mut placements: Vec<Placement> = Vec::new();
        for claim in recent {
            if !placements.contains(&claim.placement) {
                placements.push(claim.placement.clone());
            }
        }
        Some(PastClaims { placements, number })
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
