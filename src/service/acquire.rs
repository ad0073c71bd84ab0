//! Acquire, and waiting for its turn.

use std::time::{Duration, Instant};

use ratequeue_limiter::{Acquire, LeaseState, LeaseView, LimitUsage, Phase, Refusal, Reply};
use ratequeue_raft::{Group, SubmitError, Woken};

use super::error::{Cause, ServiceError};
use super::router::{CallKind, Handled, Router, decided};
use super::unanswered::Unanswered;
use super::{Answered, Incoming, Service};
use crate::node::Node;

/// How long a granted call waits for this node to catch up with the leader, to tell what is left.
const CATCH_UP: Duration = Duration::from_millis(20);

/// A lease that is held, or that still waits.
#[derive(Debug)]
pub struct Acquired {
    pub lease: LeaseView,
    /// When the lease was as it says.
    pub at: Instant,
    /// What is left of the limits, for one that is held.
    pub limits: Option<Vec<LimitUsage>>,
}

impl Service {
    /// Acquires, and waits at most `hold` for its turn.
    ///
    /// # Errors
    /// Why it was not granted and does not wait either.
    pub async fn acquire(
        &self,
        acquire: &Acquire,
        hold: Duration,
        call: &Incoming,
    ) -> Result<Answered<Acquired>, ServiceError> {
        if self.node.is_stopping() {
            return Err(Cause::ShuttingDown.into());
        }
        let (node, can_return) = (&*self.node, call.can_return);
        let router = Router::new(node, call, CallKind::Acquire)?;
        router
            .by_resource(&acquire.resource, |group| decide(node, group, acquire, can_return, hold))
            .await
    }
}

async fn decide(
    node: &Node,
    group: Group,
    acquire: &Acquire,
    can_return: bool,
    hold: Duration,
) -> Handled<Acquired> {
    let mut unanswered = Unanswered::new(&group, can_return);
    let answer = decide_unanswered(node, &group, acquire, &mut unanswered, hold).await;
    match &answer {
        Ok(_) => unanswered.answered(),
        Err(_) => unanswered.failed(),
    }
    answer
}

async fn decide_unanswered(
    node: &Node,
    group: &Group,
    acquire: &Acquire,
    unanswered: &mut Unanswered,
    hold: Duration,
) -> Handled<Acquired> {
    let resource = &acquire.resource;
    let about = |error: SubmitError| ServiceError::from(error).about(resource);
    let applied = unanswered.acquire(acquire.clone()).await.map_err(about)?;
    let index = applied.index;
    let (reply, _) = decided(applied).map_err(|refused| refused.about(resource))?;
    let Reply::Acquired(view) = reply else { return Err(ServiceError::contradiction()) };

    let view = match view.phase {
        Phase::Waiting(_) => {
            let waited = wait(node, group, unanswered, view, index, hold).await;
            // It has a place by now, whatever came after.
            waited.map_err(ServiceError::after_effect)?
        }
        Phase::Held(_) | Phase::Ended(_) => view,
    };
    let at = Instant::now();

    // What is left of the limits is read here, where the grant of a leader elsewhere comes a moment
    // later.
    let _ = tokio::time::timeout(CATCH_UP, group.wait_applied(index)).await;
    acquired(group, view, at, index)
}

/// Waits at most `hold` for a lease to leave the queue; gives the lease as it is then. `waiting` is
/// how it was at a log entry of this index.
///
/// What this node has applied tells when the wait is over, and no more: that the lease is held is
/// what the leader says.
///
/// # Errors
/// When the node stops, or the leader cannot be asked.
pub async fn wait(
    node: &Node,
    group: &Group,
    unanswered: &mut Unanswered,
    waiting: LeaseView,
    index: u64,
    hold: Duration,
) -> Result<LeaseView, ServiceError> {
    if !hold.is_zero() {
        let mut attachment = group.attach(waiting.id, index);
        tokio::select! {
            woken = attachment.ended_waiting() => match woken {
                Woken::NoLongerWaiting => {}
                Woken::ShuttingDown => return Err(Cause::ShuttingDown.into()),
            },
            () = tokio::time::sleep(hold) => {}
            () = node.stopping() => return Err(Cause::ShuttingDown.into()),
        }
    }

    if group.applied_index().is_none_or(|applied| applied < index) {
        return Ok(waiting);
    }
    match group.read(|state, now| state.lease(waiting.id, now)) {
        Some(view) if matches!(view.phase, Phase::Waiting(_)) => Ok(view),
        Some(_) | None => unanswered.confirm(waiting.id).await,
    }
}

/// A lease as it is told to whoever acquired it. `index`: of the entry that decided the acquire.
fn acquired(group: &Group, lease: LeaseView, at: Instant, index: u64) -> Handled<Acquired> {
    match &lease.phase {
        Phase::Held(grant) => {
            let index = grant.log_index;
            let usage = group.read(|state, now| state.usage(&lease.resource, now));
            Ok((Acquired { lease, at, limits: usage.map(|usage| usage.limits) }, Some(index)))
        }
        Phase::Waiting(_) => Ok((Acquired { lease, at, limits: None }, Some(index))),
        Phase::Ended(end) => {
            let refusal = match (end.state, &end.refusal) {
                (LeaseState::TimedOut | LeaseState::Rejected, Some(refusal)) => refusal.clone(),
                (state, _) => Refusal::LeaseEnded(state),
            };
            Err(ServiceError::refused(&lease.resource, refusal).at(end.ended_index))
        }
    }
}
