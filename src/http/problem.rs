//! The one mapping from what went wrong to `application/problem+json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::{ErrorCode, Problem};
use ratequeue_limiter::{Blocked, LeaseState, OutOfBounds, Refusal, ResourceName};
use ratequeue_raft::{ChangeError, Group, SubmitError};

use super::convert;
use super::response::{DecidedBy, log_index};
use crate::node::EVENT_STREAMS_MAX;
use crate::node::aside::{NotRead, READS_MAX};
use crate::node::peer_calls::Verdict;
use crate::ops::Refused;
use crate::service::{Cause, ServiceError};

/// When what a busy node has refused may be tried again, in milliseconds.
const BUSY_RETRY_MS: u64 = 1_000;

/// A call that failed. It becomes a problem on the way out, in [`render`].
#[derive(Debug, Clone)]
pub struct Failure {
    problem: Box<Problem>,
    /// The log entry that decided it, if one did.
    index: Option<u64>,
    /// The group that decided it, if one did.
    group: Option<Group>,
    /// The call was relayed to a node whose region does not have the resource.
    is_wrong_region: bool,
}

impl Failure {
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            problem: Box::new(Problem::new(code, detail)),
            index: None,
            group: None,
            is_wrong_region: false,
        }
    }

    pub fn code(&self) -> ErrorCode {
        self.problem.code
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadRequest, detail)
    }

    pub fn about(mut self, resource: &str) -> Self {
        self.problem.resource = Some(resource.to_owned());
        self
    }

    pub fn lease_not_found() -> Self {
        let detail = "No lease has this id, or it ended more than a minute ago and is forgotten.";
        Self::new(ErrorCode::LeaseNotFound, detail)
    }

    pub fn shutting_down() -> Self {
        let detail = "This node is stopping. A place in the queue stays for 15 s: repeat the call with the same Idempotency-Key.";
        Self::new(ErrorCode::ShuttingDown, detail)
    }

    pub fn too_many_connections() -> Self {
        let detail = "This node has as many connections as it may have, and all are busy. Nothing happened: try again in a \
                      moment, or at another node.";
        Self::busy(detail)
    }

    /// The node has too much of something for now.
    fn busy(detail: impl Into<String>) -> Self {
        let mut failure = Self::new(ErrorCode::TooManyRequests, detail);
        failure.problem.retry_after_ms = Some(BUSY_RETRY_MS);
        failure
    }

    fn too_many_streams() -> Self {
        let detail = format!(
            "{EVENT_STREAMS_MAX} streams of events are open at this node. Read them at another node, or close some."
        );
        Self::busy(detail)
    }

    fn blocked(code: ErrorCode, what: &str, blocked: &Blocked) -> Self {
        let violated: Vec<String> = blocked.violated.iter().map(convert::violated).collect();
        let detail = format!(
            "{what} In the way: {}. Try again in about {} ms.",
            violated.join(", "),
            blocked.retry_after_ms
        );
        let mut failure = Self::new(code, detail);
        failure.problem.violated = Some(violated);
        failure.problem.retry_after_ms = Some(blocked.retry_after_ms);
        failure
    }

    /// What it means for a node that has relayed the call.
    fn verdict(&self) -> Verdict {
        let code = self.code();
        match code.status() {
            _ if self.is_wrong_region => Verdict::WrongRegion,
            _ if code == ErrorCode::ResourceNotFound => Verdict::NotFound,
            503 => Verdict::Unavailable { no_effect: code.no_effect() },
            507 => Verdict::StorageFull,
            _ => Verdict::Refused,
        }
    }

    fn with_state(code: ErrorCode, state: LeaseState, detail: &str) -> Self {
        let mut failure = Self::new(code, detail);
        failure.problem.state = Some(convert::lease_state(state));
        failure
    }
}

const TOO_MANY_RESOURCES: &str = "This group has as many resources as it may have. Delete some.";
const TOO_MANY_LEASES: &str = "This group has as many leases as it may have. Release some.";
const NOT_NOW: &str = "It cannot be granted now, and the call does not wait.";
const QUEUE_FULL: &str = "It cannot be granted now, and the queue is full.";
const WAITED: &str = "The wait ran out before the lease could be granted.";
const MOVED: &str = "The resource was deleted while it was changed. Nothing happened: try again.";
const DELETED: &str = "The resource was deleted while the lease waited.";

