//! What put, patch and delete share: the condition of a change, its memory, and what a new spec
//! does to a resource.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::caps;
use crate::collections::paged::Paged;
use crate::limit::Limit;
use crate::model::command::Condition;
use crate::model::event::EventKind;
use crate::model::name::{LimitName, RequestId, ResourceName};
use crate::model::outcome::{Outcome, Refusal, Reply, ResourceView};
use crate::model::spec::{Cost, LeaseSpec, LimitSpec, QueueSpec, ResourceSpec};
use crate::model::time::LogTime;
use crate::state::changes::Tracked;
use crate::state::defect::Defect;
use crate::state::indexes::Remembered;
use crate::state::lease::LeaseRecord;
use crate::state::records::{RecordKey, RememberedRequest};
use crate::state::resource::{Resource, ResourceRecord};
use crate::state::{Entry, State};

impl State {
    /// The answer this request got before, or that its id stands for something else.
    pub(crate) fn answered(
        &mut self,
        request: &RequestId,
        body: u64,
    ) -> Result<Option<Outcome>, Defect> {
        let answer = match self.recall(request)? {
            None => return Ok(None),
            Some(Remembered::Change(id)) => match self.records.remembered.get(&id) {
                Some(remembered) if remembered.body == body => Ok(remembered.reply.clone()),
                Some(_) | None => Err(Refusal::IdempotencyConflict),
            },
            Some(Remembered::Lease(_)) => Err(Refusal::IdempotencyConflict),
        };
        Ok(Some(answer))
    }

    pub(crate) fn remember(
        &mut self,
        entry: &Entry,
        request: RequestId,
        body: u64,
        reply: Reply,
    ) -> Reply {
        debug_assert!(self.find_request(&request).is_none(), "a request has one answer");
        let meta = self.records.changes.edit(RecordKey::Meta, &mut self.records.meta);
        meta.requests_remembered += 1;
        let id = meta.requests_remembered;

        let request_hash = self.indexes.requests.hash(request.as_str());
        self.indexes.requests.insert(request_hash, Remembered::Change(id).number());
        self.indexes.remembered_bytes += caps::REMEMBERED_CHANGE_BYTES;
        let remembered = RememberedRequest { request, body, at: entry.now, reply: reply.clone() };
        self.records
            .remembered
            .insert(id, self.records.changes.create(RecordKey::RememberedRequest(id), remembered));
        reply
    }

    pub(crate) fn check_condition(
        &self,
        found: Option<u64>,
        condition: Condition,
    ) -> Result<(), Refusal> {
        let version =
            found.and_then(|id| self.records.resources.get(id)).map(|resource| resource.version);
        let holds = match condition {
            Condition::Any => true,
            Condition::Absent => version.is_none(),
            Condition::Present => version.is_some(),
            Condition::Version(wanted) => version == Some(wanted),
        };
        if holds { Ok(()) } else { Err(Refusal::VersionConflict { version }) }
    }

    /// Makes a resource without limits; its limits come with the change that follows.
    pub(crate) fn create_resource(
        &mut self,
        entry: &Entry,
        name: ResourceName,
    ) -> Result<u64, Refusal> {
        debug_assert!(self.find_resource(&name).is_none(), "a name belongs to one resource");
        if self.records.resources.len() >= caps::RESOURCES_MAX {
            return Err(Refusal::TooManyResources);
        }
        let meta = self.records.changes.edit(RecordKey::Meta, &mut self.records.meta);
        meta.resources_made += 1;
        let id = meta.resources_made;

        let record = ResourceRecord {
            name: name.clone(),
            version: 0,
            effective_index: entry.index,
            limits: Vec::new(),
            limits_made: 0,
            queue: QueueSpec::default(),
            lease: LeaseSpec::default(),
            sweep: None,
            deleted: false,
        };
        self.indexes.name_index.insert(self.indexes.name_index.hash(name.as_str()), id);
        self.indexes.names.insert(name, id);
        let record = self.records.changes.create(RecordKey::Resource(id), record);
        self.records.resources.insert(id, Resource::from(record));
        Ok(id)
    }

    /// Gives a resource a new spec: usage carries over, the queue is searched for what has become
    /// impossible, and what has become possible is granted.
    pub(crate) fn change_resource(
        &mut self,
        entry: &mut Entry,
        id: u64,
        spec: &ResourceSpec,
    ) -> Result<(), Defect> {
        let Some(resource) = self.records.resources.get_mut(id) else {
            return Err(Defect::new("a resource is changed that is gone"));
        };
        let Resource { record, live, .. } = resource;
        let held_cost = |cost: &Cost| held_cost(&live.held, &self.records.leases, cost);
        let record = self.records.changes.edit(RecordKey::Resource(id), record);
        let is_tightened = respec(record, &spec.limits, entry.now, &held_cost);

        record.queue = spec.queue;
        record.lease = spec.lease;
        record.version += 1;
        record.effective_index = entry.index;
        if is_tightened {
            record.sweep = live.queue.head().map(|_| (0, 0));
        }
        let version = record.version;
        entry.emit(resource, EventKind::LimitsChanged { version });

        self.reschedule(id);
        self.settle_now(entry, id)
    }
}

/// Gives a resource other limits; true when a load may have become impossible.
fn respec(
    record: &mut ResourceRecord,
    specs: &std::collections::BTreeMap<LimitName, LimitSpec>,
    now: LogTime,
    held_cost: &impl Fn(&Cost) -> u64,
) -> bool {
    let mut is_tightened = false;
    let mut old = std::mem::replace(&mut record.limits, Vec::with_capacity(specs.len()));
    for (name, spec) in specs {
        let known = old.iter().position(|limit| limit.name == *name).map(|at| old.swap_remove(at));
        record.limits.push(match known {
            Some(mut limit) => {
                is_tightened |= spec.rule.capacity() < limit.spec.rule.capacity()
                    || spec.cost != limit.spec.cost;
                limit.respec(spec.clone(), now, held_cost);
                limit
            }
            None => {
                is_tightened = true;
                record.limits_made += 1;
                Limit::new(name.clone(), record.limits_made, spec.clone(), now, held_cost)
            }
        });
    }

    is_tightened
}

/// The cost that the held leases of a resource have under `cost`, summed up. O(held): for changes
/// of limits only.
fn held_cost(held: &BTreeSet<u64>, leases: &Paged<Tracked<LeaseRecord>>, cost: &Cost) -> u64 {
    let costs = held.iter().filter_map(|seq| leases.get(*seq)).map(|lease| lease.load.cost(cost));
    costs.fold(0, u64::saturating_add)
}

/// A resource as the answer to a change shows it.
pub(crate) fn answer_of(resource: &ResourceRecord) -> Arc<ResourceView> {
    Arc::new(resource.view())
}
