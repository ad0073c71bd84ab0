//! Commands: what enters the log. Reads are methods of [`crate::State`] and cannot.

use serde::{Deserialize, Serialize};

use crate::caps;
use crate::model::lease_id::LeaseId;
use crate::model::level::{LEVEL_CALLERS, LEVEL_FIRST};
use crate::model::load::Load;
use crate::model::name::{Placement, RequestId, ResourceName};
use crate::model::numbers::{Metadata, OutOfBounds, Priority, TtlMs, WaitMs};
use crate::model::patch::{Patch, ResourcePatch};
use crate::model::spec::ResourceSpec;

/// One command. Deciding it always gives an [`crate::Outcome`]; it cannot fail otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates or replaces a resource.
    PutResource(PutResource),
    /// Changes a resource.
    PatchResource(PatchResource),
    /// Deletes a resource.
    DeleteResource(DeleteResource),
    /// Asks for a lease.
    Acquire(Acquire),
    /// Ends a held lease, or gives a place in the queue up.
    Release(Release),
    /// Gives a held lease a new deadline.
    Extend(Extend),
    /// Says that somebody still waits for these leases.
    Keepalive(Keepalive),
    /// Lets time pass: expires, times out and grants what is due.
    Tick,
    /// Claims a name for a group, in the catalog.
    Claim(ClaimName),
    /// Takes a claim out of the catalog.
    Unclaim(UnclaimName),
    /// Makes outstanding claims worthless in this group.
    Fence(FenceClaims),
    /// Creates a resource under a claim, or replaces it.
    PutClaimed(PutClaimed),
    /// Raises the feature level of the group. Every member must be able to follow it.
    RaiseLevel(u32),
    /// Asks for a lease, in a call whose end may be told later.
    Call(Call),
    /// Says that another call asks for a lease from now on, and claims it if it is held.
    Attend(Attend),
    /// Says that calls have ended without an answer.
    Detach(Detach),
}

impl Command {
    /// The feature level that the command needs: the members of a group of a lower one could not
    /// read it.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level_of_form().max(self.resource().map_or(LEVEL_FIRST, ResourceName::level))
    }

    /// Checks the numbers of a command as it was read from a log, where one of an old version may
    /// be out of its bounds. Those of a command that was made by this version are within them,
    /// by their types.
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first that is not, and what is allowed.
    pub fn validate(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::Acquire(acquire) | Self::Call(Call { acquire, .. }) => acquire.validate(),
            Self::Release(Release { used: Some(used), .. }) => {
                used.validate().map_err(|bad| OutOfBounds(format!("used: {bad}")))
            }
            Self::Extend(Extend { ttl_ms: Some(ttl_ms), .. }) => ttl_ms.check(),
            Self::Release(_)
            | Self::Extend(_)
            | Self::PutResource(_)
            | Self::PutClaimed(_)
            | Self::PatchResource(_)
            | Self::DeleteResource(_)
            | Self::Keepalive(_)
            | Self::Tick
            | Self::Claim(_)
            | Self::Unclaim(_)
            | Self::Fence(_)
            | Self::RaiseLevel(_)
            | Self::Attend(_)
            | Self::Detach(_) => Ok(()),
        }
    }

    fn level_of_form(&self) -> u32 {
        let of_queue = |claims: bool| if claims { LEVEL_CALLERS } else { LEVEL_FIRST };
        match self {
            Self::PutResource(put) | Self::PutClaimed(PutClaimed { put, .. }) => {
                of_queue(put.spec.queue.claim_ms != caps::CLAIM_MS_DEFAULT)
            }
            Self::PatchResource(patch) => of_queue(
                matches!(&patch.patch.queue, Patch::Set(queue) if queue.claim_ms != Patch::Keep),
            ),
            Self::DeleteResource(_)
            | Self::Acquire(_)
            | Self::Release(_)
            | Self::Extend(_)
            | Self::Keepalive(_)
            | Self::Tick
            | Self::Claim(_)
            | Self::Unclaim(_)
            | Self::Fence(_)
            | Self::RaiseLevel(_) => LEVEL_FIRST,
            Self::Call(_) | Self::Attend(_) | Self::Detach(_) => LEVEL_CALLERS,
        }
    }

    /// The resource that it names.
    fn resource(&self) -> Option<&ResourceName> {
        match self {
            Self::PutResource(put) | Self::PutClaimed(PutClaimed { put, .. }) => {
                Some(&put.resource)
            }
            Self::PatchResource(patch) => Some(&patch.resource),
            Self::DeleteResource(delete) => Some(&delete.resource),
            Self::Acquire(acquire) | Self::Call(Call { acquire, .. }) => Some(&acquire.resource),
            Self::Claim(claim) => Some(&claim.resource),
            Self::Unclaim(unclaim) => Some(&unclaim.resource),
            Self::Fence(fence) => Some(&fence.resource),
            Self::Release(_)
            | Self::Extend(_)
            | Self::Keepalive(_)
            | Self::Tick
            | Self::RaiseLevel(_)
            | Self::Attend(_)
            | Self::Detach(_) => None,
        }
    }
}

