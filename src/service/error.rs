//! Why a call is not done: what it means, not how a caller is told.

use ratequeue_api::cluster::NodeView;
use ratequeue_limiter::{BadName, Refusal, ResourceName};
use ratequeue_raft::{ChangeError, Group, SubmitError};

use crate::config::InvalidNode;
use crate::node::aside::NotRead;
use crate::node::{NoRegion, NotJoined};
use crate::ops::Refused;

/// A call that was not done.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct ServiceError {
    pub cause: Box<Cause>,
    /// The resource that it is about.
    pub resource: Option<ResourceName>,
    /// The group that decided it, if one did.
    pub group: Option<Group>,
    /// The log entry that decided it, if one did.
    pub index: Option<u64>,
}

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The group decided so.
    #[error("{0}")]
    Refused(Refusal),
    /// The group could not decide it: [`SubmitError`] says whether anything may have happened.
    #[error("{0}")]
    Unavailable(SubmitError),
    /// This node is part of no cluster yet.
    #[error("this node is part of no cluster")]
    NotJoined,
    /// This node is stopping.
    #[error("this node is stopping")]
    ShuttingDown,
    /// No node of the region can be reached. Nothing happened.
    #[error("region {0} cannot be reached")]
    RegionUnreachable(String),
    /// A node of the region was lost before it answered: the outcome is unknown.
    #[error("a node of region {0} was lost before it answered")]
    RegionLost(String),
    /// The call was relayed to a node whose region does not have the resource. Nothing happened.
    #[error("the resource does not live here")]
    WrongRegion,
    /// The resource goes from one region to another while it is called. Nothing happened.
    #[error("the resource is being moved")]
    Moving,
    /// The resource lives in another place than it is wanted in.
    #[error("it lives in {here}, not in {wanted}")]
    LivesElsewhere { here: String, wanted: String },
    /// The resource is being created in another place than it is wanted in.
    #[error("it is being created in {here}, not in {wanted}")]
    BeingCreated { here: String, wanted: String },
    /// There is no such placement.
    #[error("there is no placement {wanted:?}: it must be one of {places:?}")]
    NoPlacement { wanted: String, places: Vec<String> },
    /// There is no such region.
    #[error(transparent)]
    NoRegion(NoRegion),
    /// The name of a placement is none.
    #[error("{0}")]
    BadPlacement(BadName),
    /// The list could not be read.
    #[error("{0}")]
    NotRead(NotRead),
    /// As many streams of events are open at this node as may be.
    #[error("too many streams of events are open")]
    TooManyStreams,
    /// The group answered a command with what belongs to another. The caller may rely on nothing.
    #[error("the answer does not belong to the command")]
    Contradiction,
    /// A change of members, or of a leader, was refused, or not taken.
    #[error(transparent)]
    Change(Refused),
    /// A node is described as it cannot be.
    #[error("node {node}: {why}")]
    InvalidNode { node: u64, why: InvalidNode },
    /// The request is meant for another node, or has no meaning for this one.
    #[error("{0}")]
    NotForThisNode(String),
}

impl ServiceError {
    /// It is about this resource.
    pub fn about(mut self, resource: &ResourceName) -> Self {
        self.resource = Some(resource.clone());
        self
    }

    /// It was decided by this log entry.
    pub fn at(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }

    /// It was decided in this group.
    pub fn by(mut self, group: &Group) -> Self {
        self.group = Some(group.clone());
        self
    }

    /// The refusal of a command about a resource.
    pub fn refused(resource: &ResourceName, refusal: Refusal) -> Self {
        Self::from(refusal).about(resource)
    }

    /// There is no resource of this name.
    pub fn resource_not_found(resource: &ResourceName) -> Self {
        Self::refused(resource, Refusal::ResourceNotFound)
    }

    /// There is no such lease.
    pub fn lease_not_found() -> Self {
        Refusal::LeaseNotFound.into()
    }

    /// The group answered a command with what belongs to another.
    pub fn contradiction() -> Self {
        tracing::error!("an answer that does not belong to its command");
        Cause::Contradiction.into()
    }

