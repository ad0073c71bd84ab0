//! How much time a holder has left, as of the moment at which it is told.
//!
//! A lease is shown as of the log time of its entry. What passes until the answer leaves this node
//! is taken off by its clock, which no other node's is behind; what passes on the way from the
//! leader to another node is taken off there.

use std::time::Duration;

use ratequeue_limiter::{Grant, LeaseView, LogTime, Outcome, Phase, Reply};

fn grant_of(outcome: &mut Outcome) -> Option<&mut Grant> {
    match outcome {
        Ok(Reply::Acquired(view) | Reply::Extended(view) | Reply::Attended(view)) => grant(view),
        Ok(
            Reply::Put { .. }
            | Reply::Patched(_)
            | Reply::Deleted
            | Reply::Released(_)
            | Reply::Noted
            | Reply::Claimed { .. }
            | Reply::Fenced { .. }
            | Reply::Level(_),
        )
        | Err(_) => None,
    }
}

fn grant(view: &mut LeaseView) -> Option<&mut Grant> {
    match &mut view.phase {
        Phase::Held(grant) => Some(grant),
        Phase::Waiting(_) | Phase::Ended(_) => None,
    }
}

/// Shows the time left as of `now`, on the node that leads.
pub(crate) fn show(outcome: &mut Outcome, now: LogTime) {
    if let Some(grant) = grant_of(outcome) {
        grant.expires_in_ms = grant.expires_in_ms.min(grant.deadline.since_us(now) / 1000);
    }
}

/// Takes off what the answer may have been on its way.
pub(crate) fn take_off(outcome: &mut Outcome, way: Duration) {
    if let Some(grant) = grant_of(outcome) {
        shorten(grant, way);
    }
}

/// The same, of a lease that was looked at.
pub(crate) fn take_off_view(view: &mut LeaseView, way: Duration) {
    if let Some(grant) = grant(view) {
        shorten(grant, way);
    }
}

fn shorten(grant: &mut Grant, way: Duration) {
    // A started millisecond counts.
    let way_ms = u64::try_from(way.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
    grant.expires_in_ms = grant.expires_in_ms.saturating_sub(way_ms);
}
