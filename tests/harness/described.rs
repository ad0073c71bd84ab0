//! Every answer that a test sees must be one that docs/openapi.json describes: path, method, status
//! and headers.

use std::sync::LazyLock;

use reqwest::header::HeaderMap;
use serde_json::Value;

const TEXT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json"));

static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(TEXT).unwrap());

/// Headers of answers that mean something to a caller; with them all that begin with `ratequeue-`.
const HEADERS: [&str; 5] = ["retry-after", "location", "etag", "ratelimit", "ratelimit-policy"];

/// The answer is described, or the test fails. What does not say which node it is from, like one of
/// a proxy, is not looked at.
pub fn check(method: &str, path: &str, status: u16, headers: &HeaderMap) {
    if !headers.contains_key("ratequeue-served-by") {
        return;
    }
    let path = path.split('?').next().unwrap_or_default();
    let what = format!("{method} {path} answered {status}, and docs/openapi.json");
    let Some(item) = described_path(path) else {
        assert!([400, 404, 429, 503].contains(&status), "{what} has no such path");
        return;
    };
    // What there is to GET there is to HEAD.
    let name = if method == "HEAD" { "get".to_owned() } else { method.to_ascii_lowercase() };
    let Some(operation) = item.get(name.as_str()) else {
        assert!([400, 405, 429, 503].contains(&status), "{what} has no such method");
        return;
    };

    let response = &operation["responses"][status.to_string()];
    assert!(!response.is_null(), "{what} does not list the status");
    let response = match response["$ref"].as_str() {
        Some(place) => DESCRIPTION
            .pointer(place.trim_start_matches('#'))
            .expect("what is referred to is there"),
        None => response,
    };
    for header in headers.keys().map(|name| name.as_str()) {
        let matters = HEADERS.contains(&header) || header.starts_with("ratequeue-");
        assert!(
            !matters || !response["headers"][header].is_null(),
            "{what} does not list the header {header}"
        );
    }
}

/// What is described for the template that a path fits.
fn described_path(path: &str) -> Option<&'static Value> {
    let fits = |template: &str| {
        let (parts, wanted) =
            (path.split('/').collect::<Vec<_>>(), template.split('/').collect::<Vec<_>>());
        let fits = |(part, wanted): (&&str, &&str)| {
            part == wanted || wanted.starts_with('{') && !part.is_empty()
        };
        parts.len() == wanted.len() && parts.iter().zip(&wanted).all(fits)
    };
    let paths = DESCRIPTION["paths"].as_object().unwrap();
    paths.iter().find(|(template, _)| fits(template)).map(|(_, item)| item)
}
