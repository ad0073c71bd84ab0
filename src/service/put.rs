//! Putting a resource: finding where it lives, or claiming its name and creating it there.
//!
//! ```text
//!  no claim ──> claimed; where the name was a moment ago it is asked first whether the put is remembered
//!  located here, or claimed for here ──> PutClaimed ──> view
//!          │                                 └─ claim outdated ──> claim again
//!  claimed for another region ──> relayed
//!  another placement is wanted ──> it exists: 409; being created: 409; left over: taken back, claimed anew
//! ```
//! Every step may be repeated. What breaks off is finished by the next put of the name, or taken
//! back by the sweep. Only the node that the caller asked claims names: one that the put was
//! relayed to does what it can under the claim that there is.

use std::sync::Arc;

use ratequeue_limiter::{
    ClaimView, Command, Condition, Placement, PutClaimed, PutResource, Refusal, Reply,
    ResourceName, ResourceView,
};
use ratequeue_raft::{Group, SubmitError};

use super::error::{Cause, ServiceError};
use super::relay::{ANSWER_WITHIN, RelayError};
use super::resources::exists_in;
use super::router::{CallKind, Router, not_relayed};
use super::{Answered, Decided, Incoming, Service};
use crate::config::GLOBAL;
use crate::node::Member;
use crate::node::catalog::Home;
use crate::node::peer_calls::{PeerAnswer, PeerCall, Verdict};

/// Rounds after which others that create and delete the same name have won.
const ROUNDS_MAX: usize = 5;

/// What a put has made.
#[derive(Debug)]
pub struct Put {
    /// It was not there before.
    pub created: bool,
    pub resource: Arc<ResourceView>,
}

/// A put on its way.
struct PutResourceFlow<'a> {
    member: &'a Member,
    call: &'a Incoming,
    router: Router<'a>,
    put: PutResource,
    /// Where its caller wants it; anywhere when absent.
    wanted: Option<Placement>,
}

/// What became of a name that nobody had claimed.
enum Claimed {
    /// It is claimed; true when by this put.
    Now(Home, bool),
    /// It was not claimed.
    Never(Round),
}

/// What one round came to.
enum Round {
    Done(Answered<Put>),
    /// It lives there now, so far as is known; `None` when nothing is known any more.
    Again(Option<Home>),
}

impl Service {
    /// Creates or replaces a resource, in the placement that is `wanted`. It goes on to its end
    /// when the caller leaves.
    ///
    /// # Errors
    /// Why it was not put.
    pub async fn put(
        &self,
        put: PutResource,
        wanted: Option<&str>,
        call: &Incoming,
    ) -> Result<Answered<Put>, ServiceError> {
        let resource = put.resource.clone();
        let about = |error: ServiceError| error.about(&resource);
        let member = self.node.joined_member()?;
        let wanted = wanted.map(|text| placement(member, text)).transpose().map_err(about)?;

        let (node, call) = (Arc::clone(&self.node), call.clone());
        let putting = tokio::spawn(async move {
            let (member, call) = (node.joined_member()?, &call);
            let router = Router::new(&node, call, CallKind::Put)?;
            PutResourceFlow { member, call, router, put, wanted }.run().await
        });
        putting.await.unwrap_or_else(|_| Err(SubmitError::UnknownOutcome.into())).map_err(about)
    }
}

/// A placement that a resource can have.
///
/// # Errors
/// Names all there are.
fn placement(member: &Member, text: &str) -> Result<Placement, ServiceError> {
    if text == GLOBAL || member.regions.has(text) {
        return Placement::new(text).map_err(|bad| Cause::BadPlacement(bad).into());
    }
    Err(Cause::NoPlacement { wanted: text.to_owned(), places: member.places() }.into())
}