    /// Whether it says that there is no resource of this name.
    pub fn is_not_found(&self) -> bool {
        matches!(*self.cause, Cause::Refused(Refusal::ResourceNotFound))
    }

    /// Whether the disk is too full for it.
    pub fn is_storage_full(&self) -> bool {
        matches!(*self.cause, Cause::Unavailable(SubmitError::StorageFull))
    }

    /// Whether the group that was asked has refused it for good, rather than not having decided it.
    pub fn is_refusal(&self) -> bool {
        match &*self.cause {
            Cause::Refused(
                Refusal::ClaimOutdated { .. } | Refusal::NamePast(_) | Refusal::Internal(_),
            ) => false,
            Cause::Refused(_) | Cause::Unavailable(SubmitError::Overloaded) => true,
            Cause::LivesElsewhere { .. }
            | Cause::BeingCreated { .. }
            | Cause::NoPlacement { .. }
            | Cause::NoRegion(_)
            | Cause::BadPlacement(_)
            | Cause::Change(_)
            | Cause::InvalidNode { .. }
            | Cause::NotForThisNode(_) => true,
            Cause::Unavailable(_)
            | Cause::NotJoined
            | Cause::ShuttingDown
            | Cause::RegionUnreachable(_)
            | Cause::RegionLost(_)
            | Cause::WrongRegion
            | Cause::Moving
            | Cause::NotRead(_)
            | Cause::TooManyStreams
            | Cause::Contradiction => false,
        }
    }

    /// The same of a call that has had its effect: that nothing happened may not be said any more.
    #[must_use]
    pub fn after_effect(mut self) -> Self {
        if let Cause::Unavailable(error) = &mut *self.cause {
            *error = SubmitError::UnknownOutcome;
        }
        self
    }

    /// Whether it was called where it does not live.
    pub fn is_wrong_region(&self) -> bool {
        matches!(*self.cause, Cause::WrongRegion)
    }
}

impl From<Cause> for ServiceError {
    fn from(cause: Cause) -> Self {
        Self { cause: Box::new(cause), resource: None, group: None, index: None }
    }
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        Cause::Refused(refusal).into()
    }
}

impl From<SubmitError> for ServiceError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::ShuttingDown => Cause::ShuttingDown.into(),
            SubmitError::NoQuorum
            | SubmitError::NotLeader { .. }
            | SubmitError::UnknownOutcome
            | SubmitError::Overloaded
            | SubmitError::StorageFull
            | SubmitError::FeatureNotEnabled { .. } => Cause::Unavailable(error).into(),
        }
    }
}

impl From<NotJoined> for ServiceError {
    fn from(_: NotJoined) -> Self {
        Cause::NotJoined.into()
    }
}

impl From<NoRegion> for ServiceError {
    fn from(none: NoRegion) -> Self {
        Cause::NoRegion(none).into()
    }
}

impl From<NotRead> for ServiceError {
    fn from(not_read: NotRead) -> Self {
        Cause::NotRead(not_read).into()
    }
}

impl From<Refused> for ServiceError {
    fn from(refused: Refused) -> Self {
        Cause::Change(refused).into()
    }
}

impl From<ChangeError> for ServiceError {
    fn from(error: ChangeError) -> Self {
        Refused::Change(error).into()
    }
}

impl ServiceError {
    /// A node that nobody could reach at its addresses.
    pub fn invalid_node(node: &NodeView, why: InvalidNode) -> Self {
        Cause::InvalidNode { node: node.id, why }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_an_effect_nobody_is_told_that_nothing_happened() {
        for error in [
            SubmitError::NoQuorum,
            SubmitError::NotLeader { leader: None },
            SubmitError::Overloaded,
            SubmitError::StorageFull,
            SubmitError::FeatureNotEnabled { behind: None },
            SubmitError::UnknownOutcome,
        ] {
            let told = ServiceError::from(error).after_effect();
            assert!(
                matches!(&*told.cause, Cause::Unavailable(SubmitError::UnknownOutcome)),
                "{told:?}"
            );
        }
        let refused = ServiceError::from(Refusal::LeaseNotFound).after_effect();
        assert!(matches!(&*refused.cause, Cause::Refused(Refusal::LeaseNotFound)));
    }
}
