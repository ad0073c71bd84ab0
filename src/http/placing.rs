//! Putting a resource: finding where it lives, or claiming its name and creating it there.
//!
//! ```text
//!  no claim ──> claimed; where the name was a moment ago it is asked first whether the put is remembered
//!  located here, or claimed for here ──> PutClaimed ──> view
//!          │                                 └─ claim outdated ──> claim again
//!  claimed for another region ──> passed on
//!  another placement is wanted ──> it exists: 409; being created: 409; left over: taken back, claimed anew
//! ```
//! Every step may be repeated. What breaks off is finished by the next put of the name, or taken back by the sweep. Only the node
//! that the caller asked claims names: one that the put was passed on to does what it can under the claim that there is.

use axum::http::Method;
use axum::response::Response;
use ratequeue_api::{ErrorCode, path};
use ratequeue_limiter::{
    ClaimView, Command, Condition, Placement, PutClaimed, PutResource, Refusal, Reply, ResourceName, ResourceView,
};
use ratequeue_raft::{Group, SubmitError};

use super::problem::Failure;
use super::route::{Whole, misrouted, moving, not_passed};
use super::unexpected;
use crate::calls::NotPassed;
use crate::node::Member;
use crate::node::catalog::Home;

/// Rounds after which others that create and delete the same name have won.
const ROUNDS_MAX: usize = 5;

/// A put on its way.
pub struct Placing<'a> {
    pub member: &'a Member,
    /// The request, to be passed on.
    pub call: &'a Whole,
    pub put: PutResource,
    /// Where its caller wants it; anywhere when absent.
    pub wanted: Option<Placement>,
}

/// What a put came to.
pub enum Answer {
    Here { group: Group, created: bool, resource: std::sync::Arc<ResourceView>, index: u64 },
    Elsewhere(Response),
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
    Done(Answer),
    /// It lives there now, so far as is known; `None` when nothing is known any more.
    Again(Option<Home>),
}

