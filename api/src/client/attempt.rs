//! One attempt of a call: sent to one node, once.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::Unavailable;
use super::nodes::{Nodes, subject_of};
use super::{Client, ClientError};
use crate::error::{ErrorCode, Problem};
use crate::header;

/// An attempt that is left unanswered after this time, and the time for which it is held open, was
/// sent to a node that hangs.
const HUNG_AFTER: Duration = Duration::from_millis(500);

/// One call, as it is sent in each attempt.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub method: Method,
    pub path: &'a str,
    /// What it is about.
    pub subject: Option<String>,
    pub key: &'a str,
    pub body: Option<Vec<u8>>,
    /// How long one attempt may take.
    pub share: Share,
    /// For how long the server may hold it open.
    pub hold: Duration,
    /// The lease has its place, which is kept while this call is repeated.
    pub is_queued: bool,
}

/// How much of the time that is left one attempt may take, so that another node can be tried in the
/// rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Half,
    /// For a lease that ends when no attempt succeeds.
    Third,
    /// As long as a change of members takes. One node is asked for it, and no other.
    OneNode,
}

impl<'a> Call<'a> {
    pub fn new<B: Serialize>(
        method: Method,
        path: &'a str,
        key: &'a str,
        body: Option<&B>,
        share: Share,
    ) -> Result<Self, ClientError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| ClientError::Configuration(error.to_string()))?;
        let subject = subject_of(path);
        Ok(Self { method, path, subject, key, body, share, hold: Duration::ZERO, is_queued: false })
    }
}

/// A successful answer.
#[derive(Debug)]
pub(super) struct Answer {
    url: String,
    status: StatusCode,
    body: Vec<u8>,
    /// When the attempt was sent that it answers.
    pub sent: Instant,
}

impl Answer {
    pub fn read<A: DeserializeOwned>(&self) -> Result<A, ClientError> {
        // An answer without a body stands for the unit type.
        let body: &[u8] = if self.status == StatusCode::NO_CONTENT { b"null" } else { &self.body };
        serde_json::from_slice(body)
            .map_err(|error| ClientError::Foreign(self.url.clone(), error.to_string()))
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There was no connection: nothing was sent.
    NotConnected,
    /// No answer came within the time of the attempt.
    TimedOut,
    /// The connection ended before the answer.
    Cut,
    /// What stands before the node answered in its place.
    Gateway,
    /// A node answered with an error that may pass.
    Passing { no_effect: bool, is_busy: bool },
    /// A node answered with an error that stays, or what answered is no node, or the call cannot be
    /// made at all.
    Final { no_effect: bool },
}

impl Cause {
    /// True when the attempt certainly changed nothing.
    pub fn no_effect(self) -> bool {
        match self {
            Self::NotConnected => true,
            Self::Passing { no_effect, .. } | Self::Final { no_effect } => no_effect,
            Self::TimedOut | Self::Cut | Self::Gateway => false,
        }
    }

    fn of_transport(error: &reqwest::Error) -> Self {
        if error.is_connect() {
            Self::NotConnected
        } else if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::Cut
        }
    }

    pub fn of_problem(problem: &Problem) -> Self {
        let (no_effect, is_busy) =
            (problem.no_effect(), problem.code == ErrorCode::TooManyRequests);
        if problem.status >= 500 || is_busy {
            Self::Passing { no_effect, is_busy }
        } else {
            Self::Final { no_effect }
        }
    }

    /// The cause of a failure without a problem in its body. A 4xx or a redirection was refused
    /// before it came to a node.
    fn of_status(status: StatusCode) -> Self {
        if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
            Self::Gateway
        } else {
            Self::Final { no_effect: !status.is_success() }
        }
    }
}

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Trouble {
    pub cause: Cause,
    /// How long it took to fail.
    pub lived: Duration,
    pub error: ClientError,
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self { cause: Cause::Final { no_effect: true }, lived: Duration::ZERO, error }
    }
}

/// An attempt that is under way. One that is dropped long after it was sent, as by a timeout of its
/// caller, tells that the node hangs, so that the next call does not find it out again.
struct Asking<'a> {
    nodes: &'a Nodes,
    url: &'a str,
    patient_until: Instant,
    is_over: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.is_over && Instant::now() >= self.patient_until {
            self.nodes.silent(self.url);
        }
    }
}

