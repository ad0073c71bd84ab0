//! Where a resource lives, and how its name is claimed and given back. The catalog itself is a part
//! of the global group's state; `limiter/src/state/catalog.rs` says why names stay unique.

use std::time::Duration;

use ratequeue_limiter::{
    ClaimName, ClaimView, Command, FenceClaims, Placement, Refusal, Reply, ResourceName,
    UnclaimName,
};
use ratequeue_raft::{Group, SubmitError};

use super::member::Member;

/// How long a claim without a resource counts as a creation that is under way, in microseconds of
/// the global group's time.
const CREATION_US: u64 = 10_000_000;

/// More than the fencing tokens that a region can give out in its life. What it gave last is not
/// known when it is lost, so the tokens of its resources go on from this far ahead: about 35 years
/// at 1,000 grants a second.
const TOKENS_OF_A_LOST_REGION: u64 = 1 << 40;

/// How long a claim has been without a resource when it is taken back, in microseconds of the
/// global group's time. Nothing relies on it: a creation that comes later finds its claim outdated,
/// and claims anew.
const ABANDONED_US: u64 = 60_000_000;
/// Pause between two looks at all claims.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Claims that are looked at in one go.
const SWEEP_CLAIMS: usize = 1_000;
/// Pause between two such.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);

/// Where a resource lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// A region, or [`GLOBAL`](crate::config::GLOBAL).
    pub placement: String,
    /// The claim of its name; `None` when the resource was found here, without a look into the
    /// catalog.
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

    /// Where a resource lives, as far as this node knows. In memory: the own region first, so that
    /// it needs nobody else.
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
    pub async fn locate_linearizable(
        &self,
        name: &ResourceName,
    ) -> Result<Option<Home>, SubmitError> {
        self.global.read_barrier().await?;
        Ok(self.claim_of(name).map(Home::of).or_else(|| self.locate(name)))
    }

    fn claim_of(&self, name: &ResourceName) -> Option<ClaimView> {
        self.global.read(|state, _| state.claim(name)).filter(|claim| !self.is_gone(claim))
    }

    /// Whether the name was claimed for a region that was taken out of the cluster, with all that
    /// was in it. The membership of the global group says so; a claim for a new region comes
    /// after its nodes in the same log.
    fn is_gone(&self, claim: &ClaimView) -> bool {
        !self.is_there(&claim.placement)
    }

    /// Where the name was until a while ago, as far as this node knows; without regions that are
    /// not there any more.
    pub fn past_places(&self, name: &ResourceName) -> Vec<Placement> {
        let past = self.global.read(|state, now| state.past_claims(name, now));
        let mut places = past.map(|past| past.placements).unwrap_or_default();
        places.retain(|placement| self.is_there(placement));
        places
    }

    /// Whether there is a group of this placement.
    pub fn is_there(&self, placement: &Placement) -> bool {
        self.group_of(placement.as_str()).is_some() || self.regions.has(placement.as_str())
    }

    /// Claims a name for a placement. Gives the claim that there is now, which may be another's;
    /// true when it is new.
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
        let mut applied = self.global.submit(Command::Claim(claim.clone())).await?;
        if let Ok(Reply::Claimed { claim: old, .. }) = &applied.outcome
            && self.is_gone(old)
        {
            // This node knows for certain who was taken out once it knows the claim: both are in
            // one log.
            self.global.wait_applied(applied.index).await?;
            if self.is_gone(old) {
                self.take_from_lost(old).await?;
                applied = self.global.submit(Command::Claim(claim)).await?;
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
        self.global.submit(Command::Unclaim(unclaim)).await.map(drop)
    }

    /// Whether names are claimed for this region, as far as this node knows. O(n) in the number of
    /// all names.
    pub fn has_names(&self, region: &str) -> bool {
        self.global.read(|state, _| state.has_claims_for(region))
    }

    /// Whether a creation under this claim may still be under way.
    pub fn is_young(&self, claim: &ClaimView) -> bool {
        self.global.read(|_, now| now.since_us(claim.at)) < CREATION_US
    }

    /// Takes back the claims without a resource, again and again: those for the groups that this
    /// node leads. So each has one node that cares for it, which sees from memory whether there
    /// is a resource.
    pub async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let mut after = None;
            loop {
                after = self.sweep_some(after.as_ref(), ABANDONED_US).await;
                if after.is_none() {
                    break;
                }
                tokio::time::sleep(SWEEP_PAUSE).await;
            }
        }
    }

    /// The same for the claims that follow `after` and are so old; gives the last one that was
    /// looked at, if more follow.
    async fn sweep_some(&self, after: Option<&ResourceName>, age_us: u64) -> Option<ResourceName> {
        let led: Vec<&Group> =
            self.groups().into_iter().filter(|group| group.is_leader()).collect();
        if led.is_empty() {
            return None;
        }
        let (claims, now) = self.global.read(|state, now| (state.claims(after, SWEEP_CLAIMS), now));
        let last = claims
            .last()
            .filter(|_| claims.len() == SWEEP_CLAIMS)
            .map(|claim| claim.resource.clone());

        for claim in claims.into_iter().filter(|claim| now.since_us(claim.at) >= age_us) {
            let home = led.iter().find(|group| group.name() == claim.placement.as_str());
            if home.is_some_and(|group| !group.read(|state, _| state.has_resource(&claim.resource)))
            {
                tracing::info!(
                    resource = claim.resource.as_str(),
                    "a claim without a resource is taken back"
                );
                self.try_give_back(&claim.resource).await;
            }
        }
        last
    }

    /// As [`Member::give_back`], when nobody waits for it: what is left is swept, or taken over by
    /// the next put of the name.
    pub async fn try_give_back(&self, name: &ResourceName) {
        if let Err(error) = self.give_back(name).await {
            tracing::info!(resource = name.as_str(), %error, "a claim is left over");
        }
    }

    /// Gives a name back that this node's groups have no resource for. Does nothing when there is
    /// one, or no claim.
    ///
    /// # Errors
    /// When one of the groups cannot be asked. What is left over does no harm, and anybody may do
    /// it again.
    pub async fn give_back(&self, name: &ResourceName) -> Result<(), SubmitError> {
        self.global.read_barrier().await?;
        let Some(claim) = self.claim_of(name) else { return Ok(()) };
        let Some(group) = self.group_of(claim.placement.as_str()) else { return Ok(()) };
        let fence = FenceClaims { resource: name.clone(), number: claim.number };

        match group.submit(Command::Fence(fence)).await?.outcome {
            Ok(Reply::Fenced { fencing_token }) => {
                let unclaim =
                    UnclaimName { resource: name.clone(), number: claim.number, fencing_token };
                let applied = self.global.submit(Command::Unclaim(unclaim)).await?;
                // The next look here must not find it again.
                self.global.wait_applied(applied.index).await
            }
            Ok(_) => Err(SubmitError::UnknownOutcome),
            // It exists (again).
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use ratequeue_limiter::{
        Condition, Kind, LeaseSpec, LimitDraft, LimitName, PutClaimed, PutResource, QueueSpec,
        RequestId, ResourceSpec,
    };

    use super::*;
    use crate::config::ClusterFile;
    use crate::node::{Node, NodeOptions};

    async fn claimed(member: &Member, name: &str, placement: &str) -> ClaimView {
        let (name, placement) =
            (ResourceName::new(name).unwrap(), Placement::new(placement).unwrap());
        let (home, fresh) = member.claim(&name, &placement, 0).await.unwrap().unwrap();
        assert!(fresh);
        home.claim.unwrap()
    }

    fn creation(claim: &ClaimView) -> Command {
        let slots =
            LimitDraft { kind: Some(Kind::Concurrency), quota: Some(1), ..LimitDraft::default() };
        let limits = [(LimitName::new("slots").unwrap(), slots)].into();
        let put = PutResource {
            request: RequestId::new(&format!("put-{}", claim.resource)).unwrap(),
            resource: claim.resource.clone(),
            spec: ResourceSpec::new(limits, QueueSpec::default(), LeaseSpec::default()).unwrap(),
            condition: Condition::Any,
        };
        Command::PutClaimed(PutClaimed {
            put,
            claim: claim.number,
            fencing_token: claim.fencing_token,
        })
    }

    /// Creations that broke off between the claim and the resource.
    #[tokio::test]
    async fn claims_without_a_resource_are_taken_back_when_they_are_old() {
        let folder = tempfile::tempdir().unwrap();
        let http: ratequeue_link::HostPort = "127.0.0.1:7600".parse().unwrap();
        let cluster = ClusterFile::alone("test", "local", &http);
        let options = NodeOptions {
            checkpoint: ratequeue_raft::CheckpointPolicy::default(),
            cluster,
            region: "local".to_owned(),
            id: 1,
            own: crate::config::view(1, "local", &http, &http),
            peer: http.into(),
            consensus: tokio::runtime::Handle::current(),
        };
        let node = Node::open(options, folder.path()).await.unwrap();
        let member = node.member().unwrap();
        while !member
            .groups()
            .iter()
            .all(|group| group.is_leader() && group.level() == ratequeue_limiter::LEVEL_MAX)
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        let made = claimed(member, "made", "local").await;
        member.region.submit(creation(&made)).await.unwrap().outcome.unwrap();
        let left = claimed(member, "left", "local").await;
        claimed(member, "left-global", "global").await;

        let names = || {
            member
                .global
                .read(|state, _| state.claims(None, 10))
                .into_iter()
                .map(|claim| claim.resource.to_string())
        };
        assert_eq!(member.sweep_some(None, ABANDONED_US).await, None);
        assert_eq!(
            names().collect::<Vec<_>>(),
            ["left", "left-global", "made"],
            "they may be under way"
        );
        assert_eq!(member.sweep_some(None, 0).await, None);
        assert_eq!(names().collect::<Vec<_>>(), ["made"]);

        // The creation comes late.
        let late = member.region.submit(creation(&left)).await.unwrap().outcome;
        assert!(matches!(late, Err(Refusal::ClaimOutdated { .. })), "{late:?}");
        node.shutdown().await.unwrap();
    }
}
