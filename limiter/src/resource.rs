//! Put, patch and delete: changes of resources.

use std::sync::Arc;

use crate::acquire::held_cost;
use crate::caps;
use crate::command::{Condition, DeleteResource, PatchResource, PutResource};
use crate::event::EventKind;
use crate::limit::Limit;
use crate::name::{RequestId, ResourceName};
use crate::outcome::{Outcome, Refusal, Reply, ResourceView};
use crate::record::{Memo, RecordKey, ResourceRecord};
use crate::spec::{Cost, ResourceSpec};
use crate::state::{Entry, Remembered, Resource, State};

impl State {
    pub(crate) fn put_resource(&mut self, entry: &mut Entry, put: PutResource) -> Outcome {
        let body = put.body();
        if let Some(answer) = self.answered(&put.request, body) {
            return answer;
        }
        let found = self.find_resource(&put.resource);
        self.check_condition(found, put.condition)?;
        put.spec.validate().map_err(Refusal::InvalidResource)?;
        let created = found.is_none();
        if let Some(id) = found
            && self.level().keeps_identical()
            && self.resources.get(id).is_some_and(|resource| resource.spec() == put.spec)
        {
            let resource = self.resource_view_of(id)?;
            return Ok(self.remember(entry, put.request, body, Reply::Put { created, resource }));
        }
        let id = match found {
            Some(id) => id,
            None => self.create_resource(entry, put.resource)?,
        };
        self.change_resource(entry, id, &put.spec);
        let resource = self.resource_view_of(id)?;
        Ok(self.remember(entry, put.request, body, Reply::Put { created, resource }))
    }

    pub(crate) fn patch_resource(&mut self, entry: &mut Entry, patch: PatchResource) -> Outcome {
        let body = patch.body();
        if let Some(answer) = self.answered(&patch.request, body) {
            return answer;
        }
        let found = self.find_resource(&patch.resource);
        let id = found.ok_or(Refusal::ResourceNotFound)?;
        self.check_condition(found, patch.condition)?;
        let spec = self.resources.get(id).map(|resource| resource.spec()).ok_or(Refusal::ResourceNotFound)?;
        let spec = spec.patched(&patch.patch).map_err(Refusal::InvalidResource)?;
        self.change_resource(entry, id, &spec);
        let resource = self.resource_view_of(id)?;
        Ok(self.remember(entry, patch.request, body, Reply::Patched(resource)))
    }

    pub(crate) fn delete_resource(&mut self, entry: &mut Entry, delete: DeleteResource) -> Outcome {
        let body = delete.body();
        if let Some(answer) = self.answered(&delete.request, body) {
            return answer;
        }
        let found = self.find_resource(&delete.resource);
        let id = found.ok_or(Refusal::ResourceNotFound)?;
        self.check_condition(found, delete.condition)?;
        if let Some(resource) = self.resources.get_mut(id) {
            self.changes.edit(RecordKey::Resource(id), &mut resource.slot).deleted = true;
        }
        self.names.remove(&delete.resource);
        self.name_index.remove(self.name_index.hash(delete.resource.as_str()), id);
        entry.emit(&delete.resource, EventKind::Deleted);
        self.reschedule(id);
        self.settle_now(entry, id);
        Ok(self.remember(entry, delete.request, body, Reply::Deleted))
    }

    /// The answer this request got before, or that its id stands for something else.
    fn answered(&mut self, request: &RequestId, body: u64) -> Option<Outcome> {
        Some(match self.recall(request)? {
            Remembered::Memo(id) => match self.memos.get(&id) {
                Some(memo) if memo.body == body => Ok(memo.reply.clone()),
                Some(_) | None => Err(Refusal::IdempotencyConflict),
            },
            Remembered::Lease(_) => Err(Refusal::IdempotencyConflict),
        })
    }

