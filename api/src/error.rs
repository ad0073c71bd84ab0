//! Every error that the API answers, in one enum, and the body that carries it (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident => $code:tt, $status:literal, $retryable:literal, $no_effect:literal, $title:literal;)*) => {
        /// Why a call failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
            /// A code of a later version. No server of this version answers it; its status says what it means.
            #[serde(other, skip_serializing)]
            Unknown,
        }

        impl ErrorCode {
            /// Every code that is known, in the order of their statuses.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as it stands in a body.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* Self::Unknown => "unknown" }
            }

            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* Self::Unknown => 500 }
            }

            /// True when the same request, with the same idempotency key, may succeed later or elsewhere.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* Self::Unknown => true }
            }

            /// True when the call certainly changed nothing.
            #[must_use]
            pub fn no_effect(self) -> bool {
                match self { $(Self::$variant => $no_effect,)* Self::Unknown => false }
            }

            /// A short text that is the same for every occurrence.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* Self::Unknown => "An error of a later version" }
            }

            /// The code that has this text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

error_codes! {
    // variant => code, status, retryable, no effect, title;
    /// A header, parameter, field or body is malformed.
    BadRequest => "bad-request", 400, false, true, "Malformed request";
    /// No API key, or one that is not known.
    Unauthenticated => "unauthenticated", 401, false, true, "Unknown API key";
    /// The API key does not allow this.
    Forbidden => "forbidden", 403, false, true, "Not allowed for this API key";
    /// No resource has this name.
    ResourceNotFound => "resource-not-found", 404, false, true, "Resource not found";
    /// No lease has this id, or it is forgotten.
    LeaseNotFound => "lease-not-found", 404, false, true, "Lease not found";
    /// No such path.
    NotFound => "not-found", 404, false, true, "Path not found";
    /// The path exists, but not with this method.
    MethodNotAllowed => "method-not-allowed", 405, false, true, "Method not allowed";
    /// The resource lives elsewhere, and cannot be moved.
    PlacementConflict => "placement-conflict", 409, false, true, "Resource in another place";
    /// The lease is not held: it waits, was released, or was cancelled.
    LeaseNotHeld => "lease-not-held", 409, false, true, "Lease not held";
    /// The lease has expired.
    LeaseExpired => "lease-expired", 410, false, true, "Lease expired";
    /// The lease of this idempotency key has ended.
    LeaseEnded => "lease-ended", 410, false, true, "Lease ended";
    /// The resource was deleted while the lease waited.
    ResourceDeleted => "resource-deleted", 410, false, true, "Resource deleted";
    /// The resource is not in the version that the change was made for.
    VersionConflict => "version-conflict", 412, false, true, "Version conflict";
    /// The body is over 64 KiB.
    BodyTooLarge => "body-too-large", 413, false, true, "Body too large";
    /// The body is not JSON.
    UnsupportedMediaType => "unsupported-media-type", 415, false, true, "Unsupported media type";
    /// The head of the request is over 16 KiB, or has more than 64 headers.
    HeadTooLarge => "head-too-large", 431, false, true, "Head too large";
    /// The load is more than a limit can ever admit.
    LoadExceedsCapacity => "load-exceeds-capacity", 422, false, true, "Load exceeds capacity";
    /// The idempotency key was used with another body.
    IdempotencyConflict => "idempotency-conflict", 422, false, true, "Idempotency conflict";
    /// The resource is invalid as a whole.
    InvalidResource => "invalid-resource", 422, false, true, "Invalid resource";
    /// The limits do not allow it now, and the call does not wait.
    LimitExceeded => "limit-exceeded", 429, true, true, "Limit exceeded";
    /// As many leases wait as may wait.
    QueueFull => "queue-full", 429, true, true, "Queue full";
    /// It was not its turn before its time to wait ran out. The same key gets the same answer: make a new one.
    WaitTimeout => "wait-timeout", 429, false, true, "Wait timed out";
    /// There is more of something than there may be: leases, resources, connections.
    TooManyRequests => "too-many-requests", 429, true, true, "Too many requests";
    /// The group has no leader that a quorum follows. Nothing happened: retry anywhere.
    NoQuorum => "no-quorum", 503, true, true, "No quorum";
    /// The call may have had its effect, or not. Repeat it with the same idempotency key.
    UnknownOutcome => "unknown-outcome", 503, true, false, "Unknown outcome";
    /// The node is stopping. A place in the queue stays: repeat the call with the same idempotency key.
    ShuttingDown => "shutting-down", 503, true, false, "Node stopping";
    /// A member of the group runs a version that does not know this yet.
    FeatureNotEnabled => "feature-not-enabled", 503, true, true, "Feature not enabled";
    /// The disk is nearly full: nothing new is granted.
    StorageFull => "storage-full", 507, true, true, "Storage full";
}

/// The body of an error: `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `/problems/` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text that is the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What a program should look at.
    pub code: ErrorCode,
    /// What a person should read: what is wrong here, and what to do.
    pub detail: String,
    /// The resource it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The idempotency key of the call, its own or the one the server made up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The limits that stand in the way; `queue` when only the queue does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violated: Option<Vec<String>>,
    /// When it may be worth to try again: an estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The state that the lease is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<crate::LeaseState>,
}

impl Problem {
    /// A problem with a text for this occurrence.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            resource: None,
            request_id: None,
            violated: None,
            retry_after_ms: None,
            state: None,
        }
    }

    /// True when the call certainly changed nothing. A code that is not known counts by its status:
    /// a 4xx was refused.
    #[must_use]
    pub fn no_effect(&self) -> bool {
        if self.code == ErrorCode::Unknown { self.status < 500 } else { self.code.no_effect() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Also a code that is not known is said.
        let code = self.kind.rsplit('/').next().unwrap_or_default();
        write!(f, "{} ({code}): {}", self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn codes_are_distinct_and_read_back() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), Some(*code));
            let json = serde_json::to_value(code).ok();
            assert_eq!(json, Some(serde_json::Value::from(code.as_str())));
            assert!((400..600).contains(&code.status()));
        }
    }

    #[test]
    fn a_code_that_is_not_known_counts_by_its_status() {
        for (status, no_effect) in [(429, true), (403, true), (500, false), (503, false)] {
            let body = serde_json::json!({
                "type": "/problems/made-up", "title": "Made up", "status": status, "code": "made-up", "detail": "d"
            });
            let problem: Problem = serde_json::from_value(body).unwrap();
            assert_eq!(
                (problem.code, problem.no_effect()),
                (ErrorCode::Unknown, no_effect),
                "{status}"
            );
            assert_eq!(problem.to_string(), "Made up (made-up): d");
        }
    }

    #[test]
    fn only_an_unknown_outcome_and_a_stopping_node_leave_doubt() {
        let doubtful: Vec<_> = ErrorCode::ALL.iter().filter(|code| !code.no_effect()).collect();
        assert_eq!(doubtful, [&ErrorCode::UnknownOutcome, &ErrorCode::ShuttingDown]);
    }
}
