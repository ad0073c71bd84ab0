//! Between the wire and the core: wire types to commands, views to wire types.

use std::collections::BTreeMap;
use std::time::Duration;

use ratequeue_api::lease::{LeaseState as WireState, Load as WireLoad};
use ratequeue_api::resource::{
    Algorithm as WireAlgorithm, Kind as WireKind, LeaseTimes, LimitPatch as WireLimitPatch,
};
use ratequeue_api::resource::{ResourcePatch as WirePatch, TrueUp as WireTrueUp};
use ratequeue_api::{Lease, Limit, Queue, Resource, ResourceView as WireView};
use ratequeue_limiter::{
    Algorithm, Cost, InvalidResource, Kind, LeasePatch, LeaseSpec, LeaseState, LeaseView,
    LimitDraft, LimitName, LimitPatch, Load, Patch, Phase, QueuePatch, QueueSpec, ResourcePatch,
    ResourceSpec, ResourceView, TrueUp,
};

use super::problem::Failure;
use ratequeue_api::ErrorCode;

fn limit_name(name: &str) -> Result<LimitName, Failure> {
    LimitName::new(name).map_err(|bad| Failure::bad_request(format!("limits.{name}: {bad}")))
}

fn invalid(error: InvalidResource) -> Failure {
    Failure::new(ErrorCode::InvalidResource, format!("{error}."))
}

fn kind(kind: WireKind) -> Kind {
    match kind {
        WireKind::Rate => Kind::Rate,
        WireKind::Concurrency => Kind::Concurrency,
    }
}

fn algorithm(algorithm: WireAlgorithm) -> Algorithm {
    match algorithm {
        WireAlgorithm::SlidingWindow => Algorithm::SlidingWindow,
        WireAlgorithm::TokenBucket => Algorithm::TokenBucket,
    }
}

fn true_up(true_up: WireTrueUp) -> TrueUp {
    match true_up {
        WireTrueUp::Both => TrueUp::Both,
        WireTrueUp::DebitOnly => TrueUp::DebitOnly,
        WireTrueUp::None => TrueUp::None,
    }
}

fn cost(limit: &str, text: &str) -> Result<Cost, Failure> {
    match text {
        "one" => Ok(Cost::One),
        "load" => Ok(Cost::Load),
        dimension => match LimitName::new(dimension) {
            Ok(name) => Ok(Cost::Dimension(name)),
            Err(bad) => Err(Failure::bad_request(format!(
                "limits.{limit}.cost must be one, load or a dimension: {bad}."
            ))),
        },
    }
}

pub fn resource_spec(resource: &Resource) -> Result<ResourceSpec, Failure> {
    let mut limits = BTreeMap::new();
    for (name, limit) in &resource.limits {
        let draft = LimitDraft {
            kind: Some(kind(limit.kind)),
            algorithm: limit.algorithm.map(algorithm),
            quota: Some(limit.quota),
            window_ms: limit.window_ms,
            burst: limit.burst,
            cost: limit.cost.as_deref().map(|text| cost(name, text)).transpose()?,
            true_up: limit.true_up.map(true_up),
        };
        limits.insert(limit_name(name)?, draft);
    }

    let queue = QueueSpec {
        max_waiting: u32::try_from(resource.queue.max_waiting).unwrap_or(u32::MAX),
        max_wait_ms: resource.queue.max_wait_ms,
        claim_ms: resource.queue.claim_ms,
    };

    let lease = LeaseSpec {
        default_ttl_ms: resource.lease.default_ttl_ms,
        max_ttl_ms: resource.lease.max_ttl_ms,
    };

    ResourceSpec::new(limits, queue, lease).map_err(invalid)
}

fn patch<T, U>(field: Option<Option<T>>, map: impl FnOnce(T) -> U) -> Patch<U> {
    match field {
        None => Patch::Keep,
        Some(None) => Patch::Reset,
        Some(Some(value)) => Patch::Set(map(value)),
    }
}

fn limit_patch(name: &str, change: &WireLimitPatch) -> Result<LimitPatch, Failure> {
    let cost = match &change.cost {
        None => Patch::Keep,
        Some(None) => Patch::Reset,
        Some(Some(text)) => Patch::Set(cost(name, text)?),
    };
    Ok(LimitPatch {
        kind: patch(change.kind, kind),
        algorithm: patch(change.algorithm, algorithm),
        quota: patch(change.quota, |n| n),
        window_ms: patch(change.window_ms, |n| n),
        burst: patch(change.burst, |n| n),
        cost,
        true_up: patch(change.true_up, true_up),
    })
}

pub fn resource_patch(change: &WirePatch) -> Result<ResourcePatch, Failure> {
    let mut limits = BTreeMap::new();
    for (name, change) in &change.limits {
        let patch = change.as_ref().map(|change| limit_patch(name, change)).transpose()?;
        limits.insert(limit_name(name)?, patch);
    }

    let queue = patch(change.queue, |queue| QueuePatch {
        max_waiting: patch(queue.max_waiting, |n| u32::try_from(n).unwrap_or(u32::MAX)),
        max_wait_ms: patch(queue.max_wait_ms, |n| n),
        claim_ms: patch(queue.claim_ms, |n| n),
    });

    let lease = patch(change.lease, |lease| LeasePatch {
        default_ttl_ms: patch(lease.default_ttl_ms, |n| n),
        max_ttl_ms: patch(lease.max_ttl_ms, |n| n),
    });
    Ok(ResourcePatch { limits, queue, lease })
}