    fn remember(&mut self, entry: &Entry, request: RequestId, body: u64, reply: Reply) -> Reply {
        let meta = self.changes.edit(RecordKey::Meta, &mut self.meta);
        meta.memos_made += 1;
        let id = meta.memos_made;
        self.requests.insert(self.requests.hash(request.as_str()), Remembered::Memo(id).number());
        self.remembered_bytes += caps::REMEMBERED_CHANGE_BYTES;
        let memo = Memo { request, body, at: entry.now, reply: reply.clone() };
        self.memos.insert(id, self.changes.create(RecordKey::Memo(id), memo));
        reply
    }

    fn check_condition(&self, found: Option<u64>, condition: Condition) -> Result<(), Refusal> {
        let version = found.and_then(|id| self.resources.get(id)).map(|resource| resource.version);
        let holds = match condition {
            Condition::Any => true,
            Condition::Absent => version.is_none(),
            Condition::Present => version.is_some(),
            Condition::Version(wanted) => version == Some(wanted),
        };
        if holds { Ok(()) } else { Err(Refusal::VersionConflict { version }) }
    }

    /// Makes a resource without limits; its limits come with the change that follows.
    fn create_resource(&mut self, entry: &Entry, name: ResourceName) -> Result<u64, Refusal> {
        if self.resources.len() >= caps::RESOURCES_MAX {
            return Err(Refusal::TooManyResources);
        }
        let meta = self.changes.edit(RecordKey::Meta, &mut self.meta);
        meta.resources_made += 1;
        let id = meta.resources_made;
        let record = ResourceRecord {
            name: name.clone(),
            version: 0,
            effective_index: entry.index,
            limits: Vec::new(),
            limits_made: 0,
            queue: crate::QueueSpec::default(),
            lease: crate::LeaseSpec::default(),
            sweep: None,
            deleted: false,
        };
        self.name_index.insert(self.name_index.hash(name.as_str()), id);
        self.names.insert(name, id);
        self.resources.insert(id, Resource::new(self.changes.create(RecordKey::Resource(id), record)));
        Ok(id)
    }

    /// Gives a resource a new spec: usage carries over, the line is searched for what has become impossible, and what has
    /// become possible is granted.
    fn change_resource(&mut self, entry: &mut Entry, id: u64, spec: &ResourceSpec) {
        let Some(resource) = self.resources.get_mut(id) else { return };
        let Resource { slot, live, .. } = resource;
        let held_cost = |cost: &Cost| held_cost(&live.held, &self.leases, cost);
        let record = self.changes.edit(RecordKey::Resource(id), slot);
        let mut tightened = false;
        let mut old = std::mem::replace(&mut record.limits, Vec::with_capacity(spec.limits.len()));
        for (name, spec) in &spec.limits {
            let known = old.iter().position(|limit| limit.name == *name).map(|at| old.swap_remove(at));
            record.limits.push(match known {
                Some(mut limit) => {
                    tightened |= spec.rule.capacity() < limit.spec.rule.capacity() || spec.cost != limit.spec.cost;
                    limit.respec(spec.clone(), entry.now, held_cost);
                    limit
                }
                None => {
                    tightened = true;
                    record.limits_made += 1;
                    Limit::new(name.clone(), record.limits_made, spec.clone(), entry.now, held_cost)
                }
            });
        }
        record.queue = spec.queue;
        record.lease = spec.lease;
        record.version += 1;
        record.effective_index = entry.index;
        if tightened {
            record.sweep = live.line.head().map(|_| (0, 0));
        }
        let version = record.version;
        entry.emit(&record.name, EventKind::LimitsChanged { version });
        self.reschedule(id);
        self.settle_now(entry, id);
    }

    fn resource_view_of(&self, id: u64) -> Result<Arc<ResourceView>, Refusal> {
        self.resources.get(id).map(|resource| Arc::new(resource.view())).ok_or(Refusal::ResourceNotFound)
    }
}

impl ResourceRecord {
    pub(crate) fn view(&self) -> ResourceView {
        ResourceView {
            name: self.name.clone(),
            spec: self.spec(),
            version: self.version,
            effective_index: self.effective_index,
        }
    }
}
