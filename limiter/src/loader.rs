//! Puts a state together from its records.

use std::collections::BTreeMap;

use crate::caps;
use crate::changes::{Changes, Slot};
use crate::level::Features;
use crate::paged::Paged;
use crate::record::{Catalog, Claim, LeaseRecord, Life, Memo, Meta, Presence, Record, RecordKey};
use crate::state::{Inconsistent, Remembered, Resource, State};

/// Puts a state together from its records. Links are made at the end, so the records may come in any order.
#[derive(Debug, Default)]
pub struct Loader {
    changes: Changes,
    meta: Option<Slot<Meta>>,
    resources: Paged<Resource>,
    leases: Paged<Slot<LeaseRecord>>,
    memos: BTreeMap<u64, Slot<Memo>>,
    catalog: Option<Slot<Catalog>>,
    claims: Paged<Slot<Claim>>,
    features: Option<Slot<Features>>,
    seed: u64,
}

impl Loader {
    /// A loader of a state with this seed: see [`State::seeded`].
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Takes one record.
    ///
    /// # Errors
    /// [`Inconsistent`] when it does not belong to its key, or the key came before.
    pub fn record(&mut self, key: RecordKey, record: Record) -> Result<(), Inconsistent> {
        let twice = match (key, record) {
            (RecordKey::Meta, Record::Meta(value)) => self.meta.replace(self.changes.load(key, value)).is_some(),
            (RecordKey::Resource(id), Record::Resource(value)) => {
                self.resources.insert(id, Resource::new(self.changes.load(key, value))).is_some()
            }
            (RecordKey::Lease(seq), Record::Lease(value)) => {
                self.leases.insert(seq, self.changes.load(key, value)).is_some()
            }
            (RecordKey::Memo(id), Record::Memo(value)) => {
                self.memos.insert(id, self.changes.load(key, value)).is_some()
            }
            (RecordKey::Catalog, Record::Catalog(value)) => {
                self.catalog.replace(self.changes.load(key, value)).is_some()
            }
            (RecordKey::Claim(id), Record::Claim(value)) => {
                self.claims.insert(id, self.changes.load(key, value)).is_some()
            }
            (RecordKey::Features, Record::Features(value)) => {
                self.features.replace(self.changes.load(key, value)).is_some()
            }
            (
                RecordKey::Meta
                | RecordKey::Resource(_)
                | RecordKey::Lease(_)
                | RecordKey::Memo(_)
                | RecordKey::Catalog
                | RecordKey::Claim(_)
                | RecordKey::Features,
                Record::Meta(_)
                | Record::Resource(_)
                | Record::Lease(_)
                | Record::Memo(_)
                | Record::Catalog(_)
                | Record::Claim(_)
                | Record::Features(_),
            ) => return Err(Inconsistent(format!("the record of {key:?} is of another kind"))),
        };
        if twice { Err(Inconsistent(format!("the record of {key:?} came twice"))) } else { Ok(()) }
    }

    /// The digest of what came so far.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.changes.digest()
    }

    /// Links the records.
    ///
    /// # Errors
    /// [`Inconsistent`] when one refers to another that did not come.
    pub fn finish(self) -> Result<State, Inconsistent> {
        let meta = self.meta.ok_or_else(|| Inconsistent("the meta record is missing".to_owned()))?;
        let mut state = State::with(self.changes, meta, self.seed);
        state.resources = self.resources;
        state.leases = self.leases;
        state.memos = self.memos;
        state.catalog = self.catalog;
        state.claims = self.claims;
        state.features = self.features;
        for (id, claim) in state.claims.iter() {
            match claim.past {
                Some(at) => state.past.insert(&claim.resource, at, id),
                None if state.claimed.insert(claim.resource.clone(), id).is_some() => {
                    return Err(Inconsistent("a name is claimed twice".to_owned()));
                }
                None => {}
            }
        }
        for (id, resource) in state.resources.iter().filter(|(_, resource)| !resource.deleted) {
            state.names.insert(resource.name.clone(), id);
            state.name_index.insert(state.name_index.hash(resource.name.as_str()), id);
        }
        for (seq, lease) in state.leases.iter() {
            link_lease(&mut state.resources, seq, lease)?;
            state.requests.insert(state.requests.hash(lease.request.as_str()), Remembered::Lease(seq).number());
        }
        let ended = state.leases.iter().filter_map(|(seq, lease)| match &lease.life {
            Life::Ended(end) => Some((end.at, seq)),
            Life::Waiting { .. } | Life::Held(_) => None,
        });
        state.ended = ended.collect();
        let is_over = |lease: &&Slot<LeaseRecord>| matches!(lease.life, Life::Ended(_));
        let ended_bytes: u64 =
            state.leases.iter().map(|(_, lease)| lease).filter(is_over).map(|l| l.remembered_bytes()).sum();
        state.remembered_bytes = ended_bytes + caps::REMEMBERED_CHANGE_BYTES * state.memos.len() as u64;
        for (id, memo) in &state.memos {
            state.requests.insert(state.requests.hash(memo.request.as_str()), Remembered::Memo(*id).number());
        }
        for id in state.resources.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            state.reschedule(id);
        }
        Ok(state)
    }
}

fn link_lease(resources: &mut Paged<Resource>, seq: u64, lease: &LeaseRecord) -> Result<(), Inconsistent> {
    let Some(at) = lease.timer() else { return Ok(()) };
    let Some(resource) = resources.get_mut(lease.resource) else {
        return Err(Inconsistent(format!("the resource of lease {seq} is missing")));
    };
    resource.live.timers.insert((at, seq));
    match &lease.life {
        Life::Waiting { .. } => {
            resource.live.line.push(lease.priority, seq, lease.load.total());
            if lease.caller.presence == Presence::PassedOver {
                resource.live.line.step_aside(lease.priority, seq);
            }
        }
        Life::Held(_) => _ = resource.live.held.insert(seq),
        Life::Ended(_) => {}
    }
    Ok(())
}
