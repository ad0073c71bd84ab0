//! Changes of a resource, with the meaning of a JSON merge patch (RFC 7396).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::name::LimitName;
use crate::model::spec::{
    Algorithm, Cost, InvalidResource, Kind, LeaseSpec, LimitDraft, QueueSpec, ResourceSpec, TrueUp,
};

/// A field of a patch: left alone, back to its default (`null`), or set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Patch<T> {
    /// Not mentioned.
    #[default]
    Keep,
    /// `null`.
    Reset,
    /// A value.
    Set(T),
}

impl<T: Clone> Patch<T> {
    fn apply(&self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Reset => *field = None,
            Self::Set(value) => *field = Some(value.clone()),
        }
    }

    fn apply_or_default(&self, field: &mut T, default: T) {
        match self {
            Self::Keep => {}
            Self::Reset => *field = default,
            Self::Set(value) => *field = value.clone(),
        }
    }
}

/// A change of one limit. On a name that has no limit yet it makes one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of LimitDraft")]
pub struct LimitPatch {
    pub kind: Patch<Kind>,
    pub algorithm: Patch<Algorithm>,
    pub quota: Patch<u64>,
    pub window_ms: Patch<u64>,
    pub burst: Patch<u64>,
    pub cost: Patch<Cost>,
    pub true_up: Patch<TrueUp>,
}

/// A change of the queue's bounds. Its stored form is in `model/forms.rs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of QueueSpec")]
pub struct QueuePatch {
    pub max_waiting: Patch<u32>,
    pub max_wait_ms: Patch<u64>,
    pub claim_ms: Patch<u64>,
}

/// A change of the leases' times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of LeaseSpec")]
pub struct LeasePatch {
    pub default_ttl_ms: Patch<u64>,
    pub max_ttl_ms: Patch<u64>,
}

/// A change of a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourcePatch {
    /// Limits to change or make; `None` removes one.
    pub limits: BTreeMap<LimitName, Option<LimitPatch>>,
    /// The queue's bounds; reset puts the defaults back.
    pub queue: Patch<QueuePatch>,
    /// The leases' times; reset puts the defaults back.
    pub lease: Patch<LeasePatch>,
}

impl LimitDraft {
    fn patched(mut self, patch: &LimitPatch) -> Self {
        // A limit that turns into another kind keeps its quota and cost; what belongs to the old
        // kind only goes with it.
        if let Patch::Set(Kind::Concurrency) = patch.kind {
            self.algorithm = None;
            self.window_ms = None;
            self.burst = None;
            self.true_up = None;
        }

        if let Patch::Set(Algorithm::SlidingWindow) = patch.algorithm {
            self.burst = None;
        }

        patch.kind.apply(&mut self.kind);
        patch.algorithm.apply(&mut self.algorithm);
        patch.quota.apply(&mut self.quota);
        patch.window_ms.apply(&mut self.window_ms);
        patch.burst.apply(&mut self.burst);
        patch.cost.apply(&mut self.cost);

        patch.true_up.apply(&mut self.true_up);
        self
    }
}

impl ResourceSpec {
    /// The resource that a patch makes of this one.
    ///
    /// # Errors
    /// [`InvalidResource`] when the result would make no sense, for example when its last limit is
    /// removed.
    pub fn patched(&self, patch: &ResourcePatch) -> Result<Self, InvalidResource> {
        let mut next = self.clone();
        for (name, change) in &patch.limits {
            match change {
                None => {
                    next.limits.remove(name);
                }
                Some(change) => {
                    let draft = self.limits.get(name).map(LimitDraft::from).unwrap_or_default();
                    next.limits.insert(name.clone(), draft.patched(change).finish(name)?);
                }
            }
        }

        match &patch.queue {
            Patch::Keep => {}
            Patch::Reset => next.queue = QueueSpec::default(),
            Patch::Set(change) => {
                let default = QueueSpec::default();
                change
                    .max_waiting
                    .apply_or_default(&mut next.queue.max_waiting, default.max_waiting);
                change
                    .max_wait_ms
                    .apply_or_default(&mut next.queue.max_wait_ms, default.max_wait_ms);
                change.claim_ms.apply_or_default(&mut next.queue.claim_ms, default.claim_ms);
            }
        }

        match &patch.lease {
            Patch::Keep => {}
            Patch::Reset => next.lease = LeaseSpec::default(),
            Patch::Set(change) => {
                let default = LeaseSpec::default();
                change
                    .default_ttl_ms
                    .apply_or_default(&mut next.lease.default_ttl_ms, default.default_ttl_ms);
                change.max_ttl_ms.apply_or_default(&mut next.lease.max_ttl_ms, default.max_ttl_ms);
            }
        }

        next.validate()?;
        Ok(next)
    }
}
