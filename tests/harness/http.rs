//! Calls over HTTP, and answers that say what was wrong with them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::described;

/// Longer than any call is held open by the server.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The highest feature level.
const LEVEL: u64 = 2;

/// A client of one node. It follows the node to the port of its next start.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Arc<Mutex<String>>,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub call: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    /// The body as JSON; `null` when it is none.
    pub body: Value,
}

impl Client {
    pub fn new(url: String) -> Self {
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().unwrap();
        Self { http, url: Arc::new(Mutex::new(url)) }
    }

    pub fn url(&self) -> String {
        self.url.lock().clone()
    }

    /// Where the node listens, as `host:port`.
    pub fn address(&self) -> String {
        self.url().trim_start_matches("http://").to_owned()
    }

    pub fn moved(&self, url: String) {
        *self.url.lock() = url;
    }

    /// A call that may fail to reach the node.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let headers: String =
            headers.iter().map(|(name, value)| format!(" {name}: {value:?}")).collect();
        let body = body.map_or_else(String::new, |body| format!(" {body}"));
        let shown = format!("{method} {path}{headers}{body}");
        Answer::of(shown, &method, path, request.send().await?).await
    }

    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let shown = format!("{method} {path}");
        self.try_call(method, path, headers, body)
            .await
            .unwrap_or_else(|error| panic!("{shown}: {error:?}"))
    }

    /// A body that is sent as it is.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request =
            self.http.request(method.clone(), format!("{}{path}", self.url())).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let call = format!("{method} {path}");
        let answer = request.send().await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
        Answer::of(call.clone(), &method, path, answer)
            .await
            .unwrap_or_else(|error| panic!("{call}: {error:?}"))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], None).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, &[], Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, &[], Some(body)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    /// A POST with an idempotency key.
    pub async fn keyed(&self, path: &str, key: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &[("Idempotency-Key", key)], Some(body)).await
    }

    /// Creates a resource with these limits and the default bounds.
    pub async fn create(&self, name: &str, limits: Value) -> Answer {
        let answer = self.put(&format!("/v1/resources/{name}"), json!({ "limits": limits })).await;
        answer.is(201);
        answer
    }

    pub async fn acquire(&self, resource: &str, body: Value) -> Answer {
        self.post(&format!("/v1/resources/{resource}/acquire"), body).await
    }

    /// Acquires, and must be granted.
    pub async fn granted(&self, resource: &str, body: Value) -> Answer {
        let answer = self.acquire(resource, body).await;
        answer.is(200);
        answer
    }

    /// Acquires, and must be put in the queue.
    pub async fn waiting(&self, resource: &str, mut body: Value) -> Answer {
        body["hold_ms"] = json!(0);
        if body["wait_ms"].is_null() {
            body["wait_ms"] = json!(60_000);
        }
        let answer = self.acquire(resource, body).await;
        answer.is(202);
        answer
    }

    pub async fn lease(&self, id: &str) -> Answer {
        self.get(&format!("/v1/leases/{id}")).await
    }

    pub async fn release(&self, id: &str) -> Answer {
        self.post(&format!("/v1/leases/{id}/release"), json!({})).await
    }

    pub async fn extend(&self, id: &str, body: Value) -> Answer {
        self.post(&format!("/v1/leases/{id}/extend"), body).await
    }

    pub async fn stats(&self, resource: &str) -> Value {
        let answer = self.get(&format!("/v1/resources/{resource}/stats")).await;
        answer.is(200);
        answer.body
    }

    /// The leases of a resource in one state, all of them.
    pub async fn leases(&self, resource: &str, state: &str) -> Vec<Value> {
        let answer =
            self.get(&format!("/v1/resources/{resource}/leases?state={state}&limit=1000")).await;
        answer.is(200);
        assert!(answer.body["next_cursor"].is_null(), "more than one page");
        answer.body["items"].as_array().unwrap().clone()
    }

    /// Whether its groups are at the highest feature level. To raise it is the first thing that a
    /// new leader does, and an entry of the log.
    pub async fn is_at_the_level(&self) -> bool {
        let Ok(view) = self.try_call(Method::GET, "/v1/cluster", &[], None).await else {
            return false;
        };
        let groups = view.body["groups"].as_object().into_iter().flatten();
        groups.into_iter().all(|(_, group)| group["feature_level"] == LEVEL)
    }

    /// The group of the node's region, as the cluster view shows it.
    pub async fn group(&self) -> Value {
        let answer = self.get("/v1/cluster").await;
        answer.is(200);
        let groups = answer.body["groups"].as_object().unwrap();
        let (_, group) =
            groups.iter().find(|(name, _)| *name != "global").expect("the node is in a group");
        group.clone()
    }

    /// Index of the last entry that the node has applied.
    pub async fn applied_index(&self) -> u64 {
        self.group().await["applied_index"].as_u64().unwrap()
    }
}

