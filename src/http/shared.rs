//! What all operations of the API have in common, put into its description in one place: statuses
//! that come from around the handlers, and headers.

use ratequeue_api::header as names;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{
    Components, Content, HeaderBuilder, Object, OpenApi, PathItem, Ref, RefOr, Response,
    ResponseBuilder, Type,
};

/// Operations whose answers are refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    All,
    /// All but those for health, which are also answered when nothing else is.
    Calls,
    /// Those that have a body.
    Bodies,
    /// Those that change something.
    Writes,
}

/// Status, name and description of a refusal, and which operations have it.
const REFUSALS: [(&str, &str, &str, Of); 8] = [
    ("400", "BadRequest", "A header, parameter or body is malformed", Of::All),
    ("413", "BodyTooLarge", "The body is over 64 KiB", Of::Bodies),
    ("415", "UnsupportedMediaType", "The body is not JSON", Of::Bodies),
    ("422", "IdempotencyConflict", "The Idempotency-Key was used for another request", Of::Writes),
    (
        "429",
        "TooManyRequests",
        "There are too many connections, or calls that wait to be decided",
        Of::Calls,
    ),
    ("431", "HeadTooLarge", "The head of the request is too large", Of::All),
    (
        "503",
        "Unavailable",
        "No quorum, an unknown outcome, or a node that starts or stops",
        Of::Calls,
    ),
    ("507", "StorageFull", "The disk is nearly full", Of::Writes),
];

/// Header, type, description, and whether only writes have it.
const HEADERS: [(&str, Type, &str, bool); 3] = [
    (names::SERVED_BY, Type::Integer, "Id of the node that answered", false),
    (names::LEADER, Type::String, "URL of the node that leads the group, when it is known", false),
    (names::LOG_INDEX, Type::Integer, "Log index at which it was decided", true),
];

/// Adds to every operation what it does not say itself.
pub fn complete(api: &mut OpenApi) {
    let components = api.components.get_or_insert_with(Components::new);
    for (status, name, description, _) in REFUSALS {
        components.responses.insert(name.to_owned(), RefOr::T(refusal(status, description)));
    }
    for (path, item) in &mut api.paths.paths {
        for (is_read, operation) in operations(item) {
            complete_operation(path, is_read, operation);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    let writes = [&mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
    let writes = writes.into_iter().flatten().map(|operation| (false, operation));
    item.get.iter_mut().map(|operation| (true, operation)).chain(writes)
}

fn complete_operation(path: &str, is_read: bool, operation: &mut Operation) {
    let has = |of| match of {
        Of::All => true,
        Of::Calls => !super::server::HEALTH.contains(&path),
        Of::Bodies => operation.request_body.is_some(),
        Of::Writes => !is_read,
    };
    let refusals: Vec<_> = REFUSALS.into_iter().filter(|refusal| has(refusal.3)).collect();

    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response {
            add_headers(status, !is_read, response);
        }
    }
    for (status, name, _, _) in refusals {
        let shared = || RefOr::Ref(Ref::from_response_name(name));
        responses.entry(status.to_owned()).or_insert_with(shared);
    }
}

/// A refusal as all operations have it.
fn refusal(status: &str, description: &str) -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content);
    let mut response = response.build();
    add_headers(status, true, &mut response);
    response
}

fn add_headers(status: &str, is_write: bool, response: &mut Response) {
    let mut add = |name: &str, kind: Type, description: &str| {
        let header = HeaderBuilder::new()
            .schema(Some(Object::with_type(kind)))
            .description(Some(description))
            .build();
        response.headers.entry(name.to_owned()).or_insert(RefOr::T(header));
    };

    for (name, kind, description, only_writes) in HEADERS {
        if is_write || !only_writes {
            add(name, kind, description);
        }
    }

    if status == "429" {
        add("retry-after", Type::Integer, "Seconds after which it may be worth to ask again");
    }
}