impl Client {
    /// Sends a call to one node, once.
    pub(super) async fn attempt(
        &self,
        call: &Call<'_>,
        url: &str,
        timeout: Duration,
    ) -> Result<Answer, Trouble> {
        let sent = Instant::now();
        let patient_until = sent + call.hold + HUNG_AFTER;
        let mut asking = Asking { nodes: &self.nodes, url, patient_until, is_over: false };
        let outcome = self.exchange(call, url, timeout, sent).await;
        asking.is_over = true;
        outcome
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        url: &str,
        timeout: Duration,
        sent: Instant,
    ) -> Result<Answer, Trouble> {
        let trouble =
            |cause: Cause, error: ClientError| Trouble { cause, lived: sent.elapsed(), error };
        let lost = |error: reqwest::Error| {
            let cause = Cause::of_transport(&error);
            let why = Unavailable::silent(cause.no_effect(), reason(&error), url.to_owned());
            trouble(cause, ClientError::Unavailable(why))
        };

        let answer = self.request(call, url, timeout).send().await.map_err(lost)?;
        let leader = answer
            .headers()
            .get(header::LEADER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let status = answer.status();
        let body = answer.bytes().await.map_err(lost)?.to_vec();

        self.nodes.answered(url);
        if let (Some(leader), Some(subject)) = (leader, &call.subject) {
            self.nodes.prefer(subject, &leader);
        }
        if status.is_success() {
            return Ok(Answer { url: url.to_owned(), status, body, sent });
        }
        let (cause, error) = refusal(url, status, &body);
        Err(trouble(cause, error))
    }

    fn request(&self, call: &Call<'_>, url: &str, timeout: Duration) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .request(call.method.clone(), format!("{url}{}", call.path))
            .timeout(timeout)
            .header(header::IDEMPOTENCY_KEY, call.key);

        if let Some(api_key) = &self.api_key {
            request = request.bearer_auth(api_key);
        }
        if let Some(body) = &call.body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        request
    }
}

/// The innermost cause: the one that says what happened.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Why a call failed whose answer is no success.
pub(super) fn refusal(url: &str, status: StatusCode, body: &[u8]) -> (Cause, ClientError) {
    match problem(body) {
        Some(problem) => (Cause::of_problem(&problem), ClientError::Problem(Box::new(problem))),
        None => {
            let error = ClientError::Foreign(url.to_owned(), format!("status {status}"));
            (Cause::of_status(status), error)
        }
    }
}

/// The problem in the body of an answer. A node of a later version may know states that this client
/// does not: such a lease is over, whatever its state is called.
fn problem(body: &[u8]) -> Option<Problem> {
    let mut value = serde_json::from_slice::<Value>(body).ok()?;
    if let Ok(problem) = Problem::deserialize(&value) {
        return Some(problem);
    }

    value.as_object_mut()?.remove("state");
    Problem::deserialize(&value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_read_without_what_is_not_known() {
        let known = Problem::new(ErrorCode::LeaseEnded, "over");
        let mut body = serde_json::to_value(&known).unwrap();
        assert_eq!(problem(body.to_string().as_bytes()), Some(known.clone()));
        body["state"] = "of_a_later_version".into();
        assert_eq!(problem(body.to_string().as_bytes()), Some(known));

        body["code"] = "made-up".into();
        assert_eq!(
            problem(body.to_string().as_bytes()).map(|problem| problem.code),
            Some(ErrorCode::Unknown)
        );
        assert_eq!(problem(b"<html>"), None);
    }

    #[test]
    fn what_answers_in_the_place_of_a_node_counts_by_its_status() {
        for (status, cause) in [
            (500, Cause::Gateway),
            (502, Cause::Gateway),
            (504, Cause::Gateway),
            (408, Cause::Gateway),
            (404, Cause::Final { no_effect: true }),
            (302, Cause::Final { no_effect: true }),
        ] {
            assert_eq!(Cause::of_status(StatusCode::from_u16(status).unwrap()), cause, "{status}");
        }
    }
}
