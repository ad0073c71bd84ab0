//! Routing: each call goes to the group that decides it, in this node or in another region.
//!
//! ```text
//!  resource here, or global ──> the handler, given the group
//!  resource of another region ──> relayed to a node there, once
//!  not known ──> the catalog is asked (linearizable read), then the same
//! ```
//! What this node knows of the catalog may lag. So when a resource is not found where it was
//! believed to be, the catalog is asked and the call made again; nothing has happened until then.

use std::collections::BTreeSet;

use ratequeue_limiter::{Reply, ResourceName};
use ratequeue_raft::{Applied, Group};

use super::error::{Cause, ServiceError};
use super::relay::{self, RelayError, RelayReply};
use super::{Answered, Decided, Incoming};
use crate::config::GLOBAL;
use crate::node::peer_calls::Verdict;
use crate::node::{Member, Node};

/// What kind of call it is, as far as it matters where and how long it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// It changes nothing.
    Read,
    Acquire,
    /// It releases or extends a lease.
    Change,
    Put,
    Patch,
    Delete,
}

impl CallKind {
    /// It changes nothing.
    fn is_read(self) -> bool {
        self == Self::Read
    }

    /// It is an acquire or a look, which are held open until a lease leaves the queue.
    fn may_wait(self) -> bool {
        self == Self::Acquire || self.is_read()
    }
}

/// What came of a call at one place: an answer, or an error of the group that was asked.
type Attempt<T> = Result<Answered<T>, ServiceError>;

/// The value that a handler gives, and the log entry that decided it.
pub type Handled<T> = Result<(T, Option<u64>), ServiceError>;

/// The reply to a command, and the log entry that decided it.
///
/// # Errors
/// Its refusal.
pub fn decided(applied: Applied) -> Handled<Reply> {
    let Applied { outcome, index } = applied;
    let reply = outcome.map_err(|refusal| ServiceError::from(refusal).at(index))?;
    Ok((reply, Some(index)))
}

/// A call, and where it can be decided.
pub struct Router<'a> {
    node: &'a Node,
    member: &'a Member,
    call: &'a Incoming,
    kind: CallKind,
}

impl<'a> Router<'a> {
    /// The router of a call that this node has got.
    ///
    /// # Errors
    /// When the node is part of no cluster.
    pub fn new(node: &'a Node, call: &'a Incoming, kind: CallKind) -> Result<Self, ServiceError> {
        Ok(Self { node, member: node.joined_member()?, call, kind })
    }

    /// Has a call of a resource decided where it lives: by `handle` in a group of this node, or in
    /// another region.
    ///
    /// # Errors
    /// When nobody can say where it lives, or it cannot be reached there; and those of the group
    /// that decides it.
    pub async fn by_resource<T, H, F>(
        &self,
        name: &ResourceName,
        handle: H,
    ) -> Result<Answered<T>, ServiceError>
    where
        H: Fn(Group) -> F,
        F: Future<Output = Handled<T>>,
    {
        let about = |error: ServiceError| error.about(name);
        if let Some(home) = self.member.locate(name) {
            let attempt = self.at(&home.placement, &handle).await.map_err(about)?;
            if !is_lost(&attempt) {
                return attempt;
            }
        }

        let Some(home) =
            self.member.locate_linearizable(name).await.map_err(|error| about(error.into()))?
        else {
            return self.nowhere(name, &handle).await.map_err(about)?;
        };
        let attempt = self.at(&home.placement, &handle).await.map_err(about)?;
        if !attempt.as_ref().is_err_and(ServiceError::is_wrong_region) {
            return attempt;
        }
        if !self.call.is_relayed {
            return Err(about(Cause::Moving.into()));
        }

        // It may have been made when the resource was here.
        if self.kind == CallKind::Patch {
            let remembered = self.at(self.own(), &handle).await.map_err(about)?;
            if !is_lost(&remembered) {
                return remembered;
            }
        }
        attempt
    }

    /// The answer that a change got where the resource was until a moment ago: a change that is
    /// repeated is not made again on another resource of the name. It is looked for as far as
    /// this node knows the catalog.
    ///
    /// # Errors
    /// When one of those places cannot be asked; and those of the group that remembers it.
    pub async fn recall<T, H, F>(
        &self,
        name: &ResourceName,
        handle: &H,
    ) -> Result<Option<Answered<T>>, ServiceError>
    where
        H: Fn(Group) -> F,
        F: Future<Output = Handled<T>>,
    {
        if self.call.is_relayed || !self.call.can_return {
            return Ok(None);
        }

        let here = self.member.locate(name).map(|home| home.placement);
        for placement in self.member.past_places(name) {
            if here.as_deref() == Some(placement.as_str()) {
                continue;
            }
            let attempt = self.at(placement.as_str(), handle).await?;
            if !is_lost(&attempt) {
                return attempt.map(Some);
            }
        }
        Ok(None)
    }

    /// Has a call of a lease decided in the group that its id names.
    ///
    /// # Errors
    /// When there is no such group, or it cannot be reached; and those of the group.
    pub async fn by_lease<T, H, F>(
        &self,
        group: &str,
        handle: H,
    ) -> Result<Answered<T>, ServiceError>
    where
        H: Fn(Group) -> F,
        F: Future<Output = Handled<T>>,
    {
        if let Some(group) = self.member.group_of(group) {
            return here(group, handle(group.clone()).await);
        }
        if self.call.is_relayed {
            return Err(ServiceError::lease_not_found());
        }

        let regions = &self.member.regions;
        if !regions.has(group) {
            // It may have been added a moment ago.
            self.member.global.read_barrier().await?;
            if !regions.has(group) {
                return Err(ServiceError::lease_not_found());
            }
        }
        let relayed = self.relay_unless_stopping(group).await?;
        relayed.map(Answered::Elsewhere).map_err(|lost| not_relayed(group, lost))
    }

