//! What a request id stands for, and what the request asked for: the same request again must ask
//! for the same.
//!
//! The hashes are part of the state, so they must not change with the types. A field that is new is
//! hashed after these, and only when it is not what it was before there was such a field.

use crate::collections::hash::hash_of;
use crate::model::command::{Acquire, DeleteResource, PatchResource, PutResource};
use crate::model::name::{RequestId, ResourceName};
use crate::model::patch::ResourcePatch;
use crate::model::spec::ResourceSpec;
use crate::state::State;
use crate::state::indexes::Remembered;

impl Acquire {
    pub(crate) fn body(&self) -> u64 {
        let Self { request, resource, load, priority, wait_ms, ttl_ms, metadata } = self;
        hash_of(&(request, resource, load, priority, wait_ms, ttl_ms, metadata))
    }
}

impl PutResource {
    pub(crate) fn body(&self) -> u64 {
        let Self { request, resource, spec, condition } = self;
        let ResourceSpec { limits, queue, lease } = spec;
        hash_of(&(request, resource, (limits, queue, lease), condition))
    }
}

impl PatchResource {
    pub(crate) fn body(&self) -> u64 {
        let Self { request, resource, patch, condition } = self;
        let ResourcePatch { limits, queue, lease } = patch;
        hash_of(&(request, resource, (limits, queue, lease), condition))
    }
}

impl DeleteResource {
    pub(crate) fn body(&self) -> u64 {
        let Self { request, resource, condition } = self;
        hash_of(&(request, resource, condition))
    }
}

impl State {
    pub(crate) fn find_resource(&self, name: &ResourceName) -> Option<u64> {
        let is =
            |id: u64| self.records.resources.get(id).is_some_and(|resource| resource.name == *name);
        self.indexes.name_index.find(self.indexes.name_index.hash(name.as_str()), is)
    }

    /// What this request id stands for.
    pub(crate) fn find_request(&self, request: &RequestId) -> Option<Remembered> {
        let is = |number: u64| match Remembered::from_number(number) {
            Remembered::Lease(seq) => {
                self.records.leases.get(seq).is_some_and(|lease| lease.request == *request)
            }
            Remembered::Change(id) => {
                self.records.remembered.get(&id).is_some_and(|change| change.request == *request)
            }
        };
        let requests = &self.indexes.requests;
        requests.find(requests.hash(request.as_str()), is).map(Remembered::from_number)
    }
}
