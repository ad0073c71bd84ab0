//! One attempt of a call: sent to one node, once.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::nodes::subject_of;
use super::retry::Purpose;
use super::{Client, ClientError};
use crate::error::{ErrorCode, Problem};
use crate::header;

/// One call, as it is sent in each attempt.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub purpose: Purpose,
    pub method: Method,
    pub path: &'a str,
    /// What it is about.
    pub subject: Option<String>,
    pub key: &'a str,
    pub body: Option<Vec<u8>>,
    /// How long one attempt may take.
    pub timeout: Duration,
}

impl<'a> Call<'a> {
    /// A call for a decision, whose attempts may take so long.
    pub fn new<B: Serialize>(
        method: Method,
        path: &'a str,
        key: &'a str,
        body: Option<&B>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| ClientError::Configuration(error.to_string()))?;
        Ok(Self { purpose: Purpose::Decision, method, path, subject: subject_of(path), key, body, timeout })
    }

    /// The same call about a lease that is there.
    pub fn of_upkeep(self) -> Self {
        Self { purpose: Purpose::Upkeep, ..self }
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
        serde_json::from_slice(body).map_err(|error| ClientError::Foreign(self.url.clone(), error.to_string()))
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There was no connection: nothing was sent.
    NotConnected,
    /// No answer came within the time of the attempt.
    TimedOut,
    /// The connection ended before the answer, or a proxy answered in the place of the node.
    Cut,
    /// A node answered with this error.
    Refused(ErrorCode),
    /// What answered is no node, or the call cannot be made at all.
    Invalid,
}

impl Cause {
    /// True when the attempt certainly changed nothing.
    pub fn no_effect(self) -> bool {
        match self {
            Self::NotConnected => true,
            Self::Refused(code) => code.no_effect(),
            Self::TimedOut | Self::Cut | Self::Invalid => false,
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

    /// The cause of a failure without a problem in its body.
    fn of_status(status: StatusCode) -> Self {
        let of_proxies = [
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        if of_proxies.contains(&status) { Self::Cut } else { Self::Invalid }
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
        let cause = error.code().map_or(Cause::Invalid, Cause::Refused);
        Self { cause, lived: Duration::ZERO, error }
    }
}

impl Client {
    /// Sends a call to one node, once.
    pub(super) async fn attempt(&self, call: &Call<'_>, url: &str) -> Result<Answer, Trouble> {
        let sent = Instant::now();
        let trouble = |cause: Cause, error: ClientError| Trouble { cause, lived: sent.elapsed(), error };
        let lost = |error: reqwest::Error| {
            trouble(Cause::of_transport(&error), ClientError::Unreachable(reason(&error), url.to_owned()))
        };

        let answer = self.request(call, url).send().await.map_err(lost)?;
        let leader = answer.headers().get(header::LEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = answer.status();
        let body = answer.bytes().await.map_err(lost)?.to_vec();

        if let (Some(leader), Some(subject)) = (leader, &call.subject) {
            self.nodes.prefer(subject, &leader);
        }
        if status.is_success() {
            return Ok(Answer { url: url.to_owned(), status, body, sent });
        }
        match problem(&body) {
            Ok(problem) => Err(trouble(Cause::Refused(problem.code), ClientError::Problem(Box::new(problem)))),
            Err(said) => {
                let error = ClientError::Foreign(url.to_owned(), format!("status {status}{said}"));
                Err(trouble(Cause::of_status(status), error))
            }
        }
    }

    fn request(&self, call: &Call<'_>, url: &str) -> reqwest::RequestBuilder {
        let mut request = self
            .http
            .request(call.method.clone(), format!("{url}{}", call.path))
            .timeout(call.timeout)
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
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The problem in the body of an answer, or what else it says. A node of a later version may know states that this client
/// does not: such a lease is over, whatever its state is called.
fn problem(body: &[u8]) -> Result<Problem, String> {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return Err(String::new()) };
    if let Ok(problem) = Problem::deserialize(&value) {
        return Ok(problem);
    }

    if let Some(fields) = value.as_object_mut() {
        fields.remove("state");
    }
    Problem::deserialize(&value).map_err(|_| {
        let field = |name: &str| value.get(name).and_then(Value::as_str).map(|text| format!(": {text}"));
        field("code").into_iter().chain(field("detail")).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_read_without_what_is_not_known() {
        let known = Problem::new(ErrorCode::LeaseEnded, "over");
        let mut body = serde_json::to_value(&known).unwrap();
        assert_eq!(problem(body.to_string().as_bytes()), Ok(known.clone()));
        body["state"] = "of_a_later_version".into();
        assert_eq!(problem(body.to_string().as_bytes()), Ok(known));

        body["code"] = "made-up".into();
        assert_eq!(problem(body.to_string().as_bytes()), Err(": made-up: over".to_owned()));
        assert_eq!(problem(b"<html>"), Err(String::new()));
    }

    #[test]
    fn what_answers_in_the_place_of_a_node_is_a_cut() {
        for (status, cause) in [(502, Cause::Cut), (504, Cause::Cut), (503, Cause::Cut), (404, Cause::Invalid)] {
            assert_eq!(Cause::of_status(StatusCode::from_u16(status).unwrap()), cause, "{status}");
        }
    }
}