fn wire_limit(spec: &ratequeue_limiter::LimitSpec) -> Limit {
    let draft = LimitDraft::from(spec);
    Limit {
        kind: if spec.rule.is_rate() { WireKind::Rate } else { WireKind::Concurrency },
        algorithm: draft.algorithm.map(|algorithm| match algorithm {
            Algorithm::SlidingWindow => WireAlgorithm::SlidingWindow,
            Algorithm::TokenBucket => WireAlgorithm::TokenBucket,
        }),
        quota: spec.rule.quota(),
        window_ms: draft.window_ms,
        burst: draft.burst,
        cost: Some(match &spec.cost {
            Cost::One => "one".to_owned(),
            Cost::Load => "load".to_owned(),
            Cost::Dimension(name) => name.to_string(),
        }),
        true_up: draft.true_up.map(|true_up| match true_up {
            TrueUp::Both => WireTrueUp::Both,
            TrueUp::DebitOnly => WireTrueUp::DebitOnly,
            TrueUp::None => WireTrueUp::None,
        }),
    }
}

pub fn resource_view(view: &ResourceView, placement: &str) -> WireView {
    WireView {
        name: view.name.to_string(),
        placement: placement.to_owned(),
        limits: view
            .spec
            .limits
            .iter()
            .map(|(name, spec)| (name.to_string(), wire_limit(spec)))
            .collect(),
        queue: Queue {
            max_waiting: u64::from(view.spec.queue.max_waiting),
            max_wait_ms: view.spec.queue.max_wait_ms,
            claim_ms: view.spec.queue.claim_ms,
        },
        lease: LeaseTimes {
            default_ttl_ms: view.spec.lease.default_ttl_ms,
            max_ttl_ms: view.spec.lease.max_ttl_ms,
        },
        version: view.version,
        effective_index: view.effective_index,
    }
}

/// A load whose names the wire type has checked already.
pub fn load(load: WireLoad) -> Result<Load, Failure> {
    match load {
        WireLoad::One(n) => Ok(Load::Scalar(n)),
        WireLoad::Map(map) => {
            let named =
                map.into_iter().map(|(name, n)| LimitName::new(&name).map(|name| (name, n)));
            let map = named
                .collect::<Result<_, _>>()
                .map_err(|bad| Failure::bad_request(format!("load: {bad}")))?;
            Ok(Load::Map(map))
        }
    }
}

pub fn wire_load(load: &Load) -> WireLoad {
    match load {
        Load::Scalar(n) => WireLoad::One(*n),
        Load::Map(map) => {
            WireLoad::Map(map.iter().map(|(name, n)| (name.to_string(), *n)).collect())
        }
    }
}

pub fn amounts(amounts: &[(LimitName, u64)]) -> BTreeMap<String, u64> {
    amounts.iter().map(|(name, n)| (name.to_string(), *n)).collect()
}

pub fn violated(limit: &Option<LimitName>) -> String {
    limit.as_ref().map_or_else(|| "queue".to_owned(), ToString::to_string)
}

pub fn lease_state(state: LeaseState) -> WireState {
    match state {
        LeaseState::Waiting => WireState::Waiting,
        LeaseState::Held => WireState::Held,
        LeaseState::Released => WireState::Released,
        LeaseState::Expired => WireState::Expired,
        LeaseState::Cancelled => WireState::Cancelled,
        LeaseState::TimedOut => WireState::TimedOut,
        LeaseState::Rejected => WireState::Rejected,
        LeaseState::Lapsed => WireState::Lapsed,
    }
}

/// Takes off what has passed since the time left was right. A started millisecond counts.
pub fn take_off(lease: &mut Lease, passed: Duration) {
    let passed_ms = u64::try_from(passed.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
    lease.expires_in_ms = lease.expires_in_ms.map(|left| left.saturating_sub(passed_ms));
}

/// A lease as an acquire answers it; `in_full` also says what was asked for.
pub fn lease(view: &LeaseView, group: &str, in_full: bool) -> Lease {
    let mut lease = Lease {
        id: format!("{group}.{}", view.id),
        resource: view.resource.to_string(),
        state: lease_state(view.state()),
        fencing_token: None,
        charged: None,
        expires_in_ms: None,
        waited_ms: None,
        log_index: None,
        position: None,
        load_ahead: None,
        retry_after_ms: None,
        ended_index: None,
        load: in_full.then(|| wire_load(&view.load)),
        priority: in_full.then(|| u64::from(view.priority)),
        metadata: in_full.then(|| view.metadata.clone().into()),
    };

    match &view.phase {
        Phase::Waiting(place) => {
            lease.position = Some(place.position);
            lease.load_ahead = Some(place.load_ahead);
            lease.retry_after_ms = Some(place.retry_after_ms);
        }
        Phase::Held(grant) => {
            lease.fencing_token = Some(grant.fencing_token);
            lease.charged = Some(amounts(&grant.charged));
            lease.expires_in_ms = Some(grant.expires_in_ms);
            lease.waited_ms = Some(grant.waited_ms);
            lease.log_index = Some(grant.log_index);
        }
        Phase::Ended(end) => {
            lease.fencing_token = end.fencing_token;
            lease.ended_index = Some(end.ended_index);
        }
    }

    lease
}
