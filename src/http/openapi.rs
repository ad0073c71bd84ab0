//! The routes, and the description of the API that is made from them.

use std::sync::OnceLock;

use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{acquire, cluster, dashboard, events, leases, resources, shared, watch};
use crate::service::Service;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "RateQueue",
        version = "1",
        description = "A replicated rate limiter that is also a queue. Durations are whole milliseconds (`_ms`), log indexes rise.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        contact()
    ),
    tags(
        (name = "resources", description = "Named things with limits"),
        (name = "leases", description = "Acquire, wait, release"),
        (name = "watching", description = "What goes on"),
        (name = "cluster", description = "Forming a cluster, and its members")
    ),
    components(schemas(ratequeue_api::ErrorCode, leases::ListState))
)]
struct Api;

/// Every route with its description.
pub fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(resources::list))
        .routes(routes!(resources::get, resources::put, resources::patch, resources::delete))
        .routes(routes!(acquire::acquire))
        .routes(routes!(leases::list))
        .routes(routes!(watch::stats))
        .routes(routes!(watch::series))
        .routes(routes!(events::events))
        .routes(routes!(leases::look))
        .routes(routes!(leases::release))
        .routes(routes!(leases::extend))
        .routes(routes!(cluster::look))
        .routes(routes!(cluster::nodes))
        .routes(routes!(cluster::adopt))
        .routes(routes!(cluster::change))
        .routes(routes!(cluster::transfer_leader))
        .routes(routes!(watch::healthz))
        .routes(routes!(watch::startupz))
        .routes(routes!(watch::readyz))
        .routes(routes!(watch::metrics))
        .routes(routes!(serve))
        .routes(routes!(dashboard::page))
        .routes(routes!(dashboard::asset))
}

/// The description as JSON, the same text each time.
pub fn document() -> String {
    let (_, mut api) = routes().split_for_parts();
    shared::complete(&mut api);
    let mut text = api.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// This description: OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "watching", responses((status = 200, description = "OpenAPI, as JSON")))]
pub async fn serve() -> impl IntoResponse {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (json, DOCUMENT.get_or_init(document).as_str())
}