impl From<OutOfBounds> for Failure {
    fn from(bad: OutOfBounds) -> Self {
        Self::bad_request(format!("{bad}."))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let text = format!("{refusal}.");
        match &refusal {
            Refusal::ResourceNotFound => {
                Self::new(ErrorCode::ResourceNotFound, "No resource has this name.")
            }
            Refusal::InvalidResource(_) => Self::new(ErrorCode::InvalidResource, text),
            Refusal::VersionConflict { version: Some(version) } => Self::new(
                ErrorCode::VersionConflict,
                format!("The resource exists, in version {version}."),
            ),
            Refusal::VersionConflict { version: None } => {
                Self::new(ErrorCode::VersionConflict, "The resource does not exist.")
            }
            Refusal::TooManyResources => Self::new(ErrorCode::TooManyRequests, TOO_MANY_RESOURCES),
            Refusal::TooManyLeases => Self::new(ErrorCode::TooManyRequests, TOO_MANY_LEASES),
            Refusal::LimitExceeded(blocked) => {
                Self::blocked(ErrorCode::LimitExceeded, NOT_NOW, blocked)
            }
            Refusal::QueueFull(blocked) => Self::blocked(ErrorCode::QueueFull, QUEUE_FULL, blocked),
            Refusal::WaitTimeout(blocked) => Self::blocked(ErrorCode::WaitTimeout, WAITED, blocked),
            Refusal::LoadExceedsCapacity { .. } => Self::new(ErrorCode::LoadExceedsCapacity, text),
            Refusal::DimensionNeeded { .. } | Refusal::Malformed(_) => Self::bad_request(text),
            Refusal::Internal(_) => {
                tracing::error!("{refusal}");
                Self::new(
                    ErrorCode::UnknownOutcome,
                    format!("The server contradicted itself: {text} Please report this."),
                )
            }
            Refusal::IdempotencyConflict => Self::new(
                ErrorCode::IdempotencyConflict,
                "This Idempotency-Key was used for another request. Make a new key for each new request.",
            ),
            Refusal::LeaseNotFound => Self::lease_not_found(),
            Refusal::LeaseExpired => Self::with_state(
                ErrorCode::LeaseExpired,
                LeaseState::Expired,
                "The lease was not released or extended before its ttl ran out. Its work may no longer rely on it.",
            ),
            Refusal::LeaseNotHeld(state) => {
                Self::with_state(ErrorCode::LeaseNotHeld, *state, "The lease is not held.")
            }
            Refusal::LeaseEnded(state) => Self::with_state(
                ErrorCode::LeaseEnded,
                *state,
                "The lease of this request has ended. Acquire again with a new Idempotency-Key.",
            ),
            Refusal::ResourceExists => {
                Self::new(ErrorCode::PlacementConflict, "A resource of this name exists.")
            }
            Refusal::ClaimOutdated { .. } | Refusal::NamePast(_) => {
                Self::new(ErrorCode::NoQuorum, MOVED)
            }
            Refusal::ResourceDeleted => Self::new(ErrorCode::ResourceDeleted, DELETED),
        }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let ServiceError { cause, resource, group, index } = error;
        let is_wrong_region = matches!(*cause, Cause::WrongRegion);
        let mut failure = Self {
            index,
            group,
            is_wrong_region,
            ..caused(*cause, resource.as_ref().map(ResourceName::as_str))
        };
        failure.problem.resource = resource.map(|resource| resource.to_string());
        failure
    }
}

/// `resource`: the one that the call is about, if it is about one.
fn caused(cause: Cause, resource: Option<&str>) -> Failure {
    let name = resource.unwrap_or("It");
    match cause {
        Cause::Refused(Refusal::ResourceNotFound) if resource.is_some() => {
            Failure::new(ErrorCode::ResourceNotFound, format!("No resource is named {name}."))
        }
        Cause::Refused(refusal) => refusal.into(),
        Cause::Unavailable(error) => error.into(),
        Cause::NotRead(not_read) => not_read.into(),
        Cause::TooManyStreams => Failure::too_many_streams(),
        Cause::ShuttingDown => Failure::shutting_down(),
        Cause::NotJoined => Failure::new(
            ErrorCode::NoQuorum,
            "This node is not part of a cluster yet: start the other nodes and run `ratequeue cluster init`.",
        ),
        Cause::RegionUnreachable(region) => Failure::new(
            ErrorCode::NoQuorum,
            format!(
                "Region {region}, which decides this, cannot be reached from this node. Nothing happened: try again, or call a node of that region."
            ),
        ),
        Cause::RegionLost(region) => Failure::new(
            ErrorCode::UnknownOutcome,
            format!(
                "A node of {region} was lost before it answered. Repeat the call with the same Idempotency-Key to learn what \
                 happened."
            ),
        ),
        Cause::WrongRegion | Cause::Moving => Failure::new(
            ErrorCode::NoQuorum,
            "The resource is just being moved. Nothing happened: try again in a moment.",
        ),
        Cause::LivesElsewhere { here, wanted } => Failure::new(
            ErrorCode::PlacementConflict,
            format!(
                "{name} lives in {here}, and a placement cannot be changed. Delete it and create it in {wanted}."
            ),
        ),
        Cause::BeingCreated { here, wanted } => Failure::new(
            ErrorCode::PlacementConflict,
            format!(
                "{name} is just being created in {here}. If that is never finished, it can be created in {wanted} in 10 s."
            ),
        ),
        Cause::NoPlacement { wanted, places } => Failure::new(
            ErrorCode::InvalidResource,
            format!("placement is {wanted:?}: must be one of {}.", places.join(", ")),
        ),
        Cause::NoRegion(none) => Failure::bad_request(format!("{none}.")),
        Cause::BadPlacement(bad) => Failure::bad_request(format!("{bad}.")),
        Cause::Contradiction => Failure::new(
            ErrorCode::UnknownOutcome,
            "The server contradicted itself. Please report this.",
        ),
        Cause::Change(Refused::Change(error)) => unchanged(error),
        Cause::Change(Refused::Submit(error)) => unchanged(ChangeError::Submit(error)),
        Cause::Change(refused) => Failure::bad_request(format!("{refused}.")),
        Cause::InvalidNode { node, why } => Failure::bad_request(format!("Node {node}: {why}.")),
        Cause::NotForThisNode(text) => Failure::bad_request(text),
    }
}

