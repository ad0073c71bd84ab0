//! Series, and that all that is told of the same things agrees.

use std::time::Duration;

use ratequeue_api::client::{Client, EventMessage, EventReader, EventsRequest};
use ratequeue_api::event::EventKind;
use serde_json::{Value, json};

use crate::calls::node_with;
use crate::harness::{concurrency, eventually};
use crate::metrics::sample;

const PATIENCE: Duration = Duration::from_secs(10);

fn sum(row: &Value) -> u64 {
    row.as_array().unwrap().iter().filter_map(Value::as_u64).sum()
}

fn last(row: &Value) -> Option<u64> {
    row.as_array().unwrap().last().unwrap().as_u64()
}

/// Of so many events: how many grants, releases, refusals and places in the queue; and how the
/// resource stands after them.
async fn told(events: &mut EventReader, count: u64) -> ([u64; 4], Option<(u64, u64)>) {
    use EventKind::{Granted, Queued, Rejected, Released};
    let (mut told, mut standing) = ([0; 4], None);
    while told.iter().sum::<u64>() < count {
        let next = tokio::time::timeout(PATIENCE, events.next()).await.expect("it is told soon");
        let EventMessage::Event(event) = next.unwrap() else { panic!("no event") };
        let kinds = [Granted, Released, Rejected, Queued];
        let kind = kinds.iter().position(|kind| *kind == event.kind);
        told[kind.unwrap_or_else(|| panic!("{event:?}"))] += 1;
        standing = event.held.zip(event.queue_depth);
    }
    (told, standing)
}

/// 43 leases were granted, 3 are held and 2 wait; 5 acquires were refused.
async fn metrics_say_the_same(client: &crate::harness::Client) {
    let metrics = eventually("the metrics are fresh", || async {
        let text = client.get("/metrics").await.is(200).text.clone();
        text.contains("resource=\"r\"").then_some(text)
    })
    .await;
    let r = "resource=\"r\"";
    let of = |name: &str, labels: &[&str]| sample(&metrics, name, labels);
    assert_eq!(of("ratequeue_queue_depth", &[r]), 2.0);
    assert_eq!(of("ratequeue_held", &[r]), 3.0);
    assert_eq!(of("ratequeue_acquires_total", &[r, "outcome=\"granted\""]), 43.0);
    assert_eq!(of("ratequeue_acquires_total", &[r, "outcome=\"refused\""]), 5.0);
}

#[tokio::test]
async fn clients_events_stats_series_and_metrics_count_the_same() {
    let node = node_with(concurrency(3)).await;
    let client = &node.client;
    let mut events =
        Client::new(&node.url(), None, PATIENCE).unwrap().events(&EventsRequest::default());
    let EventMessage::Ready(_) = events.next().await.unwrap() else { panic!("it begins so") };

    // As counted by the clients: what was granted, released, refused; who holds and waits at last.
    let (mut granted, mut released, mut refused) = (0, 0, 0);
    for _ in 0..40 {
        let lease = client.granted("r", json!({})).await;
        granted += 1;
        client.release(&lease.id()).await.is(200);
        released += 1;
    }
    for _ in 0..3 {
        client.granted("r", json!({"ttl_ms": 600_000})).await;
        granted += 1;
    }
    for _ in 0..5 {
        client.acquire("r", json!({})).await.problem(429, "limit-exceeded");
        refused += 1;
    }
    for _ in 0..2 {
        client.waiting("r", json!({"wait_ms": 600_000})).await;
    }
    let (held, waiting) = (3, 2);

    let all = granted + released + refused + waiting;
    let (told, standing) = told(&mut events, all).await;
    assert_eq!(told, [granted, released, refused, waiting]);
    assert_eq!(standing, Some((held, waiting)));

    let stats = client.stats("r").await;
    assert_eq!(
        (stats["held"].as_u64(), stats["queue_depth"].as_u64()),
        (Some(held), Some(waiting))
    );
    let head = &stats["head"];
    assert_eq!(head["violated"], json!(["slots"]), "{head}");
    assert_eq!((&head["fits_at_release"], &head["needs"]), (&json!(true), &json!({"slots": 1})));

    let series = eventually("a second with all of it is over", || async {
        let series = client.get("/v1/stats?range=1m&resource=r").await.is(200).body.clone();
        let row = series["resources"]["r"].clone();
        let all = [sum(&row["granted"]), sum(&row["released"]), sum(&row["rejected"])];
        let is_over =
            all == [granted, released, refused] && last(&row["queue_depth"]) == Some(waiting);
        is_over.then_some(series)
    })
    .await;
    let row = &series["resources"]["r"];
    assert_eq!((last(&row["held"]), &row["group"]), (Some(held), &json!("local")));
    assert_eq!(sum(&series["total"]["granted"]), granted);
    assert_eq!(last(&series["total"]["queue_depth"]), Some(waiting));
    assert_eq!(row["utilization"]["slots"].as_array().unwrap().last(), Some(&json!(1.0)));
    assert_eq!(row["granted"].as_array().unwrap().len(), 60);
    assert_eq!(series["step_ms"], 1000);

    metrics_say_the_same(client).await;
    assert_eq!((granted, refused, held, waiting), (43, 5, 3, 2));
}

