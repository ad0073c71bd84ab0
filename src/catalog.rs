//! Where a resource lives, and how its name is claimed and given back. The catalog itself is a part of the global group's
//! state; `limiter/src/catalog.rs` says why names stay unique.

use ratequeue_limiter::{
    ClaimName, ClaimView, Command, FenceClaims, Placement, Refusal, Reply, ResourceName, UnclaimName,
};
use ratequeue_raft::{Group, SubmitError};

use crate::node::Member;

/// The placement of resources whose limits hold over all regions.
pub const GLOBAL: &str = "global";

/// How long a claim without a resource counts as a creation that is under way, in microseconds of the global group's time.
const CREATION_US: u64 = 10_000_000;

/// More than the fencing tokens that a region can give out in its life. What it gave last is not known when it is lost, so the
/// tokens of its resources go on from this far ahead: about 35 years at 1,000 grants a second.
const TOKENS_OF_A_LOST_REGION: u64 = 1 << 40;

/// Where a resource lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// A region, or [`GLOBAL`].
    pub placement: String,
    /// The claim of its name; `None` when the resource was found here, without a look into the catalog.
    pub claim: Option<ClaimView>,
}

impl Home {
    fn of(claim: ClaimView) -> Self {
        Self { placement: claim.placement.to_string(), claim: Some(claim) }
    }
}

impl Member {
    /// The group of this placement, if this node is in it.
    pub fn group_of(&self, placement: &str) -> Option<&Group> {
        [&self.region, &self.global].into_iter().find(|group| group.name() == placement)
    }

    /// Where a resource lives, as far as this node knows. In memory: the own region first, so that it needs nobody else.
    pub fn locate(&self, name: &ResourceName) -> Option<Home> {
        if self.region.read(|state, _| state.has_resource(name)) {
            return Some(Home { placement: self.region.name().to_owned(), claim: None });
        }
        self.claim_of(name).map(Home::of)
    }

    /// The same, with everything that the catalog has acknowledged to anybody.
    ///
    /// # Errors
    /// When the global group cannot be asked.
    pub async fn locate_surely(&self, name: &ResourceName) -> Result<Option<Home>, SubmitError> {
        self.global.linearize_anywhere().await?;
        Ok(self.claim_of(name).map(Home::of).or_else(|| self.locate(name)))
    }

    fn claim_of(&self, name: &ResourceName) -> Option<ClaimView> {
        self.global.read(|state, _| state.claim(name)).filter(|claim| !self.is_gone(claim))
    }

    /// Whether the name was claimed for a region that was taken out of the cluster, with all that was in it. The membership of
    /// the global group says so; a claim for a new region comes after its nodes in the same log.
    fn is_gone(&self, claim: &ClaimView) -> bool {
        let placement = claim.placement.as_str();
        self.group_of(placement).is_none() && !self.regions.has(placement)
    }

    /// Claims a name for a placement. Gives the claim that there is now, which may be another's; true when it is new.
    ///
    /// # Errors
    /// When the global group cannot be asked, or refuses.
    pub async fn claim(
        &self,
        name: &ResourceName,
        placement: &Placement,
        after: u64,
    ) -> Result<Result<(Home, bool), Refusal>, SubmitError> {
        let claim = ClaimName { resource: name.clone(), placement: placement.clone(), after };
        let mut applied = self.global.submit_anywhere(Command::Claim(claim.clone())).await?;
        if let Ok(Reply::Claimed { claim: old, .. }) = &applied.outcome
            && self.is_gone(old)
        {
            // This node knows for certain who was taken out once it knows the claim: both are in one log.
            self.global.wait_applied(applied.index).await?;
            if self.is_gone(old) {
                self.take_from_lost(old).await?;
                applied = self.global.submit_anywhere(Command::Claim(claim)).await?;
            }
        }
        match applied.outcome {
            Ok(Reply::Claimed { claim, fresh }) => Ok(Ok((Home::of(claim), fresh))),
            Ok(_) => Err(SubmitError::UnknownOutcome),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    async fn take_from_lost(&self, claim: &ClaimView) -> Result<(), SubmitError> {
        let unclaim = UnclaimName {
            resource: claim.resource.clone(),
            number: claim.number,
            fencing_token: claim.fencing_token.saturating_add(TOKENS_OF_A_LOST_REGION),
        };
        self.global.submit_anywhere(Command::Unclaim(unclaim)).await.map(drop)
    }

    /// Whether names are claimed for this region, as far as this node knows. O(n) in the number of all names.
    pub fn has_names(&self, region: &str) -> bool {
        self.global.read(|state, _| state.has_claims_for(region))
    }

    /// Whether a creation under this claim may still be under way.
    pub fn is_young(&self, claim: &ClaimView) -> bool {
        self.global.read(|_, now| now.since_us(claim.at)) < CREATION_US
    }

    /// As [`Member::give_back`], when nobody waits for it: the next put of the name takes over what is left.
    pub async fn try_give_back(&self, name: &ResourceName) {
        if let Err(error) = self.give_back(name).await {
            tracing::info!(resource = name.as_str(), %error, "a claim is left over");
        }
    }

    /// Gives a name back that this node's groups have no resource for. Does nothing when there is one, or no claim.
    ///
    /// # Errors
    /// When one of the groups cannot be asked. What is left over does no harm, and anybody may do it again.
    pub async fn give_back(&self, name: &ResourceName) -> Result<(), SubmitError> {
        self.global.linearize_anywhere().await?;
        let Some(claim) = self.claim_of(name) else { return Ok(()) };
        let Some(group) = self.group_of(claim.placement.as_str()) else { return Ok(()) };
        let fence = FenceClaims { resource: name.clone(), number: claim.number };
        match group.submit_anywhere(Command::Fence(fence)).await?.outcome {
            Ok(Reply::Fenced { fencing_token }) => {
                let unclaim = UnclaimName { resource: name.clone(), number: claim.number, fencing_token };
                let applied = self.global.submit_anywhere(Command::Unclaim(unclaim)).await?;
                // The next look here must not find it again.
                self.global.wait_applied(applied.index).await
            }
            Ok(_) => Err(SubmitError::UnknownOutcome),
            // It exists (again).
            Err(_) => Ok(()),
        }
    }
}
