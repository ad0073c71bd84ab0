//! An event as callers see it.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ratequeue_api::ErrorCode;
use ratequeue_api::event::{Event, EventKind};
use ratequeue_limiter::{self as core, LeaseId, LeaseState, Rejection};
use ratequeue_raft::{EventBatch, Group, Happening};

use crate::node::event_calls::EventFilter;

/// The events of these batches that pass, as callers see them.
pub fn all(group: &Group, batches: &[Arc<EventBatch>], filter: &EventFilter) -> Vec<Event> {
    let mut events = Vec::new();
    for batch in batches {
        match &batch.what {
            Happening::Events(happened) => {
                for (event, ordinal) in happened.iter().zip(1..) {
                    let kind = kind_of(&event.kind);
                    if filter.passes(kind, Some(&event.resource)) {
                        events.push(of_resource(new(group, batch, ordinal, kind), event));
                    }
                }
            }
            Happening::NewLeader { leader, term } => {
                if filter.passes(EventKind::LeaderChanged, None) {
                    let event = new(group, batch, 1, EventKind::LeaderChanged);
                    events.push(Event { leader: Some(*leader), term: Some(*term), ..event });
                }
            }
        }
    }
    events
}

/// An event that says only where it stands.
fn new(group: &Group, batch: &EventBatch, ordinal: u32, kind: EventKind) -> Event {
    Event {
        kind,
        group: group.name().to_owned(),
        log_index: batch.index,
        ordinal,
        at_ms: wall_ms(batch.at),
        resource: None,
        id: None,
        load: None,
        priority: None,
        fencing_token: None,
        waited_ms: None,
        reason: None,
        version: None,
        leader: None,
        term: None,
        queue_depth: None,
        held: None,
    }
}

/// An instant as milliseconds since 1970. To be shown, never to be decided by.
fn wall_ms(at: Instant) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_sub(at.elapsed()).as_millis()).unwrap_or(u64::MAX)
}

fn kind_of(kind: &core::EventKind) -> EventKind {
    match kind {
        core::EventKind::Queued { .. } => EventKind::Queued,
        core::EventKind::Granted { .. } => EventKind::Granted,
        core::EventKind::Ended { state, .. } => match state {
            LeaseState::Released => EventKind::Released,
            LeaseState::Expired => EventKind::Expired,
            LeaseState::Cancelled => EventKind::Cancelled,
            LeaseState::TimedOut => EventKind::TimedOut,
            LeaseState::Lapsed => EventKind::Lapsed,
            // No lease ends so that it waits or is held.
            LeaseState::Rejected | LeaseState::Waiting | LeaseState::Held => EventKind::Rejected,
        },
        core::EventKind::Refused { .. } => EventKind::Rejected,
        core::EventKind::LimitsChanged { .. } => EventKind::LimitChanged,
        core::EventKind::Deleted => EventKind::Deleted,
    }
}

fn reason(rejection: Rejection) -> ErrorCode {
    match rejection {
        Rejection::LimitExceeded => ErrorCode::LimitExceeded,
        Rejection::QueueFull => ErrorCode::QueueFull,
        Rejection::LoadExceedsCapacity => ErrorCode::LoadExceedsCapacity,
        Rejection::DimensionNeeded => ErrorCode::BadRequest,
        Rejection::TooManyLeases => ErrorCode::TooManyRequests,
        Rejection::ResourceDeleted => ErrorCode::ResourceDeleted,
    }
}

/// What happened to a resource, at the place where this event stands.
fn of_resource(at: Event, event: &core::Event) -> Event {
    let standing = event.standing;
    let resource = Event {
        resource: Some(event.resource.to_string()),
        queue_depth: standing.map(|standing| standing.queue_depth),
        held: standing.map(|standing| standing.held),
        ..at
    };
    let group = resource.group.clone();
    let of_lease = |lease: &LeaseId, load: u64, priority: u8| Event {
        id: Some(format!("{group}.{lease}")),
        load: Some(load),
        priority: Some(priority),
        ..resource.clone()
    };

    match &event.kind {
        core::EventKind::Queued { lease, load, priority } => of_lease(lease, *load, *priority),
        core::EventKind::Granted { lease, load, priority, fencing_token, waited_us } => Event {
            fencing_token: Some(*fencing_token),
            waited_ms: Some(waited_us / 1000),
            ..of_lease(lease, *load, *priority)
        },
        core::EventKind::Ended { lease, load, priority, rejection, .. } => {
            Event { reason: rejection.map(reason), ..of_lease(lease, *load, *priority) }
        }
        core::EventKind::Refused { load, priority, rejection } => Event {
            load: Some(*load),
            priority: Some(*priority),
            reason: Some(reason(*rejection)),
            ..resource
        },
        core::EventKind::LimitsChanged { version } => Event { version: Some(*version), ..resource },
        core::EventKind::Deleted => resource,
    }
}