/// Which version of a resource a change is meant for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Any, or none.
    #[default]
    Any,
    /// The resource must not exist (`If-None-Match: *`).
    Absent,
    /// The resource must exist (`If-Match: *`).
    Present,
    /// The resource must have this version (`If-Match: "7"`).
    Version(u64),
}

/// Creates or replaces a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutResource {
    /// Repeating it repeats the answer.
    pub request: RequestId,
    /// Which resource.
    pub resource: ResourceName,
    /// What it shall be.
    pub spec: ResourceSpec,
    /// When this is allowed.
    pub condition: Condition,
}

/// Changes a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchResource {
    /// Repeating it repeats the answer.
    pub request: RequestId,
    /// Which resource.
    pub resource: ResourceName,
    /// The change.
    pub patch: ResourcePatch,
    /// When this is allowed.
    pub condition: Condition,
}

/// Deletes a resource: its waiting leases end, its held ones are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteResource {
    /// Repeating it repeats the answer.
    pub request: RequestId,
    /// Which resource.
    pub resource: ResourceName,
    /// When this is allowed.
    pub condition: Condition,
}

/// Asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acquire {
    /// Repeating it with the same fields means the same lease.
    pub request: RequestId,
    /// Which resource.
    pub resource: ResourceName,
    /// How much.
    pub load: Load,
    /// 0 (first) to 9 (last).
    pub priority: Priority,
    /// How long to wait in the queue, 0 ms (not at all) to 31 days; at most the resource's
    /// `max_wait_ms` counts.
    pub wait_ms: WaitMs,
    /// Time to live once held, 1 ms to 31 days, lowered to the resource's `max_ttl_ms`; `None` is
    /// the resource's default.
    pub ttl_ms: Option<TtlMs>,
    /// Kept and shown with the lease.
    pub metadata: Metadata,
}

impl Acquire {
    fn validate(&self) -> Result<(), OutOfBounds> {
        self.load.validate().map_err(|bad| OutOfBounds(bad.to_string()))?;
        self.priority.check()?;
        self.wait_ms.check()?;
        self.ttl_ms.map_or(Ok(()), TtlMs::check)?;
        self.metadata.check()
    }
}

/// Ends a held lease, or gives a place in the queue up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which lease.
    pub lease: LeaseId,
    /// What was really used; `None` leaves the charge as it is.
    pub used: Option<Load>,
}

/// Gives a held lease a new deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extend {
    /// Which lease.
    pub lease: LeaseId,
    /// From now, 1 ms to 31 days, lowered to the resource's `max_ttl_ms`; `None` is the resource's
    /// default.
    pub ttl_ms: Option<TtlMs>,
}

/// The number of no call: one whose end is not told, or does not count.
pub const NO_CALL: u64 = 0;

/// Asks for a lease, in a call whose end may be told later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// What for.
    pub acquire: Acquire,
    /// A number that no other call has, by chance. Not [`NO_CALL`].
    pub call: u64,
}

/// Says that another call asks for a lease from now on. One that waits is kept alive and has its
/// caller back; one that is held is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attend {
    /// Which lease.
    pub lease: LeaseId,
    /// The number of the call.
    pub call: u64,
}

/// Says that calls have ended without an answer. It concerns a lease only if no other call has come
/// for it meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detach {
    /// Leases, and the calls for them. At most 1,000.
    pub calls: Vec<(LeaseId, u64)>,
    /// Nobody knows how to come back for them: the leases are released.
    pub for_good: bool,
}

/// Says that somebody still waits for these leases. At most 1,000; those that do not wait are
/// passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive {
    /// Which leases.
    pub leases: Vec<LeaseId>,
}

/// Claims a name for a group. A name that is claimed already stays with its group, whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimName {
    /// Which name.
    pub resource: ResourceName,
    /// The group in which the resource is to live.
    pub placement: Placement,
    /// The number of the claim must be higher than this; one for the same group that is not gets a
    /// new number. A name that was given back lately is claimed only if this is the number
    /// that it had: its claimer knows where it was.
    pub after: u64,
}

/// Takes a claim out of the catalog, if it still has this number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnclaimName {
    /// Which name.
    pub resource: ResourceName,
    /// The number of the claim.
    pub number: u64,
    /// The last fencing token of the group that it was claimed for.
    pub fencing_token: u64,
}

/// Makes all claims up to a number worthless in this group, unless the resource exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceClaims {
    /// The resource that must not exist.
    pub resource: ResourceName,
    /// The number of its claim.
    pub number: u64,
}

/// Creates a resource under a claim, or replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutClaimed {
    /// What to put.
    pub put: PutResource,
    /// The number of the claim; 0 only replaces.
    pub claim: u64,
    /// A resource that is created has only higher fencing tokens.
    pub fencing_token: u64,
}
