//! Claim, unclaim and fence: the commands of the catalog. What they are for is said in
//! `state/catalog.rs`.

use crate::caps;
use crate::model::command::{ClaimName, FenceClaims, UnclaimName};
use crate::model::outcome::{Outcome, Refusal, Reply};
use crate::model::time::LogTime;
use crate::state::claim::{Catalog, Claim};
use crate::state::defect::Defect;
use crate::state::records::RecordKey;
use crate::state::{Entry, State};

impl State {
    pub(crate) fn claim_name(&mut self, entry: &Entry, claim: ClaimName) -> Outcome {
        if let Some(id) = self.indexes.claimed.get(&claim.resource).copied() {
            return self.claim_again(entry, id, &claim);
        }
        if self.indexes.claimed.len() >= caps::CLAIMS_MAX {
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
        let record = Claim {
            resource: resource.clone(),
            placement,
            number: entry.index,
            at: entry.now,
            fencing_token,
            past,
        };
        self.indexes.claimed.insert(resource, id);
        self.records.claims.insert(id, self.records.changes.create(RecordKey::Claim(id), record));
        self.claim_reply(id, true)
    }

    /// A claim that is there stays, but for its number when that was fenced.
    fn claim_again(&mut self, entry: &Entry, id: u64, claim: &ClaimName) -> Outcome {
        if let Some(known) = self.records.claims.get_mut(id)
            && known.placement == claim.placement
            && known.number <= claim.after
        {
            debug_assert!(known.number <= entry.index, "a later claim has a higher number");
            let record = self.records.changes.edit(RecordKey::Claim(id), known);
            record.number = entry.index;
            record.at = entry.now;
        }
        self.claim_reply(id, false)
    }

    fn claim_reply(&self, id: u64, fresh: bool) -> Outcome {
        let claim = self.records.claims.get(id).map(|claim| claim.view());
        let claim = claim.ok_or_else(|| Defect::new("a claim is gone that has a name"))?;
        Ok(Reply::Claimed { claim, fresh })
    }

    pub(crate) fn unclaim_name(&mut self, entry: &Entry, unclaim: &UnclaimName) -> Outcome {
        let id = self.indexes.claimed.get(&unclaim.resource).copied();
        let is_meant = |id: &u64| {
            self.records.claims.get(*id).is_some_and(|claim| claim.number == unclaim.number)
        };
        if let Some(id) = id.filter(is_meant) {
            self.indexes.claimed.remove(&unclaim.resource);
            if self.level().remembers_past_claims() {
                self.keep_past(entry.now, id);
            } else {
                self.remove_claim(id);
            }
        }

        let known = self.records.catalog.as_ref().map_or(0, |catalog| catalog.fencing_token);
        if unclaim.fencing_token > known {
            self.edit_catalog().fencing_token = unclaim.fencing_token;
        }
        Ok(Reply::Noted)
    }

    /// Remembers a claim that is given back, and forgets up to two that were: so there are never
    /// more than were made room for, and those that are too old get fewer.
    fn keep_past(&mut self, now: LogTime, id: u64) {
        if let Some(claim) = self.records.claims.get_mut(id) {
            debug_assert!(claim.past.is_none(), "a claim is given back once");
            self.indexes.past.insert(&claim.resource, now, id);
            self.records.changes.edit(RecordKey::Claim(id), claim).past = Some(now);
        }

        for _ in 0..2 {
            let Some((at, oldest)) = self.indexes.past.first() else { return };
            if self.indexes.past.len() <= caps::CLAIMS_PAST_MAX
                && now.since_us(at) < caps::CLAIM_PAST_US
            {
                return;
            }
            if let Some(name) = self.records.claims.get(oldest).map(|claim| claim.resource.clone())
            {
                self.indexes.past.remove(&name, at, oldest);
            }
            self.remove_claim(oldest);
        }
    }

    fn remove_claim(&mut self, id: u64) {
        if let Some(claim) = self.records.claims.remove(id) {
            self.records.changes.remove(RecordKey::Claim(id), claim);
        }
    }

    pub(crate) fn fence_claims(&mut self, fence: &FenceClaims) -> Outcome {
        if self.find_resource(&fence.resource).is_some() {
            return Err(Refusal::ResourceExists);
        }
        if fence.number > self.fence() {
            self.edit_catalog().fence = fence.number;
        }
        Ok(Reply::Fenced { fencing_token: self.records.meta.fencing_token })
    }

    /// The record of the counters; made when it is first needed, since most groups never do.
    fn edit_catalog(&mut self) -> &mut Catalog {
        let changes = &mut self.records.changes;
        let catalog = self
            .records
            .catalog
            .get_or_insert_with(|| changes.create(RecordKey::Catalog, Catalog::default()));
        changes.edit(RecordKey::Catalog, catalog)
    }
}