/// A change of members or of a leader that a group has not made.
fn unchanged(error: ChangeError) -> Failure {
    match error {
        ChangeError::Submit(SubmitError::NotLeader { leader }) => {
            let leader =
                leader.map_or_else(|| "nobody".to_owned(), |leader| format!("node {leader}"));
            Failure::new(
                ErrorCode::NoQuorum,
                format!("This call must be sent to the leader of the group, now {leader}."),
            )
        }
        ChangeError::Submit(error) => error.into(),
        ChangeError::NotTaken { .. } => Failure::new(
            ErrorCode::UnknownOutcome,
            format!("{error}: look who leads now, and try again."),
        ),
        ChangeError::InProgress
        | ChangeError::Refused(_)
        | ChangeError::FewerLosses { .. }
        | ChangeError::NoMajority { .. } => Failure::bad_request(format!("{error}.")),
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::NoQuorum | SubmitError::NotLeader { .. } => Self::new(
                ErrorCode::NoQuorum,
                "The group has no leader that a quorum follows. Nothing happened: try again, here or at another node.",
            ),
            SubmitError::UnknownOutcome => Self::new(
                ErrorCode::UnknownOutcome,
                "The leader was lost before it answered. Repeat the call with the same Idempotency-Key to learn what happened.",
            ),
            SubmitError::ShuttingDown => Self::shutting_down(),
            SubmitError::Overloaded => Self::new(
                ErrorCode::TooManyRequests,
                "More calls wait to be decided than this node takes on. Nothing happened: try again in a moment.",
            ),
            SubmitError::FeatureNotEnabled { behind } => {
                let who = behind.map_or_else(
                    || "A member of the group".to_owned(),
                    |node| format!("Node {node}"),
                );
                let detail = format!(
                    "{who} runs a version that does not know this yet, or has not been met. Nothing happened: it is enabled \
                     by itself once all run the new version."
                );
                Self::new(ErrorCode::FeatureNotEnabled, detail)
            }
            SubmitError::StorageFull => Self::new(
                ErrorCode::StorageFull,
                "The disk of this node is nearly full, so nothing new is granted. Free some space: it goes on by itself.",
            ),
        }
    }
}

impl From<NotRead> for Failure {
    fn from(not_read: NotRead) -> Self {
        match not_read {
            NotRead::Busy => {
                let detail = format!(
                    "{READS_MAX} reads of this kind wait at this node already. Try again in a moment, or at another node."
                );
                Self::busy(detail)
            }
            // The panic is in the log.
            NotRead::Died => {
                Self::new(ErrorCode::UnknownOutcome, "The read failed. Please report this.")
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();

        if self.code() == ErrorCode::BodyTooLarge {
            // The rest of the body is not read, so nothing can follow it on this connection.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let extensions = response.extensions_mut();
        extensions.insert(self.verdict());
        self.group.clone().map(|group| extensions.insert(DecidedBy(group)));
        extensions.insert(self);
        response
    }
}

/// Writes the problem that a failure left in a response, now that the id of its request is known.
pub fn render(response: &mut Response, request_id: String) {
    let Some(Failure { mut problem, index, .. }) = response.extensions_mut().remove::<Failure>()
    else {
        return;
    };
    problem.request_id = Some(request_id);

    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(index) = index {
        log_index(headers, index);
    }
    if let Some(ms) = problem.retry_after_ms {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
    }
    // A problem is made of strings and numbers, which always have a JSON form.
    let text = serde_json::to_vec(&problem).unwrap_or_default();
    *response.body_mut() = axum::body::Body::from(text);
}
