//! Events: what is told, in which order, and from where on.

use std::time::Duration;

use ratequeue_api::client::{Client, EventMessage, EventReader, EventsRequest};
use ratequeue_api::event::{Event, EventKind};
use reqwest::StatusCode;
use serde_json::json;

use crate::calls::node_with;
use crate::harness::{Node, concurrency};

const PATIENCE: Duration = Duration::from_secs(10);

fn client(url: &str) -> Client {
    Client::new(url, None, PATIENCE).unwrap()
}

/// A reader whose stream has begun.
async fn reader(url: &str, request: &EventsRequest) -> EventReader {
    let mut events = client(url).events(request);
    let EventMessage::Ready(ready) = next(&mut events).await else { panic!("it begins so") };
    assert_eq!(ready.at.keys().collect::<Vec<_>>(), ["global", "local"]);
    events
}

async fn next(events: &mut EventReader) -> EventMessage {
    tokio::time::timeout(PATIENCE, events.next()).await.expect("it is told soon").unwrap()
}

async fn event(events: &mut EventReader) -> Event {
    let told = next(events).await;
    let EventMessage::Event(event) = told else { panic!("{told:?} is no event") };
    *event
}

fn resource(name: &str) -> EventsRequest {
    EventsRequest { resources: vec![name.to_owned()], ..EventsRequest::default() }
}

