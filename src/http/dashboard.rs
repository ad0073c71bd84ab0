//! The dashboard: the files of `dashboard/dist`, which are in the program.
//!
//! The page speaks to the node that serves it and to nobody else, and its policy says so.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ratequeue_api::ErrorCode;
use rust_embed::{EmbeddedFile, RustEmbed};

use super::problem::Failure;

/// What the page may load: what this node serves. Nothing in it is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";
/// The page is asked for each time, and is answered as not modified if it is the same.
const PAGE_CACHE: &str = "no-cache";
/// The name of an asset has a hash of what is in it.
const ASSET_CACHE: &str = "public, max-age=31536000, immutable";

#[derive(RustEmbed)]
#[folder = "dashboard/dist"]
struct Dist;

/// The dashboard.
#[utoipa::path(
    get, path = "/", tag = "watching",
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html"),
        (status = 304, description = "The page is the one that the caller has"),
    )
)]
pub async fn page(headers: HeaderMap) -> Result<Response, Failure> {
    answer("index.html", PAGE_CACHE, &headers)
}

/// A file that the dashboard loads.
#[utoipa::path(
    get, path = "/assets/{file}", tag = "watching",
    params(("file" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The file", body = String, content_type = "text/javascript"),
        (status = 304, description = "The file is the one that the caller has"),
        (status = 404, description = "There is no such file", body = ratequeue_api::Problem, content_type = "application/problem+json"),
    )
)]
pub async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    answer(&format!("assets/{file}"), ASSET_CACHE, &headers)
}

fn answer(path: &str, cache: &'static str, headers: &HeaderMap) -> Result<Response, Failure> {
    let file = Dist::get(path).ok_or_else(|| {
        let detail = format!("The dashboard has no {path}: load the page again.");
        Failure::new(ErrorCode::NotFound, detail)
    })?;

    let etag = etag(&file);
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == etag);
    let named = [(header::ETAG, etag), (header::CACHE_CONTROL, HeaderValue::from_static(cache))];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, named).into_response());
    }

    let kind = HeaderValue::from_str(file.metadata.mimetype())
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let safe = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    Ok((named, safe, file.data.into_owned()).into_response())
}

fn etag(file: &EmbeddedFile) -> HeaderValue {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    // Hexadecimal digits in quotes are a header.
    HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_only_what_is_there() {
        let page = Dist::get("index.html").unwrap();
        let text = String::from_utf8(page.data.into_owned()).unwrap();
        let loaded: Vec<_> = text
            .split(['"', '\''])
            .filter_map(|part| part.strip_prefix("./"))
            .filter(|path| path.starts_with("assets/"))
            .collect();
        assert!(loaded.len() >= 2, "{text}");
        for path in loaded {
            assert!(Dist::get(path).is_some(), "{path}");
        }
        assert!(!text.contains("<style") && !text.contains("style="), "nothing is inline");
    }
}
