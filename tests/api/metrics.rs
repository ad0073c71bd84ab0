//! The API's part on metrics.

use crate::harness::{NodeInside, concurrency, eventually};
use futures::future::join_all;
use serde_json::json;

/// The samples of a metric: labels and value.
fn samples<'a>(text: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']));
    lines
        .map(|rest| {
            rest.rsplit_once(' ').map(|(labels, value)| (labels, value.parse().unwrap())).unwrap()
        })
        .collect()
}

pub fn sample(text: &str, name: &str, labels: &[&str]) -> f64 {
    let found: Vec<_> = samples(text, name)
        .into_iter()
        .filter(|(all, _)| labels.iter().all(|label| all.contains(label)))
        .collect();
    assert_eq!(found.len(), 1, "{name} {labels:?} in:\n{text}");
    found[0].1
}

#[tokio::test]
async fn metrics_have_their_names_and_no_ids() {
    let node = NodeInside::start().await;
    let client = &node.client;
    client.create("r", concurrency(2)).await;
    let held = client.keyed("/v1/resources/r/acquire", "secret-key", json!({})).await;
    client.granted("r", json!({})).await;
    client.waiting("r", json!({})).await;

    client.acquire("r", json!({})).await.problem(429, "limit-exceeded");
    let metrics = eventually("both grants are counted", || async {
        let answer = client.get("/metrics").await;
        let granted =
            samples(&answer.text, "ratequeue_acquires_total").iter().any(|(_, n)| *n == 2.0);
        granted.then_some(answer)
    })
    .await;

    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"));
    let text = &metrics.text;
    let r = "resource=\"r\"";
    assert_eq!(sample(text, "ratequeue_acquires_total", &[r, "outcome=\"granted\""]), 2.0);
    assert_eq!(sample(text, "ratequeue_acquires_total", &[r, "outcome=\"refused\""]), 1.0);
    assert_eq!(sample(text, "ratequeue_queue_depth", &[r]), 1.0);

    assert_eq!(sample(text, "ratequeue_held", &[r]), 2.0);
    assert_eq!(sample(text, "ratequeue_utilization_ratio", &[r, "limit=\"slots\""]), 1.0);
    assert_eq!(sample(text, "ratequeue_acquire_wait_seconds_count", &[]), 2.0);
    assert!(!samples(text, "ratequeue_acquire_wait_seconds_bucket").is_empty());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(line.starts_with("ratequeue_"), "{line}");
    }

    for id in [held.id(), "secret-key".to_owned()] {
        let tail = id.trim_start_matches("local.");
        assert!(!text.contains(tail), "an id is in the metrics");
    }

    // What is gone does not linger.
    client.delete("/v1/resources/r").await.is(204);
    eventually("the resource is gone from the metrics", || async {
        (!client.get("/metrics").await.text.contains(r)).then_some(())
    })
    .await;
}

/// Creates resources, many at once.
async fn create_all(node: &NodeInside, names: &[String]) {
    for names in names.chunks(50) {
        join_all(names.iter().map(|name| node.client.create(name, concurrency(1)))).await;
    }
}

/// The metrics, once this sample is among them.
async fn metrics_with(node: &NodeInside, name: &str, labels: &[&str]) -> String {
    eventually(&format!("{name} has {labels:?}"), || async {
        let text = node.client.get("/metrics").await.is(200).text.clone();
        let found = samples(&text, name)
            .iter()
            .any(|(all, _)| labels.iter().all(|label| all.contains(label)));
        found.then_some(text)
    })
    .await
}

#[tokio::test]
async fn metrics_show_the_busiest_resources_and_say_how_many_they_leave_out() {
    let node = NodeInside::start().await;
    let client = &node.client;
    let idle: Vec<String> = (0..1_004).map(|n| format!("idle-{n:04}")).collect();
    create_all(&node, &idle).await;
    client.create("zzz-busy", concurrency(1)).await;
    client.granted("zzz-busy", json!({})).await;
    let busy = "resource=\"zzz-busy\"";
    let text =
        metrics_with(&node, "ratequeue_acquires_total", &[busy, "outcome=\"granted\""]).await;

    // The busy one is there, in counters and gauges, and the rest by name.
    for (name, outcome) in
        [("ratequeue_acquires_total", "granted"), ("ratequeue_leases_ended_total", "expired")]
    {
        sample(&text, name, &[busy, &format!("outcome=\"{outcome}\"")]);
    }
    assert_eq!(sample(&text, "ratequeue_held", &[busy]), 1.0);
    assert_eq!(sample(&text, "ratequeue_queue_depth", &["resource=\"idle-0000\""]), 0.0);
    let other = "resource=\"(other)\"";
    assert_eq!(samples(&text, "ratequeue_held").len(), 1_000 + 1);
    assert_eq!(sample(&text, "ratequeue_held", &[other]), 0.0);
    assert_eq!(sample(&text, "ratequeue_metrics_resources_left_out", &["group=\"local\""]), 5.0);
    assert_eq!(sample(&text, "ratequeue_metrics_resources_left_out", &["group=\"global\""]), 0.0);

    // It stays when as many others as there is room for, with earlier names, become active too.
    for names in idle.chunks(50) {
        join_all(names.iter().map(|name| client.granted(name, json!({})))).await;
        client.acquire("zzz-busy", json!({})).await.problem(429, "limit-exceeded");
    }
    let granted = "outcome=\"granted\"";
    let sum = |text: &str, name: &str, label: &str| -> f64 {
        samples(text, name).into_iter().filter(|(all, _)| all.contains(label)).map(|(_, n)| n).sum()
    };
    let text = eventually("every grant is counted", || async {
        let text = client.get("/metrics").await.is(200).text.clone();
        (sum(&text, "ratequeue_acquires_total", granted) == 1_005.0).then_some(text)
    })
    .await;
    assert_eq!(sample(&text, "ratequeue_acquires_total", &[busy, granted]), 1.0);
    assert_eq!(sample(&text, "ratequeue_acquires_total", &[other, granted]), 5.0);
    assert_eq!(samples(&text, "ratequeue_acquires_total").len(), 5 * (1_000 + 1));
    assert_eq!(samples(&text, "ratequeue_held").len(), 1_000 + 1);
    assert_eq!(sum(&text, "ratequeue_held", ""), 1_005.0);
}