#[tokio::test]
async fn what_happens_is_told_in_order_with_how_the_resource_stands() {
    let node = node_with(concurrency(1)).await;
    let mut events = reader(&node.url(), &EventsRequest::default()).await;
    let held = node.client.granted("r", json!({"load": 3})).await;
    let waiting = node.client.waiting("r", json!({"priority": 2})).await;
    node.client.acquire("r", json!({})).await.problem(429, "limit-exceeded");
    node.client.release(&held.id()).await.is(200);
    node.client.release(&waiting.id()).await.is(200);
    node.client.patch("/v1/resources/r", json!({"limits": {"slots": {"quota": 2}}})).await.is(200);
    node.client.delete("/v1/resources/r").await.is(204);

    let told = [
        (EventKind::Granted, Some(&held), Some((0, 1))),
        (EventKind::Queued, Some(&waiting), Some((1, 1))),
        (EventKind::Rejected, None, Some((1, 1))),
        (EventKind::Released, Some(&held), Some((1, 0))),
        (EventKind::Granted, Some(&waiting), Some((0, 1))),
        (EventKind::Released, Some(&waiting), Some((0, 0))),
        (EventKind::LimitChanged, None, Some((0, 0))),
        (EventKind::Deleted, None, None),
    ];
    let mut place = (0, 0);
    for (kind, lease, standing) in told {
        let event = event(&mut events).await;
        assert_eq!((event.kind, &event.id), (kind, &lease.map(|lease| lease.id())), "{event:?}");
        assert_eq!(event.queue_depth.zip(event.held), standing, "{event:?}");
        assert_eq!((event.group.as_str(), event.resource.as_deref()), ("local", Some("r")));
        assert!((event.log_index, event.ordinal) > place, "{event:?} after {place:?}");
        place = (event.log_index, event.ordinal);
        if kind == EventKind::Granted && lease.unwrap().id() == held.id() {
            assert_eq!((event.load, event.priority), (Some(3), Some(5)));
            assert_eq!(event.waited_ms, Some(0));
            assert_eq!(event.fencing_token, Some(held.u64("fencing_token")));
            assert_eq!(event.log_index, held.log_index());
        }
        if kind == EventKind::Queued {
            assert_eq!((event.load, event.priority), (Some(1), Some(2)));
        }
        let reason = (kind == EventKind::Rejected).then_some("limit-exceeded");
        assert_eq!(event.reason.map(|reason| reason.as_str()), reason);
        assert_eq!(event.version, (kind == EventKind::LimitChanged).then_some(2));
    }
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() {
    let node = node_with(concurrency(1)).await;
    node.client.create("other%2Fone", concurrency(1)).await.is(201);
    let kinds = vec![EventKind::Released];
    let mut released =
        reader(&node.url(), &EventsRequest { kinds, ..EventsRequest::default() }).await;
    let mut other = client(&node.url()).events(&resource("other/one"));
    let EventMessage::Ready(_) = next(&mut other).await else { panic!("it begins so") };

    for name in ["r", "other%2Fone"] {
        let path = format!("/v1/resources/{name}/acquire");
        let granted = node.client.post(&path, json!({})).await;
        node.client.release(&granted.id()).await.is(200);
    }
    assert_eq!(event(&mut released).await.resource.as_deref(), Some("r"));
    assert_eq!(event(&mut released).await.resource.as_deref(), Some("other/one"));
    for kind in [EventKind::Granted, EventKind::Released] {
        let event = event(&mut other).await;
        assert_eq!((event.kind, event.resource.as_deref()), (kind, Some("other/one")));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_goes_on_where_it_was() {
    let mut node = Node::start().await;
    node.client.create("r", concurrency(1)).await.is(201);
    let mut events = reader(&node.url(), &EventsRequest::default()).await;
    let first = node.client.granted("r", json!({"ttl_ms": 600_000})).await;
    assert_eq!(event(&mut events).await.id, Some(first.id()));

    // What is in its log is told again after a start.
    let waiting = node.client.waiting("r", json!({"wait_ms": 60_000})).await;
    node.kill().await;
    node.start_again().await;
    node.client.release(&first.id()).await.is(200);
    let mut events = Resumed { node: &node, id: format!("local:{}:1", first.log_index()) };
    let kinds = events.told(4).await;
    let leader = kinds.iter().position(|kind| *kind == "leader_changed").unwrap();
    let others: Vec<_> = kinds.iter().filter(|kind| *kind != "leader_changed").collect();
    assert_eq!(others, ["queued", "released", "granted"], "{leader}");

    // A clean stop leaves a checkpoint behind, and nothing of its log is read again.
    node.stop().await;
    node.start_again().await;
    events = Resumed { node: &node, id: format!("local:{}:1", waiting.log_index()) };
    assert_eq!(events.told(1).await, ["gap"]);
    events.id = "local:999999:1".to_owned();
    assert_eq!(events.told(1).await, ["gap"], "from another life of the cluster");
}

/// A stream that is resumed, read as it comes over the wire.
struct Resumed<'a> {
    node: &'a Node,
    id: String,
}

impl Resumed<'_> {
    /// The kinds of the first messages, after `ready`.
    async fn told(&self, count: usize) -> Vec<String> {
        let url = format!("{}/v1/events?region=local", self.node.url());
        let request = reqwest::Client::new().get(url).header("last-event-id", &self.id);
        let mut answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let (mut text, mut kinds) = (String::new(), Vec::new());
        while kinds.len() <= count {
            let chunk = tokio::time::timeout(PATIENCE, answer.chunk()).await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&chunk.expect("it goes on")).unwrap());
            kinds = text
                .lines()
                .filter_map(|line| line.strip_prefix("event: "))
                .map(str::to_owned)
                .collect();
        }
        assert_eq!(kinds.remove(0), "ready");
        kinds.truncate(count);
        kinds
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_refused() {
    let node = node_with(concurrency(1)).await;
    node.client.get("/v1/events?kinds=grant").await.problem(400, "bad-request").says(&["granted"]);
    node.client.get("/v1/events?resource=a%20b").await.problem(400, "bad-request");
    node.client.get("/v1/events?resource=nobody").await.problem(404, "resource-not-found");
    let mars = node.client.get("/v1/events?region=mars").await;
    mars.problem(400, "bad-request").says(&["mars", "local", "global"]);
    node.client.get("/v1/events?since=1").await.problem(400, "bad-request").says(&["since"]);

    for id in ["7", "local:1", "local:x:1"] {
        let request = reqwest::Client::new().get(format!("{}/v1/events", node.url()));
        let answer = request.header("last-event-id", id).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{id}");
    }
}

#[tokio::test]
async fn there_are_so_many_streams_and_each_gives_its_place_back() {
    let node = node_with(concurrency(1)).await;
    let http = reqwest::Client::new();
    let url = format!("{}/v1/events", node.url());
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(http.get(&url).send().await.unwrap().error_for_status().unwrap());
    }
    node.client.get("/v1/events").await.problem(429, "too-many-requests");
    node.client.granted("r", json!({})).await;
    drop(open);
    crate::harness::eventually("there is room again", async || {
        http.get(&url).send().await.unwrap().status().is_success().then_some(())
    })
    .await;
}
