//! Steps in the words of the core.

use std::collections::BTreeMap;

use ratequeue_limiter as core;
use ratequeue_limiter::{
    Algorithm, LeaseId, LeaseSpec, LimitDraft, LimitName, LimitPatch, Patch, QueueSpec,
};

use super::{Acquire, Change, Command, Condition, Cost, Kind, Limit, Load, Spec, TrueUp};

/// An id that no lease has.
const NOBODY: LeaseId = LeaseId { seq: 1 << 40, tag: 7 };

fn limit_name(name: &str) -> LimitName {
    LimitName::new(name).unwrap()
}

pub fn resource_name(name: &str) -> core::ResourceName {
    core::ResourceName::new(name).unwrap()
}

fn request(number: u64) -> core::RequestId {
    core::RequestId::new(&format!("r{number}")).unwrap()
}

fn load(load: &Load) -> core::Load {
    match load {
        Load::Scalar(n) => core::Load::Scalar(*n),
        Load::Map { a, b } => {
            core::Load::Map(BTreeMap::from([(limit_name("a"), *a), (limit_name("b"), *b)]))
        }
    }
}

fn cost(cost: Cost) -> core::Cost {
    match cost {
        Cost::One => core::Cost::One,
        Cost::Load => core::Cost::Load,
        Cost::DimensionA => core::Cost::Dimension(limit_name("a")),
    }
}

fn true_up(true_up: TrueUp) -> core::TrueUp {
    match true_up {
        TrueUp::Both => core::TrueUp::Both,
        TrueUp::DebitOnly => core::TrueUp::DebitOnly,
        TrueUp::None => core::TrueUp::None,
    }
}

fn draft(limit: &Limit) -> LimitDraft {
    let draft = LimitDraft {
        quota: Some(limit.quota),
        cost: Some(cost(limit.cost)),
        ..LimitDraft::default()
    };

    let algorithm = match limit.kind {
        Kind::Concurrency => return LimitDraft { kind: Some(core::Kind::Concurrency), ..draft },
        Kind::Window => Algorithm::SlidingWindow,
        Kind::Bucket => Algorithm::TokenBucket,
    };

    LimitDraft {
        kind: Some(core::Kind::Rate),
        algorithm: Some(algorithm),
        window_ms: Some(limit.window_ms),
        burst: limit.burst,
        true_up: Some(true_up(limit.true_up)),
        ..draft
    }
}

fn spec(spec: &Spec) -> core::ResourceSpec {
    let limits = spec.limits.iter().map(|(name, limit)| (limit_name(name), draft(limit))).collect();
    let queue = QueueSpec {
        max_waiting: spec.max_waiting,
        max_wait_ms: spec.max_wait_ms,
        claim_ms: spec.claim_ms,
    };
    let lease = LeaseSpec { default_ttl_ms: spec.default_ttl_ms, max_ttl_ms: spec.max_ttl_ms };
    core::ResourceSpec::new(limits, queue, lease).unwrap()
}

fn set<T>(value: Option<T>) -> Patch<T> {
    value.map_or(Patch::Reset, Patch::Set)
}

fn change(change: &Change) -> Option<LimitPatch> {
    let mut patch = LimitPatch::default();
    match change {
        Change::Remove | Change::ClaimMs(_) => return None,
        Change::Quota(quota) => patch.quota = Patch::Set(*quota),
        Change::Window(window_ms) => patch.window_ms = Patch::Set(*window_ms),
        Change::Burst(burst) => patch.burst = set(*burst),
        Change::Cost(next) => patch.cost = Patch::Set(cost(*next)),
        Change::Add(limit) => {
            let draft = draft(limit);
            patch = LimitPatch {
                kind: set(draft.kind),
                algorithm: set(draft.algorithm),
                quota: set(draft.quota),
                window_ms: set(draft.window_ms),
                burst: set(draft.burst),
                cost: set(draft.cost),
                true_up: set(draft.true_up),
            };
        }
    }

    Some(patch)
}

fn condition(condition: Condition) -> core::Condition {
    match condition {
        Condition::Any => core::Condition::Any,
        Condition::Absent => core::Condition::Absent,
        Condition::Version(version) => core::Condition::Version(version),
    }
}

/// A command of the core; `lease_of` knows the leases of requests.
pub fn command(command: &Command, lease_of: impl Fn(u64) -> Option<LeaseId>) -> core::Command {
    let lease_of = |request: u64| lease_of(request).unwrap_or(NOBODY);
    match command {
        Command::Put { request: id, resource, spec: next, condition: when } => {
            core::Command::PutResource(core::PutResource {
                request: request(*id),
                resource: resource_name(resource),
                spec: spec(next),
                condition: condition(*when),
            })
        }
        Command::Patch { request: id, resource, limit, change: next, condition: when } => {
            let patch = match next {
                Change::ClaimMs(claim_ms) => {
                    let queue = core::QueuePatch {
                        claim_ms: set(*claim_ms),
                        ..core::QueuePatch::default()
                    };
                    core::ResourcePatch {
                        queue: Patch::Set(queue),
                        ..core::ResourcePatch::default()
                    }
                }
                next => {
                    let limits = BTreeMap::from([(limit_name(limit), change(next))]);
                    core::ResourcePatch { limits, ..core::ResourcePatch::default() }
                }
            };
            core::Command::PatchResource(core::PatchResource {
                request: request(*id),
                resource: resource_name(resource),
                patch,
                condition: condition(*when),
            })
        }
        Command::Delete { request: id, resource } => {
            core::Command::DeleteResource(core::DeleteResource {
                request: request(*id),
                resource: resource_name(resource),
                condition: core::Condition::Any,
            })
        }
        Command::Acquire(asked, 0) => core::Command::Acquire(acquire(asked)),
        Command::Acquire(asked, call) => {
            core::Command::Call(core::Call { acquire: acquire(asked), call: *call })
        }
        Command::Attend { request, call } => {
            core::Command::Attend(core::Attend { lease: lease_of(*request), call: *call })
        }
        Command::Detach { calls, for_good } => core::Command::Detach(core::Detach {
            calls: calls.iter().map(|(request, call)| (lease_of(*request), *call)).collect(),
            for_good: *for_good,
        }),
        Command::Release { request, used } => core::Command::Release(core::Release {
            lease: lease_of(*request),
            used: used.as_ref().map(load),
        }),
        Command::Extend { request, ttl_ms } => core::Command::Extend(core::Extend {
            lease: lease_of(*request),
            ttl_ms: ttl_ms.map(ttl),
        }),
        Command::Keepalive { requests } => core::Command::Keepalive(core::Keepalive {
            leases: requests.iter().map(|request| lease_of(*request)).collect(),
        }),
        Command::Tick => core::Command::Tick,
    }
}

fn acquire(asked: &Acquire) -> core::Acquire {
    core::Acquire {
        request: request(asked.request),
        resource: resource_name(asked.resource),
        load: load(&asked.load),
        priority: core::Priority::new(asked.priority.into()).unwrap(),
        wait_ms: core::WaitMs::new(asked.wait_ms).unwrap(),
        ttl_ms: asked.ttl_ms.map(ttl),
        metadata: core::Metadata::default(),
    }
}

fn ttl(ms: u64) -> core::TtlMs {
    core::TtlMs::new(ms).unwrap()
}
