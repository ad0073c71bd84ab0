//! A call whose caller has not been told of its lease yet.
//!
//! A handler is dropped when its caller has gone: the connection broke, or the node that passed the
//! call on has lost its own caller. The dropped call must still settle its lease, whether it waits,
//! was granted just now, or is still being decided. Without an idempotency key nobody can ever come
//! back for it, so it is released. With one its place is kept for a while, and the group is
//! told that its caller is away (`limiter/src/lease/caller.rs`). Either way it concerns the lease
//! only if no other call has come for it: a node may have repeated this one elsewhere, and have
//! answered.

use std::future::poll_fn;
use std::pin::Pin;

use ratequeue_limiter::{
    Acquire, Attend, Call, Command, Detach, Keepalive, LEVEL_CALLERS, LeaseId, LeaseView, NO_CALL,
    Phase, Reply,
};
use ratequeue_raft::{Applied, Group, Looked, SubmitError};

use super::error::ServiceError;

type Deciding = Pin<Box<dyn Future<Output = Result<Applied, SubmitError>> + Send>>;

/// A call, until it is answered.
pub struct Unanswered {
    group: Group,
    /// Its number: no other call has it.
    call: u64,
    can_return: bool,
    stage: Stage,
}

enum Stage {
    /// It may come to a lease, or have come to one.
    Deciding(Deciding),
    Lease(LeaseId),
    Over,
}

impl Unanswered {
    /// A call that has not begun. `can_return`: its caller knows how to ask for the same lease
    /// again.
    pub fn new(group: &Group, can_return: bool) -> Self {
        let call = rand::random::<u64>().max(NO_CALL + 1);
        Self { group: group.clone(), call, can_return, stage: Stage::Over }
    }

    /// A look that does not wait. It leaves the attached call unchanged.
    pub fn glance(group: &Group) -> Self {
        Self { group: group.clone(), call: NO_CALL, can_return: true, stage: Stage::Over }
    }

    /// Has an acquire decided.
    ///
    /// # Errors
    /// As [`Group::submit`].
    pub async fn acquire(&mut self, acquire: Acquire) -> Result<Applied, SubmitError> {
        let (group, call) = (self.group.clone(), self.call);
        self.stage = Stage::Deciding(Box::pin(async move {
            if group.level() >= LEVEL_CALLERS {
                let command = Command::Call(Call { acquire: acquire.clone(), call });
                match group.submit(command).await {
                    // Whoever leads has not applied yet what raises the level.
                    Err(SubmitError::FeatureNotEnabled { .. }) => {}
                    decided => return decided,
                }
            }
            group.submit(Command::Acquire(acquire)).await
        }));

        let decided = poll_fn(|context| match &mut self.stage {
            Stage::Deciding(deciding) => deciding.as_mut().poll(context),
            Stage::Lease(_) | Stage::Over => std::task::Poll::Pending,
        });
        let decided = decided.await;
        self.stage = match &decided {
            Ok(Applied { outcome: Ok(Reply::Acquired(view)), .. }) => Stage::Lease(view.id),
            Ok(_) | Err(_) => Stage::Over,
        };
        decided
    }

    /// Attends a lease: one that waits has its caller back, one that is held is claimed. Gives it
    /// as it is then, and the log index of that; no lease of a group that does not know of
    /// callers.
    ///
    /// # Errors
    /// When the group cannot be asked, or there is no such lease.
    pub async fn attend(
        &mut self,
        lease: LeaseId,
    ) -> Result<(Option<LeaseView>, u64), ServiceError> {
        self.stage = Stage::Lease(lease);
        if self.group.level() < LEVEL_CALLERS {
            let index = keep_alive(&self.group, lease).await?;
            return Ok((None, index));
        }
        let attend = Command::Attend(Attend { lease, call: self.call });
        let applied = self.group.submit(attend).await?;
        let reply =
            applied.outcome.map_err(|refusal| ServiceError::from(refusal).at(applied.index))?;
        let Reply::Attended(view) = reply else { return Err(ServiceError::contradiction()) };
        Ok((Some(view), applied.index))
    }

    /// Whether a lease that was seen has to be claimed before it is said to be held. So has one
    /// that is claimed, when another call has come for it: a late answer to the earlier call no
    /// longer counts.
    pub fn has_to_claim(&self, looked: &Looked) -> bool {
        let is_held = looked.view.as_ref().is_some_and(|view| matches!(view.phase, Phase::Held(_)));
        is_held && !(looked.claimed && [self.call, NO_CALL].contains(&looked.call))
    }

    /// A lease as it is now, for whoever leads, after it was seen to have left the queue: claimed,
    /// if it is held and was not yet.
    ///
    /// # Errors
    /// When the group cannot be asked, or the lease is forgotten. It is not known to be held then.
    pub async fn confirm(&mut self, lease: LeaseId) -> Result<LeaseView, ServiceError> {
        let looked = self.group.look(lease).await?;
        let has_to_claim = self.has_to_claim(&looked);
        let view = looked.view.ok_or_else(ServiceError::lease_not_found)?;
        if !has_to_claim {
            return Ok(view);
        }
        let (attended, _) = self.attend(lease).await?;
        Ok(attended.unwrap_or(view))
    }

    /// Its caller is being told.
    pub fn answered(mut self) {
        self.stage = Stage::Over;
    }

    /// Marks the call as failed. The caller has the key to repeat it.
    pub fn failed(mut self) {
        self.can_return = true;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        if matches!(stage, Stage::Over) {
            return;
        }

        // Without a runtime the process is ending.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (group, call, can_return) = (self.group.clone(), self.call, self.can_return);

        runtime.spawn(async move {
            let lease = match stage {
                Stage::Lease(lease) => lease,
                Stage::Deciding(deciding) => match deciding.await {
                    Ok(Applied { outcome: Ok(Reply::Acquired(view)), .. }) => view.id,
                    Ok(_) | Err(_) => return,
                },
                Stage::Over => return,
            };
            leave(&group, lease, call, can_return).await;
        });
    }
}

/// Says through the log that somebody still asks for a waiting lease; gives the log index of that.
async fn keep_alive(group: &Group, id: LeaseId) -> Result<u64, ServiceError> {
    let keepalive = Command::Keepalive(Keepalive { leases: vec![id] });
    Ok(group.submit(keepalive).await?.index)
}

/// Says that the caller of a lease has gone. A group that does not know of callers lets its place
/// end by itself, when nobody asks for it.
async fn leave(group: &Group, lease: LeaseId, call: u64, can_return: bool) {
    if call == NO_CALL || group.level() < LEVEL_CALLERS {
        return;
    }
    let detach = Detach { calls: vec![(lease, call)], for_good: !can_return };
    if let Err(error) = group.submit(Command::Detach(detach)).await {
        tracing::debug!(group = group.name(), %lease, %error, "the end of a call could not be told");
    }
}
