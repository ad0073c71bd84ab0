//! Events as server-sent events (WHATWG HTML, "Server-sent events").
//!
//! The id of a message is the event's place, and after it that of each other group in the stream:
//! whoever comes back with it gets what follows, of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use ratequeue_api::Problem;
use ratequeue_api::caps::{EVENT_PLACE_LEN_MAX, EVENT_RESOURCES_MAX};
use ratequeue_api::event::Event;
use ratequeue_limiter::ResourceName;
use serde::{Deserialize, Serialize};

use super::extract::QueryParams;
use super::problem::Failure;
use crate::service::{EventQuery, EventStream, Place, Service, Told};

/// The header with which a reader comes back.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// A stream that tells nothing for so long shows that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The parameters of a stream of events.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventParams {
    /// Of these resources, with commas between them, at most 100; of all when absent.
    resource: Option<String>,
    /// Of these kinds, with commas between them; of all when absent.
    kinds: Option<String>,
    /// Of this region, or `global`; of the groups that the asked node is in when absent.
    region: Option<String>,
}

/// Tells what happens, as it happens: server-sent events.
///
/// The first message is `ready`, with the log index of each group after which its events follow.
/// Then each message is an event: `event:` is its kind, `data:` the event as JSON, and `id:` its
/// place, for `Last-Event-ID`. `gap` says that what was to be resumed is not known any more, and
/// where it goes on; `lagged` that the reader was too slow, and ends the stream. A comment comes
/// after 15 s without a message.
#[utoipa::path(
    get, path = "/v1/events", tag = "watching",
    params(EventParams, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last message, to go on after it")),
    responses(
        (status = 200, description = "A stream of events", body = Event, content_type = "text/event-stream"),
        (status = 404, description = "No such resource", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many streams are open", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn events(
    State(service): State<Service>,
    QueryParams(params): QueryParams<EventParams>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let query = EventQuery {
        resources: resource_names(params.resource.as_deref())?,
        kinds: list(params.kinds.as_deref())?,
        region: params.region,
        resume: resume(&headers)?,
    };
    let resume = query.resume.clone();
    let told = service.events(query).await?;

    let messages = Sse::new(messages(told, resume));
    let mut response = messages.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Proxies that gather answers pass these on as they come.
    let name = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(name, HeaderValue::from_static("no"));
    Ok(response)
}

/// What stands in a list with commas; nothing when it is absent.
fn list<T: FromStr<Err: std::fmt::Display> + Ord>(
    text: Option<&str>,
) -> Result<BTreeSet<T>, Failure> {
    let items = text.into_iter().flat_map(|text| text.split(',')).map(str::parse);
    items.collect::<Result<_, _>>().map_err(|error| Failure::bad_request(format!("{error}.")))
}

/// The names in a list with commas; nothing when it is absent.
pub fn resource_names(text: Option<&str>) -> Result<BTreeSet<ResourceName>, Failure> {
    let names = text.into_iter().flat_map(|text| text.split(',')).map(ResourceName::new);
    let names: BTreeSet<_> = names
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::bad_request(format!("resource: {error}.")))?;
    if names.len() > EVENT_RESOURCES_MAX {
        let text = format!("resource may name {EVENT_RESOURCES_MAX} resources.");
        return Err(Failure::bad_request(text));
    }
    Ok(names)
}

/// The places from which a reader comes back.
fn resume(headers: &HeaderMap) -> Result<Vec<Place>, Failure> {
    let Some(value) = headers.get(&LAST_EVENT_ID) else { return Ok(Vec::new()) };
    let bad = || Failure::bad_request("Last-Event-ID must be the id of an event, as it was told.");
    let text = value.to_str().map_err(|_| bad())?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > EVENT_PLACE_LEN_MAX {
        return Err(bad());
    }
    text.split(',').map(parse_place).collect::<Option<_>>().ok_or_else(bad)
}

fn parse_place(text: &str) -> Option<Place> {
    let [group, index, ordinal] = *text.split(':').collect::<Vec<_>>() else { return None };
    let group = (!group.is_empty()).then(|| group.to_owned())?;
    Some(Place { group, index: index.parse().ok()?, ordinal: ordinal.parse().ok()? })
}

/// What is told, as messages.
fn messages(
    told: EventStream,
    resume: Vec<Place>,
) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send {
    let mut places = Places::default();
    let messages = told.map(move |told| match told {
        Told::Ready(ready) => {
            places.begin(&ready.at, &resume);
            vec![message("ready", &ready)]
        }
        Told::Events(events) => events.iter().map(|event| places.tell(event)).collect(),
        Told::Gap(gap) => {
            places.0.insert(gap.group.clone(), (gap.first_index, 0));
            vec![message("gap", &gap)]
        }
        Told::Lagged(lagged) => vec![message("lagged", &lagged)],
    });
    messages.flat_map(stream::iter).map(Ok)
}

/// How far each group of a stream has been told: an entry, and an ordinal in it.
#[derive(Debug, Default)]
struct Places(BTreeMap<String, (u64, u32)>);

impl Places {
    fn begin(&mut self, at: &BTreeMap<String, u64>, resume: &[Place]) {
        for (group, after) in at {
            let resumed = resume.iter().find(|place| place.group == *group);
            let place = resumed.map_or((after + 1, 0), |place| (place.index, place.ordinal));
            self.0.insert(group.clone(), place);
        }
    }

    /// The message of an event.
    fn tell(&mut self, event: &Event) -> sse::Event {
        let own = (event.log_index, event.ordinal);
        if let Some(place) = self.0.get_mut(&event.group) {
            *place = own;
        }
        message(event.kind.as_str(), event).id(self.id(&event.group, own))
    }

    /// The place of an event of a group, and those of the other groups.
    fn id(&self, group: &str, (index, ordinal): (u64, u32)) -> String {
        let mut id = format!("{group}:{index}:{ordinal}");
        for (other, (index, ordinal)) in self.0.iter().filter(|(other, _)| *other != group) {
            id.push_str(&format!(",{other}:{index}:{ordinal}"));
        }
        id
    }
}

fn message(kind: &str, data: &impl Serialize) -> sse::Event {
    // Strings and numbers always have a JSON form, which has no line breaks.
    sse::Event::default().event(kind).data(serde_json::to_string(data).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ratequeue_api::event::EventKind;

    use super::*;

    #[test]
    fn an_id_brings_back_to_the_place_of_every_group() {
        let mut places = Places::default();
        let at = BTreeMap::from([("eu".to_owned(), 7), ("global".to_owned(), 3)]);
        places.begin(&at, &[]);
        assert_eq!(places.id("eu", (9, 2)), "eu:9:2,global:4:0");

        let resumed: Vec<_> =
            "eu:9:2,global:4:0".split(',').map(|p| parse_place(p).unwrap()).collect();
        assert_eq!((resumed[0].group.as_str(), resumed[0].index, resumed[0].ordinal), ("eu", 9, 2));
        places.begin(&BTreeMap::from([("eu".to_owned(), 8)]), &resumed);
        assert_eq!(places.0["eu"], (9, 2));
        for bad in ["", "eu", "eu:1", "eu:1:2:3", ":1:2", "eu:x:1", "eu:1:-1"] {
            assert!(parse_place(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn lists_are_read_and_what_is_wrong_is_named() {
        let kinds: BTreeSet<EventKind> = list(Some("granted,released")).unwrap();
        assert_eq!(
            kinds.into_iter().collect::<Vec<_>>(),
            [EventKind::Granted, EventKind::Released]
        );
        assert!(list::<EventKind>(None).unwrap().is_empty());
        assert!(list::<EventKind>(Some("granted,")).is_err());
        assert!(resource_names(Some("a,b")).is_ok() && resource_names(Some("a,,b")).is_err());
        let many: Vec<_> = (0..=EVENT_RESOURCES_MAX).map(|n| format!("r{n}")).collect();
        assert!(resource_names(Some(&many.join(","))).is_err());
    }
}
