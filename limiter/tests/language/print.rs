//! How the golden scripts show outcomes, events and views: one short line each, with leases named
//! by their request keys.

use std::collections::BTreeMap;

use ratequeue_limiter::{
    Blocked, ClaimView, Cost, Event, EventKind, LeaseId, LeaseView, LimitName, Load, Outcome,
    Phase, Placement, Refusal, Reply, ResourceUsage, ResourceView, Rule, TrueUp, caps,
};

/// More events than this are counted rather than listed.
const EVENTS_LISTED_MAX: usize = 12;

/// The names of the leases.
#[derive(Default)]
pub struct Labels(BTreeMap<LeaseId, String>);

pub fn time(us: u64) -> String {
    match us {
        us if us.is_multiple_of(1_000_000) => format!("{}s", us / 1_000_000),
        us if us.is_multiple_of(1_000) => format!("{}ms", us / 1_000),
        us => format!("{us}us"),
    }
}

fn ms(ms: u64) -> String {
    time(ms * 1000)
}

fn amounts(amounts: &[(LimitName, u64)]) -> String {
    let amounts: Vec<_> = amounts.iter().map(|(name, n)| format!("{name}={n}")).collect();
    if amounts.is_empty() { "nothing".to_owned() } else { amounts.join(" ") }
}

fn blocked(blocked: &Blocked) -> String {
    let names: Vec<_> = blocked
        .violated
        .iter()
        .map(|name| name.as_ref().map_or("queue", LimitName::as_str))
        .collect();
    format!("{}, retry after {}", names.join(" "), ms(blocked.retry_after_ms))
}

pub fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::LimitExceeded(by) => format!("limit-exceeded: {}", blocked(by)),
        Refusal::QueueFull(by) => format!("queue-full: {}", blocked(by)),
        Refusal::WaitTimeout(by) => format!("wait-timeout: {}", blocked(by)),
        Refusal::LoadExceedsCapacity { limit, cost, capacity } => {
            format!("load-exceeds-capacity: {limit} costs {cost} of at most {capacity}")
        }
        Refusal::DimensionNeeded { limit, dimension } => {
            format!("dimension-needed: {limit} counts {dimension}")
        }
        Refusal::InvalidResource(bad) => format!("invalid: {bad}"),
        Refusal::VersionConflict { version } => format!("version-conflict: version {version:?}"),
        Refusal::Malformed(text) => format!("malformed: {text}"),
        Refusal::LeaseNotHeld(now) => format!("lease-not-held: {}", now.as_str()),
        Refusal::LeaseEnded(now) => format!("lease-ended: {}", now.as_str()),
        Refusal::Internal(what) => format!("internal: {what}"),
        Refusal::ResourceNotFound => "resource-not-found".to_owned(),
        Refusal::TooManyResources => "too-many-resources".to_owned(),
        Refusal::TooManyLeases => "too-many-leases".to_owned(),
        Refusal::IdempotencyConflict => "idempotency-conflict".to_owned(),
        Refusal::LeaseNotFound => "lease-not-found".to_owned(),
        Refusal::LeaseExpired => "lease-expired".to_owned(),
        Refusal::ResourceDeleted => "resource-deleted".to_owned(),
        Refusal::ResourceExists => "resource-exists".to_owned(),
        Refusal::ClaimOutdated { fence } => format!("claim-outdated: fenced up to {fence}"),
        Refusal::NamePast(past) => {
            let places: Vec<_> = past.placements.iter().map(Placement::as_str).collect();
            format!("name-past: was in {}, number {}", places.join(", "), past.number)
        }
    }
}

/// A lease without its name.
pub fn lease(view: &LeaseView) -> String {
    match &view.phase {
        Phase::Waiting(place) => format!(
            "waiting, place {}, load ahead {}, retry after {}, until {}",
            place.position,
            place.load_ahead,
            ms(place.retry_after_ms),
            time(place.waits_until.0)
        ),
        Phase::Held(grant) => format!(
            "held, token {}, charged {}, waited {}, until {} (in {}), granted @{}",
            grant.fencing_token,
            amounts(&grant.charged),
            ms(grant.waited_ms),
            time(grant.deadline.0),
            ms(grant.expires_in_ms),
            grant.log_index
        ),
        Phase::Ended(end) => {
            let token = end.fencing_token.map_or(String::new(), |token| format!(", token {token}"));
            let why =
                end.refusal.as_ref().map_or(String::new(), |why| format!(", {}", refusal(why)));
            format!("{} @{}{token}{why}", end.state.as_str(), end.ended_index)
        }
    }
}

/// What a caller said of a lease, for the view of one.
pub fn said(view: &LeaseView) -> String {
    let load = match &view.load {
        Load::Scalar(load) => load.to_string(),
        Load::Map(map) => {
            map.iter().map(|(name, n)| format!("{name}.{n}")).collect::<Vec<_>>().join("/")
        }
    };
    let meta: Vec<_> = view.metadata.iter().map(|(key, value)| format!(" {key}={value}")).collect();
    format!("{} load {load} prio {}{}", view.resource, view.priority, meta.concat())
}

/// A claim.
pub fn claim(view: &ClaimView) -> String {
    let token = if view.fencing_token > 0 {
        format!(", tokens after {}", view.fencing_token)
    } else {
        String::new()
    };
    format!(
        "{} in {}, number {}, at {}{token}",
        view.resource,
        view.placement,
        view.number,
        time(view.at.0)
    )
}