impl Answer {
    async fn of(
        call: String,
        method: &Method,
        path: &str,
        answer: reqwest::Response,
    ) -> Result<Self, reqwest::Error> {
        let (status, headers) = (answer.status(), answer.headers().clone());
        described::check(method.as_str(), path, status.as_u16(), &headers);
        let text = String::from_utf8_lossy(&answer.bytes().await?).into_owned();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self { call, status: status.as_u16(), headers, text, body })
    }

    /// It has this status.
    #[track_caller]
    pub fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}\nanswered {}", self.call, self.text);
        self
    }

    /// It is a problem with this status and code, and in the form that every problem has.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> &Self {
        self.is(status);
        let shown = format!("{}\nanswered {}", self.call, self.text);
        assert_eq!(self.body["code"], code, "{shown}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{shown}");
        assert_eq!(self.body["type"], format!("/problems/{code}"), "{shown}");
        assert_eq!(self.body["status"], status, "{shown}");
        for field in ["title", "detail"] {
            assert!(
                self.body[field].as_str().is_some_and(|text| text.len() > 5),
                "{field}: {shown}"
            );
        }
        self
    }

    /// The text that says what is wrong has these words.
    #[track_caller]
    pub fn says(&self, words: &[&str]) -> &Self {
        let detail = self.body["detail"].as_str().unwrap_or_default();
        for word in words {
            assert!(detail.contains(word), "{}\nmust say {word:?}, and says {detail:?}", self.call);
        }
        self
    }

    /// It has these fields, and they alone.
    #[track_caller]
    pub fn has_fields(&self, fields: &[&str]) -> &Self {
        let mut found: Vec<&str> =
            self.body.as_object().unwrap().keys().map(String::as_str).collect();
        let mut fields = fields.to_vec();
        found.sort_unstable();
        fields.sort_unstable();
        assert_eq!(found, fields, "{}\nanswered {}", self.call, self.text);
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The log index at which it took effect.
    #[track_caller]
    pub fn log_index(&self) -> u64 {
        let text = self.header("ratequeue-log-index");
        text.and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{}\nhas no RateQueue-Log-Index", self.call))
    }

    #[track_caller]
    pub fn str(&self, field: &str) -> &str {
        self.body[field]
            .as_str()
            .unwrap_or_else(|| panic!("{}\nhas no {field}: {}", self.call, self.text))
    }

    #[track_caller]
    pub fn u64(&self, field: &str) -> u64 {
        self.body[field]
            .as_u64()
            .unwrap_or_else(|| panic!("{}\nhas no {field}: {}", self.call, self.text))
    }

    /// The id of the lease that it shows.
    #[track_caller]
    pub fn id(&self) -> String {
        self.str("id").to_owned()
    }

    pub fn is_success(&self) -> bool {
        StatusCode::from_u16(self.status).is_ok_and(|status| status.is_success())
    }
}

/// A limit on what is held at once.
pub fn concurrency(quota: u64) -> Value {
    json!({"slots": {"kind": "concurrency", "quota": quota}})
}

/// A limit on the load in a sliding window.
pub fn rate(quota: u64, window_ms: u64) -> Value {
    json!({"tpm": {"kind": "rate", "quota": quota, "window_ms": window_ms}})
}
