//! Putting a resource: finding where it lives, or claiming its name and creating it there.
//!
//! ```text
//!  located here, or claimed for here ──> PutClaimed ──> view
//!          │                                 └─ claim outdated ──> claim again
//!  claimed for another region ──> passed on
//!  another placement is wanted ──> it exists: 409; being created: 409; left over: taken back, claimed anew
//! ```
//! Every step may be repeated, and what breaks off is finished by the next put of the name.

use axum::http::Method;
use axum::response::Response;
use ratequeue_api::ErrorCode;
use ratequeue_limiter::{
    ClaimView, Command, Condition, Placement, PutClaimed, PutResource, Refusal, Reply, ResourceName, ResourceView,
};
use ratequeue_raft::{Group, SubmitError};

use super::problem::Failure;
use super::route::{Whole, misrouted, moving, not_passed};
use super::unexpected;
use crate::calls::NotPassed;
use crate::catalog::Home;
use crate::node::Member;

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
        for round in 0..ROUNDS_MAX {
            if home.is_none() && (round > 0 || self.must_exist()) {
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
            None => {
                let placement = self.default_placement()?;
                // A name is not claimed for a region that could not create it now.
                let regions = &self.member.regions;
                if self.member.group_of(placement.as_str()).is_none() && !regions.is_reachable(placement.as_str()).await
                {
                    return Err(not_passed(placement.as_str(), NotPassed::Unreachable));
                }
                self.claim(placement, 0).await?
            }
        };
        if let Some(wanted) = &self.wanted
            && wanted.as_str() != home.placement
        {
            return self.settle(&home, wanted).await;
        }
        match self.member.group_of(&home.placement) {
            Some(group) => self.put_here(group, &home, fresh).await,
            None if self.call.is_passed_on() => Ok(Round::Done(Answer::Elsewhere(misrouted()))),
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

    async fn claim(&self, placement: Placement, after: u64) -> Result<(Home, bool), Failure> {
        let claimed = self.member.claim(self.name(), &placement, after).await.map_err(|error| {
            // The claim alone changes nothing that anybody sees, and the next put finds it.
            if error == SubmitError::UnknownOutcome { SubmitError::NoQuorum } else { error }
        });
        claimed?.map_err(Failure::from)
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
                Ok(Round::Done(Answer::Here { group: group.clone(), created, resource, index: applied.index }))
            }
            Ok(_) => Err(unexpected()),
            // Deleted since it was found, or given back by somebody who found it half made.
            Err(Refusal::ClaimOutdated { fence }) => {
                let placement = match claim {
                    Some(claim) => claim.placement.clone(),
                    None if self.must_exist() => return Ok(Round::Again(None)),
                    None => self.default_placement()?,
                };
                Ok(Round::Again(Some(self.claim(placement, fence).await?.0)))
            }
            Err(refusal) => {
                if fresh {
                    self.member.try_give_back(self.name()).await;
                }
                Err(Failure::refused(self.name(), refusal).at(applied.index))
            }
        }
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
        let path = format!("/v1/cluster/give-back/{}", self.name());
        let call = crate::calls::Call::new(&Method::POST, &path, &axum::http::HeaderMap::new(), b"");
        match crate::calls::pass_on(&self.member.regions, region, &call).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(_) | Err(_) => Err(not_passed(region, NotPassed::Unreachable)),
        }
    }
}