impl PutResourceFlow<'_> {
    /// Finds the place, and puts the resource there.
    ///
    /// # Errors
    /// Why not; what was claimed for it is given back.
    async fn run(self) -> Result<Answered<Put>, ServiceError> {
        let mut home = self.member.locate(self.name());
        if let Some(answer) = self.recall_from_elsewhere(home.as_ref()).await? {
            return Ok(answer);
        }
        for round in 0..ROUNDS_MAX {
            if home.is_none() && (round > 0 || self.must_exist() || self.call.is_relayed) {
                home = self.member.locate_linearizable(self.name()).await?;
            }
            match self.round(home).await? {
                Round::Done(answer) => return Ok(answer),
                Round::Again(found) => home = found,
            }
        }
        Err(Cause::Moving.into())
    }

    fn name(&self) -> &ResourceName {
        &self.put.resource
    }

    fn must_exist(&self) -> bool {
        matches!(self.put.condition, Condition::Present | Condition::Version(_))
    }

    async fn round(&self, known: Option<Home>) -> Result<Round, ServiceError> {
        let (home, fresh) = match known {
            Some(home) => (home, false),
            None if self.must_exist() => {
                return Err(Refusal::VersionConflict { version: None }.into());
            }
            None if self.call.is_relayed => return self.recall_or_wrong_region().await,
            None => match self.claim_anew().await? {
                Claimed::Now(home, fresh) => (home, fresh),
                Claimed::Never(round) => return Ok(round),
            },
        };

        if let Some(wanted) = &self.wanted
            && wanted.as_str() != home.placement
        {
            return self.settle(&home, wanted).await;
        }

        match self.member.group_of(&home.placement) {
            Some(group) => self.put_here(group, &home, fresh).await,
            None if self.call.is_relayed => self.recall_or_wrong_region().await,
            None => match self.router.relay(&home.placement).await {
                Ok(reply) => {
                    if fresh && matches!(reply.verdict, Verdict::NotFound | Verdict::Refused) {
                        // If it cannot be done, the next put of the name takes it over.
                        let _ = self.give_back_at(&home.placement).await;
                    }
                    Ok(Round::Done(Answered::Elsewhere(reply)))
                }
                Err(RelayError::WrongRegion) => Ok(Round::Again(None)),
                Err(lost) => Err(not_relayed(&home.placement, lost)),
            },
        }
    }

    /// Where it is created when nobody has claimed it.
    fn default_placement(&self) -> Result<Placement, ServiceError> {
        match &self.wanted {
            Some(wanted) => Ok(wanted.clone()),
            None => Placement::new(self.member.region.name())
                .map_err(|bad| Cause::BadPlacement(bad).into()),
        }
    }

    /// Claims the name, unless the put was made before and its resource deleted since.
    async fn claim_anew(&self) -> Result<Claimed, ServiceError> {
        let placement = self.default_placement()?;
        // A name is not claimed for a region that could not create it now.
        let regions = &self.member.regions;
        if self.member.group_of(placement.as_str()).is_none()
            && !regions.is_reachable(placement.as_str()).await
        {
            return Err(not_relayed(placement.as_str(), RelayError::Unreachable));
        }

        let past = match self.claim(&placement, 0).await? {
            Ok((home, fresh)) => return Ok(Claimed::Now(home, fresh)),
            Err(Refusal::NamePast(past)) => past,
            Err(refusal) => return Err(refusal.into()),
        };
        // A put without a key of its own is a new one.
        let places = if self.call.can_return { past.placements } else { Vec::new() };
        if let Some(answer) = self.recall(&places).await? {
            return Ok(Claimed::Never(Round::Done(answer)));
        }
        match self.claim(&placement, past.number).await? {
            Ok((home, fresh)) => Ok(Claimed::Now(home, fresh)),
            // It was created and given back once more meanwhile.
            Err(Refusal::NamePast(_)) => Ok(Claimed::Never(Round::Again(None))),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn claim(
        &self,
        placement: &Placement,
        after: u64,
    ) -> Result<Result<(Home, bool), Refusal>, ServiceError> {
        let claimed = self.member.claim(self.name(), placement, after).await.map_err(|error| {
            // The claim alone changes nothing that anybody sees, and the next put finds it.
            if error == SubmitError::UnknownOutcome { SubmitError::NoQuorum } else { error }
        });
        Ok(claimed?)
    }

    /// What the put was answered in one of these places, if it is remembered in one.
    async fn recall(&self, places: &[Placement]) -> Result<Option<Answered<Put>>, ServiceError> {
        for place in places.iter().filter(|place| self.member.is_there(place)) {
            let remembered = match self.member.group_of(place.as_str()) {
                Some(group) => self.recall_here(group).await?,
                None => match self.router.relay(place.as_str()).await {
                    Ok(reply) => Some(Answered::Elsewhere(reply)),
                    Err(RelayError::WrongRegion) => None,
                    Err(lost) => return Err(not_relayed(place.as_str(), lost)),
                },
            };
            if remembered.is_some() {
                return Ok(remembered);
            }
        }
        Ok(None)
    }

    /// The same of a resource that has its name from another one: what the put made, or changed,
    /// may have been that.
    async fn recall_from_elsewhere(
        &self,
        home: Option<&Home>,
    ) -> Result<Option<Answered<Put>>, ServiceError> {
        let Some(home) = home.filter(|_| self.call.can_return && !self.call.is_relayed) else {
            return Ok(None);
        };
        let mut places = self.member.past_places(self.name());
        places.retain(|place| place.as_str() != home.placement);
        self.recall(&places).await
    }

    /// The resource is not here, or not any more.
    async fn recall_or_wrong_region(&self) -> Result<Round, ServiceError> {
        let remembered = self.recall_here(&self.member.region).await?;
        remembered.map(Round::Done).ok_or_else(|| Cause::WrongRegion.into())
    }

    /// Puts without a claim, which creates nothing: it gives the answer that is remembered.
    async fn recall_here(&self, group: &Group) -> Result<Option<Answered<Put>>, ServiceError> {
        let command = PutClaimed { put: self.put.clone(), claim: 0, fencing_token: 0 };
        let applied = group.submit(Command::PutClaimed(command)).await?;
        match applied.outcome {
            Ok(Reply::Put { created, resource }) => {
                Ok(Some(here(group, Put { created, resource }, applied.index)))
            }
            Ok(_) => Err(ServiceError::contradiction()),
            Err(Refusal::ClaimOutdated { .. }) => Ok(None),
            Err(refusal) => Err(ServiceError::refused(self.name(), refusal).at(applied.index)),
        }
    }

    async fn put_here(
        &self,
        group: &Group,
        home: &Home,
        fresh: bool,
    ) -> Result<Round, ServiceError> {
        let claim = home.claim.as_ref();
        let command = PutClaimed {
            put: self.put.clone(),
            claim: claim.map_or(0, |claim| claim.number),
            fencing_token: claim.map_or(0, |claim| claim.fencing_token),
        };

        let applied = group.submit(Command::PutClaimed(command)).await?;
        match applied.outcome {
            Ok(Reply::Put { created, resource }) => {
                if fresh && resource.effective_index != applied.index {
                    // Remembered from an earlier try: the resource may be gone since.
                    self.member.try_give_back(self.name()).await;
                }
                Ok(Round::Done(here(group, Put { created, resource }, applied.index)))
            }
            Ok(_) => Err(ServiceError::contradiction()),
            // Deleted since it was found, or given back by somebody who found it half made.
            Err(Refusal::ClaimOutdated { fence }) => self.claim_again(claim, fence).await,
            Err(refusal) => {
                if fresh {
                    self.member.try_give_back(self.name()).await;
                }
                Err(ServiceError::refused(self.name(), refusal).at(applied.index))
            }
        }
    }

    /// The claim is fenced: it gets another number if it is still there.
    async fn claim_again(
        &self,
        claim: Option<&ClaimView>,
        fence: u64,
    ) -> Result<Round, ServiceError> {
        let found = self.member.locate_linearizable(self.name()).await?;
        let now = found.as_ref().and_then(|home| home.claim.as_ref());
        let Some(claim) = claim.filter(|claim| Some(claim.number) == now.map(|now| now.number))
        else {
            return Ok(Round::Again(found));
        };
        let claimed = self.claim(&claim.placement, fence).await?;
        Ok(Round::Again(claimed.ok().map(|(home, _)| home)))
    }

    /// Another placement is wanted than the name is claimed for.
    async fn settle(&self, believed: &Home, wanted: &Placement) -> Result<Round, ServiceError> {
        let Some(home) = self.member.locate_linearizable(self.name()).await? else {
            return Ok(Round::Again(None));
        };

        if home != *believed {
            return Ok(Round::Again(Some(home)));
        }

        let here = &home.placement;
        if self.exists_at(here).await? {
            return Err(
                Cause::LivesElsewhere { here: here.clone(), wanted: wanted.to_string() }.into()
            );
        }

        if home.claim.as_ref().is_some_and(|claim: &ClaimView| self.member.is_young(claim)) {
            return Err(
                Cause::BeingCreated { here: here.clone(), wanted: wanted.to_string() }.into()
            );
        }

        match self.member.group_of(here) {
            Some(_) => self.member.give_back(self.name()).await?,
            None => self.give_back_at(here).await?,
        }

        Ok(Round::Again(None))
    }

    async fn exists_at(&self, placement: &str) -> Result<bool, ServiceError> {
        if let Some(group) = self.member.group_of(placement) {
            return Ok(exists_in(group, self.name()).await?);
        }
        let exists = PeerCall::Exists(self.name().clone());
        match self.member.regions.call_region(placement, &exists, ANSWER_WITHIN).await {
            Ok(PeerAnswer::Exists(exists)) => Ok(exists),
            Ok(_) | Err(_) => Err(not_relayed(placement, RelayError::Unreachable)),
        }
    }

    /// Has a node of another region give the name back.
    async fn give_back_at(&self, region: &str) -> Result<(), ServiceError> {
        let give_back = PeerCall::GiveBack(self.name().clone());
        match self.member.regions.call_region(region, &give_back, ANSWER_WITHIN).await {
            Ok(PeerAnswer::GivenBack) => Ok(()),
            Ok(_) | Err(_) => Err(not_relayed(region, RelayError::Unreachable)),
        }
    }
}

fn here(group: &Group, put: Put, index: u64) -> Answered<Put> {
    Answered::Here(Decided { value: put, group: group.clone(), index: Some(index) })
}