/// A resource, a line for each limit.
pub fn resource(view: &ResourceView) -> String {
    let claim = match view.spec.queue.claim_ms {
        caps::CLAIM_MS_DEFAULT => String::new(),
        claim_ms => format!(", claim within {}", ms(claim_ms)),
    };

    let mut lines = vec![format!(
        "{} version {} @{}, max_waiting {}, max_wait {}, ttl {}, max_ttl {}{claim}",
        view.name,
        view.version,
        view.effective_index,
        view.spec.queue.max_waiting,
        ms(view.spec.queue.max_wait_ms),
        ms(view.spec.lease.default_ttl_ms),
        ms(view.spec.lease.max_ttl_ms)
    )];

    for (name, spec) in &view.spec.limits {
        let rule = match spec.rule {
            Rule::TokenBucket { quota, window_ms, burst } => {
                let burst = burst.map_or("quota".to_owned(), |burst| burst.to_string());
                format!("bucket {quota} per {}, burst {burst}", ms(window_ms))
            }
            Rule::SlidingWindow { quota, window_ms } => {
                format!("window {quota} per {}", ms(window_ms))
            }
            Rule::Concurrency { quota } => format!("concurrency {quota}"),
        };
        let cost = match &spec.cost {
            Cost::One => "one",
            Cost::Load => "load",
            Cost::Dimension(name) => name.as_str(),
        };
        let true_up = match spec.true_up {
            TrueUp::Both => "",
            TrueUp::DebitOnly => ", true_up debit_only",
            TrueUp::None => ", true_up none",
        };
        lines.push(format!("  {name}: {rule}, cost {cost}{true_up}"));
    }

    lines.join("\n")
}

/// How a resource stands.
pub fn usage(usage: &ResourceUsage) -> String {
    let mut line = format!("held {}", usage.held);
    if usage.queue_depth > 0 {
        line += &format!(
            ", waiting {} (load {}), oldest {}",
            usage.queue_depth,
            usage.queue_load,
            ms(usage.oldest_wait_ms)
        );
    }

    for limit in &usage.limits {
        line += &format!("; {} {}/{}", limit.name, limit.used, limit.capacity);
        if limit.used + limit.remaining != limit.capacity {
            line += &format!(" (remaining {})", limit.remaining);
        }
        line += &limit.next_in_ms.map_or(String::new(), |next| format!(" next in {}", ms(next)));
    }

    line
}

pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Err(why) => format!("refused, {}", refusal(why)),
        Ok(Reply::Put { created, resource }) => {
            let verb = if *created { "created" } else { "replaced" };
            format!("{verb}, version {} @{}", resource.version, resource.effective_index)
        }
        Ok(Reply::Patched(resource)) => {
            format!("patched, version {} @{}", resource.version, resource.effective_index)
        }
        Ok(Reply::Deleted) => "deleted".to_owned(),
        Ok(Reply::Acquired(view)) => lease(view),
        Ok(Reply::Extended(view)) => format!("extended, {}", lease(view)),
        Ok(Reply::Released(released)) => {
            let mut line = released.state.as_str().to_owned();
            if !released.refunded.is_empty() {
                line += &format!(", refunded {}", amounts(&released.refunded));
            }
            if !released.debited.is_empty() {
                line += &format!(", debited {}", amounts(&released.debited));
            }
            line
        }
        Ok(Reply::Noted) => "noted".to_owned(),
        Ok(Reply::Claimed { claim: made, fresh }) => {
            format!("{}, {}", if *fresh { "claimed" } else { "claimed before" }, claim(made))
        }
        Ok(Reply::Attended(view)) => format!("attended, {}", lease(view)),
        Ok(Reply::Level(level)) => format!("level {level}"),
        Ok(Reply::Fenced { fencing_token }) => format!("fenced, last token {fencing_token}"),
    }
}

impl Labels {
    /// Names a lease after its request; a key that names another one already is marked.
    pub fn name(&mut self, id: LeaseId, key: &str) {
        if self.0.contains_key(&id) {
            return;
        }
        let mut label = key.to_owned();
        while self.0.values().any(|other| *other == label) {
            label.push('\'');
        }
        self.0.insert(id, label);
    }

    pub fn of(&self, id: LeaseId) -> &str {
        self.0.get(&id).map_or("?", String::as_str)
    }

    fn event(&self, event: &Event) -> String {
        let name = &event.resource;
        match &event.kind {
            EventKind::Queued { lease, load, .. } => {
                format!("{name}: {} queued, load {load}", self.of(*lease))
            }
            EventKind::Granted { lease, load, fencing_token, waited_us, .. } => {
                let waited = time(*waited_us);
                format!(
                    "{name}: {} granted, load {load}, token {fencing_token}, waited {waited}",
                    self.of(*lease)
                )
            }
            EventKind::Ended { lease, load, state: end, .. } => {
                format!("{name}: {} {}, load {load}", self.of(*lease), end.as_str())
            }
            EventKind::Refused { load, .. } => format!("{name}: refused, load {load}"),
            EventKind::LimitsChanged { version } => {
                format!("{name}: limits changed, version {version}")
            }
            EventKind::Deleted => format!("{name}: deleted"),
        }
    }

    /// A line for each event, or for each kind of event when there are many.
    pub fn events(&self, events: &[Event]) -> Vec<String> {
        if events.len() <= EVENTS_LISTED_MAX {
            return events.iter().map(|event| format!("  . {}", self.event(event))).collect();
        }

        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for event in events {
            let kind = match &event.kind {
                EventKind::Queued { .. } => "queued",
                EventKind::Granted { .. } => "granted",
                EventKind::Ended { state: end, .. } => end.as_str(),
                EventKind::Refused { .. } => "refused",
                EventKind::LimitsChanged { .. } => "limits changed",
                EventKind::Deleted => "deleted",
            };
            *counts.entry(format!("{}: {kind}", event.resource)).or_default() += 1;
        }

        counts.into_iter().map(|(kind, n)| format!("  . {kind} {n} times")).collect()
    }
}