#[tokio::test]
async fn a_rate_that_is_full_says_when_the_head_fits() {
    let node = node_with(json!({
        "tpm": {"kind": "rate", "algorithm": "token_bucket", "quota": 100, "window_ms": 10_000}
    }))
    .await;
    node.client.granted("r", json!({"load": 95})).await;
    let waiting = node.client.waiting("r", json!({"load": 50, "priority": 1})).await;
    let stats = node.client.stats("r").await;
    let head = &stats["head"];
    assert_eq!((&head["id"], &head["violated"]), (&json!(waiting.id()), &json!(["tpm"])));
    assert_eq!((&head["load"], &head["priority"]), (&json!(50), &json!(1)));
    assert_eq!(head["needs"], json!({"tpm": 50}));
    let fits_in_ms = head["fits_in_ms"].as_u64().unwrap();
    assert!((2_000..=4_600).contains(&fits_in_ms), "45 more units at 10 a second: {fits_in_ms}");
    assert_eq!(stats["limits"]["tpm"]["capacity"], 100);
}

#[tokio::test]
async fn ranges_are_bounded_and_what_is_new_can_be_asked_for() {
    let node = node_with(concurrency(1)).await;
    for (query, words) in [
        ("range=7h", "1m to 6h"),
        ("range=1m&sort=size", "queue_depth"),
        ("range=1m&limit=0", "limit"),
        ("range=6h&limit=1000", "limit may be"),
        ("range=1m&region=mars", "local"),
        ("range=1m&step=5", "step"),
    ] {
        let answer = node.client.get(&format!("/v1/stats?{query}")).await;
        answer.problem(400, "bad-request").says(&[words]);
    }

    node.client.granted("r", json!({})).await;
    let first = eventually("a bucket", || async {
        let body = node.client.get("/v1/stats?range=1m").await.is(200).body.clone();
        (sum(&body["total"]["granted"]) == 1).then_some(body)
    });
    let end = first.await["end_ms"].as_u64().unwrap();
    let path = format!("/v1/stats?range=6h&limit=1000&after_ms={end}");
    node.client.get(&path).await.is(200);
    let next = eventually("one more", || async {
        let path = format!("/v1/stats?range=1m&region=local&after_ms={end}");
        let body = node.client.get(&path).await.is(200).body.clone();
        let row = body["total"]["held"].as_array().unwrap().clone();
        (!row.is_empty()).then_some((row, body))
    });
    let (row, body) = next.await;
    assert!(row.len() <= 3 && row.iter().all(|held| *held == json!(1)), "{row:?}");
    assert_eq!(body["index"].as_object().unwrap().keys().collect::<Vec<_>>(), ["local"]);
}

#[tokio::test]
async fn the_page_is_served_with_its_policy() {
    let node = node_with(concurrency(1)).await;
    let http = reqwest::Client::new();
    let page = http.get(node.url()).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers()["content-type"], "text/html");
    let etag = page.headers()["etag"].clone();
    let again = http.get(node.url()).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(again.status(), 304);

    let text = page.text().await.unwrap();
    let script =
        text.split('"').find(|part| part.ends_with(".js")).unwrap().trim_start_matches('.');
    let script = http.get(format!("{}{script}", node.url())).send().await.unwrap();
    assert_eq!(script.status(), 200);
    assert!(script.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    node.client.get("/assets/none.js").await.problem(404, "not-found");
    node.client.get("/assets/..%2Findex.html").await.problem(404, "not-found");

    let nodes = node.client.get("/v1/cluster/nodes").await;
    let report = &nodes.is(200).body["items"][0]["report"];
    assert_eq!(report["disk"]["room"], "enough", "{report}");
    assert!(report["groups"]["local"]["log_bytes"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["ready"], true);
}