impl Placing<'_> {
    /// Finds the place, and puts the resource there.
    ///
    /// # Errors
    /// Why not; what was claimed for it is given back.
    pub async fn run(self) -> Result<Answer, Failure> {
        let mut home = self.member.locate(self.name());
        if let Some(answer) = self.recall_from_elsewhere(home.as_ref()).await? {
            return Ok(answer);
        }
        for round in 0..ROUNDS_MAX {
            if home.is_none() && (round > 0 || self.must_exist() || self.call.is_passed_on()) {
                home = self.member.locate_surely(self.name()).await?;
            }
            match self.round(home).await? {
                Round::Done(answer) => return Ok(answer),
                Round::Again(found) => home = found,
            }
        }
        Err(moving())
    }

    fn name(&self) -> &ResourceName {
        &self.put.resource
    }

    fn must_exist(&self) -> bool {
        matches!(self.put.condition, Condition::Present | Condition::Version(_))
    }

    async fn round(&self, known: Option<Home>) -> Result<Round, Failure> {
        let (home, fresh) = match known {
            Some(home) => (home, false),
            None if self.must_exist() => return Err(Refusal::VersionConflict { version: None }.into()),
            None if self.call.is_passed_on() => return self.recall_or_misrouted().await,
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
            None if self.call.is_passed_on() => self.recall_or_misrouted().await,
            None => match self.call.pass_on(self.member, &home.placement).await {
                Ok(response) => {
                    if fresh && response.status().is_client_error() {
                        // If it cannot be done, the next put of the name takes it over.
                        let _ = self.give_back_at(&home.placement).await;
                    }
                    Ok(Round::Done(Answer::Elsewhere(response)))
                }
                Err(NotPassed::Misrouted) => Ok(Round::Again(None)),
                Err(lost) => Err(not_passed(&home.placement, lost)),
            },
        }
    }

    /// Where it is created when nobody has claimed it.
    fn default_placement(&self) -> Result<Placement, Failure> {
        match &self.wanted {
            Some(wanted) => Ok(wanted.clone()),
            None => Placement::new(self.member.region.name()).map_err(|bad| Failure::bad_request(format!("{bad}."))),
        }
    }

    /// Claims the name, unless the put was made before and its resource deleted since.
    async fn claim_anew(&self) -> Result<Claimed, Failure> {
        let placement = self.default_placement()?;
        // A name is not claimed for a region that could not create it now.
        let regions = &self.member.regions;
        if self.member.group_of(placement.as_str()).is_none() && !regions.is_reachable(placement.as_str()).await {
            return Err(not_passed(placement.as_str(), NotPassed::Unreachable));
        }

        let past = match self.claim(&placement, 0).await? {
            Ok((home, fresh)) => return Ok(Claimed::Now(home, fresh)),
            Err(Refusal::NamePast(past)) => past,
            Err(refusal) => return Err(refusal.into()),
        };
        // A put without a key of its own is a new one.
        let places = if self.call.can_return() { past.placements } else { Vec::new() };
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

    async fn claim(&self, placement: &Placement, after: u64) -> Result<Result<(Home, bool), Refusal>, Failure> {
        let claimed = self.member.claim(self.name(), placement, after).await.map_err(|error| {
            // The claim alone changes nothing that anybody sees, and the next put finds it.
            if error == SubmitError::UnknownOutcome { SubmitError::NoQuorum } else { error }
        });
        Ok(claimed?)
    }

    /// What the put was answered in one of these places, if it is remembered in one.
    async fn recall(&self, places: &[Placement]) -> Result<Option<Answer>, Failure> {
        for place in places.iter().filter(|place| self.member.is_there(place)) {
            let remembered = match self.member.group_of(place.as_str()) {
                Some(group) => self.recall_here(group).await?,
                None => match self.call.pass_on(self.member, place.as_str()).await {
                    Ok(response) => Some(Answer::Elsewhere(response)),
                    Err(NotPassed::Misrouted) => None,
                    Err(lost) => return Err(not_passed(place.as_str(), lost)),
                },
            };
            if remembered.is_some() {
                return Ok(remembered);
            }
        }
        Ok(None)
    }

    /// The same of a resource that has its name from another one: what the put made, or changed, may have been that.
    async fn recall_from_elsewhere(&self, home: Option<&Home>) -> Result<Option<Answer>, Failure> {
        let Some(home) = home.filter(|_| self.call.can_return() && !self.call.is_passed_on()) else { return Ok(None) };
        let mut places = self.member.past_places(self.name());
        places.retain(|place| place.as_str() != home.placement);
        self.recall(&places).await
    }

    /// The resource is not here, or not any more.
    async fn recall_or_misrouted(&self) -> Result<Round, Failure> {
        let remembered = self.recall_here(&self.member.region).await?;
        Ok(Round::Done(remembered.unwrap_or_else(|| Answer::Elsewhere(misrouted()))))
    }

    /// Puts without a claim, which creates nothing: it gives the answer that is remembered.
    async fn recall_here(&self, group: &Group) -> Result<Option<Answer>, Failure> {
        let command = PutClaimed { put: self.put.clone(), claim: 0, fencing_token: 0 };
        let applied = group.submit_anywhere(Command::PutClaimed(command)).await?;
        match applied.outcome {
            Ok(Reply::Put { created, resource }) => {
                Ok(Some(Answer::Here { group: group.clone(), created, resource, index: applied.index }))
            }
            Ok(_) => Err(unexpected()),
            Err(Refusal::ClaimOutdated { .. }) => Ok(None),
            Err(refusal) => Err(Failure::refused(self.name(), refusal).at(applied.index)),
        }
    }

    async fn put_here(&self, group: &Group, home: &Home, fresh: bool) -> Result<Round, Failure> {
        let claim = home.claim.as_ref();
        let command = PutClaimed {
            put: self.put.clone(),
            claim: claim.map_or(0, |claim| claim.number),
            fencing_token: claim.map_or(0, |claim| claim.fencing_token),
        };
        let applied = group.submit_anywhere(Command::PutClaimed(command)).await?;
        match applied.outcome {
            Ok(Reply::Put { created, resource }) => {
                if fresh && resource.effective_index != applied.index {
                    // Remembered from an earlier try: the resource may be gone since.
                    self.member.try_give_back(self.name()).await;
                }
                Ok(Round::Done(Answer::Here { group: group.clone(), created, resource, index: applied.index }))
            }
            Ok(_) => Err(unexpected()),
            // Deleted since it was found, or given back by somebody who found it half made.
            Err(Refusal::ClaimOutdated { fence }) => self.claim_again(claim, fence).await,
            Err(refusal) => {
                if fresh {
                    self.member.try_give_back(self.name()).await;
                }
                Err(Failure::refused(self.name(), refusal).at(applied.index))
            }
        }
    }

    /// The claim is fenced: it gets another number if it is still there.
    async fn claim_again(&self, claim: Option<&ClaimView>, fence: u64) -> Result<Round, Failure> {
        let found = self.member.locate_surely(self.name()).await?;
        let now = found.as_ref().and_then(|home| home.claim.as_ref());
        let Some(claim) = claim.filter(|claim| Some(claim.number) == now.map(|now| now.number)) else {
            return Ok(Round::Again(found));
        };
        let claimed = self.claim(&claim.placement, fence).await?;
        Ok(Round::Again(claimed.ok().map(|(home, _)| home)))
    }

    /// Another placement is wanted than the name is claimed for.
    async fn settle(&self, believed: &Home, wanted: &Placement) -> Result<Round, Failure> {
        let Some(home) = self.member.locate_surely(self.name()).await? else { return Ok(Round::Again(None)) };
        if home != *believed {
            return Ok(Round::Again(Some(home)));
        }
        let here = &home.placement;
        if self.exists_at(here).await? {
            return Err(Failure::lives_elsewhere(self.name(), here, wanted.as_str()));
        }
        if home.claim.as_ref().is_some_and(|claim: &ClaimView| self.member.is_young(claim)) {
            let detail = format!(
                "{} is just being created in {here}. If that is never finished, it can be created in {wanted} in 10 s.",
                self.name()
            );
            return Err(Failure::new(ErrorCode::PlacementConflict, detail));
        }
        match self.member.group_of(here) {
            Some(_) => self.member.give_back(self.name()).await?,
            None => self.give_back_at(here).await?,
        }
        Ok(Round::Again(None))
    }

    async fn exists_at(&self, placement: &str) -> Result<bool, Failure> {
        if let Some(group) = self.member.group_of(placement) {
            group.linearize_anywhere().await?;
            return Ok(group.read(|state, _| state.has_resource(self.name())));
        }
        let call = self.call.look(&Method::GET);
        let answer = crate::calls::pass_on(&self.member.regions, placement, &call).await;
        match answer {
            Ok(response) if response.status().is_success() => Ok(true),
            Ok(response) if super::route::is_not_found(&response) => Ok(false),
            Err(NotPassed::Misrouted) => Ok(false),
            Ok(_) | Err(NotPassed::Unreachable | NotPassed::Unknown) => {
                Err(not_passed(placement, NotPassed::Unreachable))
            }
        }
    }

    /// Has a node of another region give the name back.
    async fn give_back_at(&self, region: &str) -> Result<(), Failure> {
        let path = format!("/v1/cluster/give-back/{}", path::segment(self.name().as_str()));
        let call = crate::calls::Call::new(&Method::POST, &path, &axum::http::HeaderMap::new(), b"");
        match crate::calls::pass_on(&self.member.regions, region, &call).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(_) | Err(_) => Err(not_passed(region, NotPassed::Unreachable)),
        }
    }
}