    /// Relays the call to another region.
    ///
    /// # Errors
    /// [`RelayError`] says whether anything may have happened.
    pub async fn relay(&self, region: &str) -> Result<RelayReply, RelayError> {
        let relayed = relay::relay(&self.member.regions, region, (self.call.to_bytes)()).await;
        // A look changes nothing, however it was lost.
        relayed.map_err(|lost| match lost {
            RelayError::Unknown if self.kind.is_read() => RelayError::Unreachable,
            RelayError::Unknown | RelayError::Unreachable | RelayError::WrongRegion => lost,
        })
    }

    /// A call that was relayed and may wait in the queue there is not waited for when this node
    /// stops.
    async fn relay_unless_stopping(
        &self,
        region: &str,
    ) -> Result<Result<RelayReply, RelayError>, ServiceError> {
        tokio::select! {
            relayed = self.relay(region) => Ok(relayed),
            () = self.node.stopping(), if self.kind.may_wait() => Err(Cause::ShuttingDown.into()),
        }
    }

    async fn at<T, H, F>(&self, placement: &str, handle: &H) -> Result<Attempt<T>, ServiceError>
    where
        H: Fn(Group) -> F,
        F: Future<Output = Handled<T>>,
    {
        if let Some(group) = self.member.group_of(placement) {
            return Ok(here(group, handle(group.clone()).await));
        }
        if self.call.is_relayed {
            return Ok(Err(Cause::WrongRegion.into()));
        }
        match self.relay_unless_stopping(placement).await? {
            Ok(reply) => Ok(Ok(Answered::Elsewhere(reply))),
            Err(RelayError::WrongRegion) => Ok(Err(Cause::WrongRegion.into())),
            Err(lost) => Err(not_relayed(placement, lost)),
        }
    }

    /// The region of this node.
    fn own(&self) -> &str {
        self.member.region.name()
    }

    /// There is no resource of this name. A write with a key is refused by the group of this
    /// region, which may remember it from when there was one; a delete is remembered where the
    /// resource was. A key that was made up for this call cannot be remembered anywhere, so
    /// without one of its own no log has to know of the call.
    async fn nowhere<T, H, F>(
        &self,
        name: &ResourceName,
        handle: &H,
    ) -> Result<Attempt<T>, ServiceError>
    where
        H: Fn(Group) -> F,
        F: Future<Output = Handled<T>>,
    {
        if self.kind.is_read() || !self.call.can_return {
            return Err(ServiceError::resource_not_found(name));
        }
        let attempt = self.at(self.own(), handle).await?;
        if self.kind != CallKind::Delete || !is_not_found(&attempt) {
            return Ok(attempt);
        }

        let others =
            if self.call.is_relayed { BTreeSet::new() } else { self.member.regions.others() };
        for placement in [GLOBAL.to_owned()].into_iter().chain(others) {
            // One that cannot be asked may remember it. The resource is gone in either case, and
            // that is what "not found" says too.
            match self.at(&placement, handle).await {
                Ok(other) if is_decided(&other) => return Ok(other),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(attempt)
    }
}

/// What a group of this node has made of a call.
fn here<T>(group: &Group, handled: Handled<T>) -> Attempt<T> {
    match handled {
        Ok((value, index)) => Ok(Answered::Here(Decided { value, group: group.clone(), index })),
        Err(error) => Err(error.by(group)),
    }
}

/// Whether the resource was not found at this placement.
fn is_lost<T>(attempt: &Attempt<T>) -> bool {
    attempt.as_ref().is_err_and(ServiceError::is_wrong_region) || is_not_found(attempt)
}

/// No resource of this name, says a group of this node or another region.
fn is_not_found<T>(attempt: &Attempt<T>) -> bool {
    match attempt {
        Ok(Answered::Here(_)) => false,
        Ok(Answered::Elsewhere(reply)) => reply.verdict == Verdict::NotFound,
        Err(error) => error.is_not_found(),
    }
}

/// It was done, or refused for good by whoever knows the resource.
fn is_decided<T>(attempt: &Attempt<T>) -> bool {
    match attempt {
        Ok(Answered::Here(_)) => true,
        Ok(Answered::Elsewhere(reply)) => matches!(reply.verdict, Verdict::Done | Verdict::Refused),
        Err(error) => !is_lost(attempt) && error.is_refusal(),
    }
}

/// Why a call to another region has no reply.
pub fn not_relayed(region: &str, lost: RelayError) -> ServiceError {
    let cause = match lost {
        RelayError::Unreachable => Cause::RegionUnreachable(region.to_owned()),
        RelayError::Unknown => Cause::RegionLost(region.to_owned()),
        RelayError::WrongRegion => Cause::Moving,
    };
    cause.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_calls_that_wait_are_told_by_kind() {
        let of = |kind: CallKind| (kind.is_read(), kind.may_wait());
        assert_eq!(of(CallKind::Read), (true, true));
        assert_eq!(of(CallKind::Acquire), (false, true));
        for kind in [CallKind::Change, CallKind::Put, CallKind::Patch, CallKind::Delete] {
            assert_eq!(of(kind), (false, false));
        }
    }
}
