//! The API's part on leases: acquire, wait, look, release, extend, and the lists of who waits and who holds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod harness;

use std::time::{Duration, Instant};

use harness::{Answer, Client, Node, concurrency, eventually, rate};
use serde_json::{Value, json};

const GRANTED: [&str; 8] =
    ["id", "resource", "state", "fencing_token", "charged", "expires_in_ms", "waited_ms", "log_index"];
const WAITING: [&str; 6] = ["id", "resource", "state", "position", "load_ahead", "retry_after_ms"];
/// What a view of a lease shows on top.
const VIEW: [&str; 3] = ["load", "priority", "metadata"];

/// Whether this is a time to live, less what passed until the answer was on its way: never more, on a slow machine less.
fn just_under(left_ms: u64, ttl_ms: u64) -> bool {
    (ttl_ms.saturating_sub(4_000)..=ttl_ms).contains(&left_ms)
}

/// A node with one resource, `r`.
async fn node_with(limits: Value) -> Node {
    let node = Node::start().await;
    node.client.create("r", limits).await;
    node
}

/// Starts a call that is held open, and returns once its lease is in the queue. `body` must make it wait.
async fn open_call(client: &Client, mut body: Value) -> tokio::task::JoinHandle<Answer> {
    let before = client.stats("r").await["queue_depth"].as_u64().unwrap();
    if body["wait_ms"].is_null() {
        body["wait_ms"] = json!(60_000);
    }
    let call = {
        let client = client.clone();
        tokio::spawn(async move { client.acquire("r", body).await })
    };
    eventually("the call is in the queue", || async {
        (client.stats("r").await["queue_depth"].as_u64().unwrap() > before).then_some(())
    })
    .await;
    call
}

async fn keyed(client: &Client, key: &str, body: Value) -> Answer {
    client.keyed("/v1/resources/r/acquire", key, body).await
}

/// Waits until a lease is in this state.
async fn becomes(client: &Client, id: &str, state: &str) -> Answer {
    eventually(&format!("the lease is {state}"), || async {
        let lease = client.lease(id).await;
        (lease.is(200).str("state") == state).then_some(lease)
    })
    .await
}

#[tokio::test]
async fn granted_has_its_fields_and_headers() {
    let limits = json!({
        "tpm": {"kind": "rate", "algorithm": "token_bucket", "quota": 90000, "window_ms": 60000},
        "slots": {"kind": "concurrency", "quota": 20}
    });
    let node = node_with(limits).await;
    let granted = node.client.granted("r", json!({"load": 48750, "ttl_ms": 30000})).await;
    granted.has_fields(&GRANTED);
    assert_eq!(granted.str("state"), "held");
    assert_eq!(granted.str("resource"), "r");
    assert!(granted.id().starts_with("local."), "an id names its group: {}", granted.id());
    assert_eq!(granted.body["charged"], json!({"slots": 1, "tpm": 48750}));
    assert!(just_under(granted.u64("expires_in_ms"), 30_000), "{granted:?}");
    assert_eq!(granted.u64("waited_ms"), 0);
    assert_eq!(granted.u64("log_index"), granted.log_index());

    let list = |name| granted.header(name).unwrap().split(", ").map(str::to_owned).collect::<Vec<_>>();
    let mut policy = list("ratelimit-policy");
    policy.sort_unstable();
    assert_eq!(policy, ["\"slots\";q=20;qu=\"concurrent-requests\"", "\"tpm\";q=90000;w=60"]);
    let mut left = list("ratelimit");
    left.sort_unstable();
    assert_eq!(left[0], "\"slots\";r=19");
    // A bucket fills while the answer is on its way.
    let (units, seconds) = left[1].strip_prefix("\"tpm\";r=").unwrap().split_once(";t=").unwrap();
    assert!((41250..42000).contains(&units.parse::<u64>().unwrap()), "{units}");
    assert!((1..=60).contains(&seconds.parse::<u64>().unwrap()), "{seconds}");
}

#[tokio::test]
async fn an_empty_body_has_the_defaults() {
    let node = node_with(rate(3, 3_600_000)).await;
    let client = &node.client;
    let path = "/v1/resources/r/acquire";
    let nothing = client.call(reqwest::Method::POST, path, &[], None).await;
    let object = client.acquire("r", json!({})).await;
    let lease = client.lease(&nothing.id()).await;
    for granted in [&nothing, &object] {
        assert_eq!(granted.is(200).body["charged"], json!({"tpm": 1}));
        assert!(just_under(granted.u64("expires_in_ms"), 60_000), "{granted:?}");
    }
    assert_eq!((&lease.body["load"], lease.u64("priority")), (&json!(1), 5));
    assert_eq!(lease.body["metadata"], json!({}));
    client.granted("r", json!({})).await;
    client.acquire("r", json!({})).await.problem(429, "limit-exceeded");
}

#[tokio::test]
async fn charged_lists_each_limit_that_was_charged() {
    let limits = json!({
        "input": {"kind": "rate", "quota": 100, "window_ms": 60000, "cost": "input_tokens"},
        "output": {"kind": "rate", "quota": 100, "window_ms": 60000, "cost": "output_tokens"},
        "all": {"kind": "rate", "quota": 100, "window_ms": 60000},
        "calls": {"kind": "rate", "quota": 100, "window_ms": 60000, "cost": "one"},
        "width": {"kind": "concurrency", "quota": 100, "cost": "load"}
    });
    let node = node_with(limits).await;
    let both = node.client.granted("r", json!({"load": {"input_tokens": 3, "output_tokens": 4}})).await;
    assert_eq!(both.body["charged"], json!({"input": 3, "output": 4, "all": 7, "calls": 1, "width": 7}));
    let one = node.client.granted("r", json!({"load": {"input_tokens": 5}})).await;
    assert_eq!(one.body["charged"], json!({"input": 5, "all": 5, "calls": 1, "width": 5}));
    let none = node.client.granted("r", json!({"load": {"input_tokens": 0, "others": 0}})).await;
    assert_eq!(none.body["charged"], json!({"calls": 1}));
    let scalar = node.client.acquire("r", json!({"load": 7})).await;
    scalar.problem(400, "bad-request").says(&["input_tokens"]);
}

#[tokio::test]
async fn load_zero_is_charged_nothing() {
    let node = node_with(rate(1, 60000)).await;
    for _ in 0..3 {
        assert_eq!(node.client.granted("r", json!({"load": 0})).await.body["charged"], json!({}));
    }
}

#[tokio::test]
async fn still_waiting_after_hold_ms_is_202_with_its_place() {
    let node = node_with(json!({"slots": {"kind": "concurrency", "quota": 10, "cost": "load"}})).await;
    let client = &node.client;
    client.granted("r", json!({"load": 10})).await;
    let first = client.waiting("r", json!({"load": 3})).await;
    let second = client.waiting("r", json!({"load": 4})).await;
    let start = Instant::now();
    let third = client.acquire("r", json!({"load": 5, "wait_ms": 60000, "hold_ms": 300})).await;
    assert!(start.elapsed() >= Duration::from_millis(300), "it was held open");
    third.is(202).has_fields(&WAITING);
    assert_eq!(third.str("state"), "waiting");
    let place = |answer: &Answer| (answer.u64("position"), answer.u64("load_ahead"));
    assert_eq!([place(&first), place(&second), place(&third)], [(1, 0), (2, 3), (3, 7)]);
    assert!((1..=1000).contains(&third.u64("retry_after_ms")), "only concurrency blocks");
    let location = third.header("location").unwrap();
    assert_eq!(location, format!("/v1/leases/{}", third.id()));
    let followed = client.get(location).await;
    assert_eq!(followed.is(200).id(), third.id());
    assert!(third.log_index() > second.log_index());
}

#[tokio::test]
async fn a_waiting_call_is_answered_when_it_is_granted() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let held = client.granted("r", json!({})).await;
    let call = open_call(client, json!({"ttl_ms": 7000})).await;
    client.release(&held.id()).await.is(200);
    let granted = call.await.unwrap();
    granted.is(200).has_fields(&GRANTED);
    assert!(granted.u64("fencing_token") > held.u64("fencing_token"));
    assert_eq!(granted.u64("log_index"), granted.log_index());
    assert!(granted.u64("log_index") > held.u64("log_index"));
    assert!(granted.u64("expires_in_ms") <= 7000);
    assert_eq!(granted.body["charged"], json!({"slots": 1}));
    assert!(granted.header("ratelimit-policy").is_some());
}

#[tokio::test]
async fn without_a_wait_it_is_429_with_what_stands_in_the_way() {
    let node = node_with(json!({
        "tpm": {"kind": "rate", "quota": 10, "window_ms": 60000},
        "rpm": {"kind": "rate", "quota": 100, "window_ms": 60000, "cost": "one"},
        "slots": {"kind": "concurrency", "quota": 1}
    }))
    .await;
    let client = &node.client;
    let held = client.granted("r", json!({"load": 10})).await;
    let both = client.acquire("r", json!({"load": 1})).await;
    both.problem(429, "limit-exceeded").says(&["tpm", "slots"]);
    assert_eq!(both.body["violated"], json!(["slots", "tpm"]));
    assert_eq!(both.body["resource"], "r");
    let retry = both.u64("retry_after_ms");
    assert!((50_000..=62_000).contains(&retry), "{retry}");
    assert_eq!(both.header("retry-after"), Some(retry.div_ceil(1000).to_string().as_str()));
    assert!(both.body["request_id"].as_str().is_some_and(|id| !id.is_empty()), "one is made up");
    both.log_index();

    client.release(&held.id()).await.is(200);
    let rate = client.acquire("r", json!({"load": 1})).await;
    assert_eq!(rate.problem(429, "limit-exceeded").body["violated"], json!(["tpm"]));
    let empty = client.acquire("r", json!({"load": 0})).await;
    assert_eq!(empty.problem(429, "limit-exceeded").body["violated"], json!(["tpm"]), "a load of 0 asks too");
    client.patch("/v1/resources/r", json!({"limits": {"tpm": {"quota": 20}}})).await.is(200);
    client.granted("r", json!({"load": 0})).await;
    let slots = client.acquire("r", json!({"load": 0})).await;
    assert_eq!(slots.problem(429, "limit-exceeded").body["violated"], json!(["slots"]));
    assert!((1..=1000).contains(&slots.u64("retry_after_ms")));
    assert_eq!(slots.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn nobody_overtakes_and_the_line_is_named() {
    let node = node_with(json!({"slots": {"kind": "concurrency", "quota": 10, "cost": "load"}})).await;
    let client = &node.client;
    client.granted("r", json!({"load": 6})).await;
    let large = client.waiting("r", json!({"load": 5})).await;
    let small = client.acquire("r", json!({"load": 1})).await;
    assert_eq!(small.problem(429, "limit-exceeded").body["violated"], json!(["queue"]));
    let behind = client.waiting("r", json!({"load": 1})).await;
    assert_eq!(behind.u64("position"), 2);
    client.acquire("r", json!({"load": 1, "priority": 9})).await.problem(429, "limit-exceeded");
    client.granted("r", json!({"load": 1, "priority": 4})).await;
    assert_eq!(client.lease(&large.id()).await.str("state"), "waiting");
}

#[tokio::test]
async fn lower_priority_numbers_go_first_and_then_first_come_first_served() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let mut holder = client.granted("r", json!({})).await.id();
    let mut ids = Vec::new();
    for priority in [5, 9, 0, 5, 0] {
        ids.push(client.waiting("r", json!({"priority": priority})).await.id());
    }
    let line: Vec<Value> = client.leases("r", "waiting").await;
    let expected: Vec<&String> = [2, 4, 0, 3, 1].iter().map(|at| &ids[*at]).collect();
    assert_eq!(line.iter().map(|lease| lease["id"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    assert_eq!(line.iter().map(|lease| lease["position"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let mut token = 0;
    for id in expected {
        client.release(&holder).await.is(200);
        let granted = client.lease(id).await;
        assert_eq!(granted.str("state"), "held");
        assert!(granted.u64("fencing_token") > token, "fencing tokens rise");
        token = granted.u64("fencing_token");
        holder.clone_from(id);
    }
}

#[tokio::test]
async fn the_wait_can_run_out() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    client.granted("r", json!({})).await;
    let body = json!({"wait_ms": 400});
    let start = Instant::now();
    let out = keyed(client, "k", body.clone()).await;
    out.problem(429, "wait-timeout");
    assert!(start.elapsed() >= Duration::from_millis(400));
    assert_eq!(out.body["violated"], json!(["slots"]));
    assert_eq!(out.header("retry-after"), Some("1"));
    assert!(out.u64("retry_after_ms") >= 1);
    // The lease is remembered, so the same call is answered likewise; and it gave its place up.
    keyed(client, "k", body).await.problem(429, "wait-timeout");
    assert_eq!(client.stats("r").await["queue_depth"], 0);

    // A longer wait than the resource allows counts as what it allows.
    client.patch("/v1/resources/r", json!({"queue": {"max_wait_ms": 200}})).await.is(200);
    client.acquire("r", json!({"wait_ms": 2_678_400_000_u64})).await.problem(429, "wait-timeout");
    client.patch("/v1/resources/r", json!({"queue": {"max_wait_ms": 0}})).await.is(200);
    client.acquire("r", json!({"wait_ms": 1000})).await.problem(429, "limit-exceeded");
}

#[tokio::test]
async fn a_full_line_is_429() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    client.patch("/v1/resources/r", json!({"queue": {"max_waiting": 2}})).await.is(200);
    client.granted("r", json!({})).await;
    client.waiting("r", json!({})).await;
    let second = client.waiting("r", json!({})).await;
    let full = client.acquire("r", json!({"wait_ms": 1000})).await;
    full.problem(429, "queue-full");
    assert_eq!(full.body["violated"], json!(["slots"]));
    assert!(full.header("retry-after").is_some() && full.u64("retry_after_ms") >= 1);
    client.release(&second.id()).await.is(200);
    client.waiting("r", json!({})).await;
}

#[tokio::test]
async fn an_ended_lease_is_410_for_its_key() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let released = keyed(client, "a", json!({})).await;
    client.release(&released.id()).await.is(200);
    let body = json!({"ttl_ms": 50});
    let expired = keyed(client, "b", body.clone()).await;
    becomes(client, &expired.id(), "expired").await;
    client.granted("r", json!({})).await;
    let waiting = json!({"wait_ms": 60000, "hold_ms": 0});
    let cancelled = keyed(client, "c", waiting.clone()).await;
    client.release(&cancelled.id()).await.is(200);
    for (key, body, state) in [("a", json!({}), "released"), ("b", body, "expired"), ("c", waiting, "cancelled")] {
        let ended = keyed(client, key, body).await;
        ended.problem(410, "lease-ended");
        assert_eq!(ended.str("state"), state);
        assert_eq!(ended.str("request_id"), key);
    }
}

#[tokio::test]
async fn a_load_that_can_never_fit_is_422() {
    let node = node_with(json!({
        "tpm": {"kind": "rate", "algorithm": "token_bucket", "quota": 10, "window_ms": 1000, "burst": 5},
        "slots": {"kind": "concurrency", "quota": 8, "cost": "load"}
    }))
    .await;
    let client = &node.client;
    let bucket = client.acquire("r", json!({"load": 6, "wait_ms": 60000})).await;
    bucket.problem(422, "load-exceeds-capacity").says(&["tpm", "6", "5"]);
    client.granted("r", json!({"load": 5})).await;

    // A limit that is lowered below a waiting load ends it the same way.
    let call = open_call(client, json!({"load": 4})).await;
    client.patch("/v1/resources/r", json!({"limits": {"slots": {"quota": 3}}})).await.is(200);
    call.await.unwrap().problem(422, "load-exceeds-capacity").says(&["slots"]);
}

#[tokio::test]
async fn the_same_key_means_the_same_lease() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let body = json!({"load": 1, "metadata": {"job": "42"}});
    let first = keyed(client, "k", body.clone()).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (client, body) = (client.clone(), body.clone());
            tokio::spawn(async move { keyed(&client, "k", body).await })
        })
        .collect();
    for call in calls {
        let again = call.await.unwrap();
        assert_eq!(again.is(200).id(), first.id());
        for field in ["fencing_token", "log_index", "charged", "waited_ms"] {
            assert_eq!(again.body[field], first.body[field], "{field}");
        }
        assert_eq!(again.log_index(), first.log_index());
    }
    assert_eq!(client.stats("r").await["held"], 1);
    for (field, value) in [
        ("load", json!(2)),
        ("wait_ms", json!(1)),
        ("ttl_ms", json!(1)),
        ("priority", json!(0)),
        ("metadata", json!({"job": "43"})),
    ] {
        let mut other = body.clone();
        other[field] = value;
        let answer = keyed(client, "k", other).await;
        answer.problem(422, "idempotency-conflict");
        assert_eq!(answer.str("request_id"), "k");
    }
    client.create("s", concurrency(1)).await;
    client.keyed("/v1/resources/s/acquire", "k", body).await.problem(422, "idempotency-conflict");
}

#[tokio::test]
async fn all_calls_of_one_waiting_key_are_answered() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let held = client.granted("r", json!({})).await;
    let body = |hold_ms: u64| json!({"wait_ms": 60000, "hold_ms": hold_ms});
    let place = keyed(client, "k", body(0)).await;
    place.is(202);
    // How long a call is held open is no part of what it asks for.
    let calls: Vec<_> = [20000, 25000, 30000]
        .map(|hold_ms| {
            let client = client.clone();
            tokio::spawn(async move { keyed(&client, "k", body(hold_ms)).await })
        })
        .into();
    // Meanwhile the others are sent; and the end of its hold_ms ends no other call.
    keyed(client, "k", body(200)).await.is(202);
    client.release(&held.id()).await.is(200);
    for call in calls {
        let granted = call.await.unwrap();
        assert_eq!(granted.is(200).id(), place.id());
    }
    assert_eq!(client.stats("r").await["held"], 1);
}

#[tokio::test]
async fn a_rejection_is_decided_anew() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let held = client.granted("r", json!({})).await;
    keyed(client, "k", json!({})).await.problem(429, "limit-exceeded");
    keyed(client, "k", json!({"load": 0})).await.problem(429, "limit-exceeded");
    client.release(&held.id()).await.is(200);
    keyed(client, "k", json!({})).await.is(200);
}

#[tokio::test]
async fn without_a_key_every_call_is_another() {
    let node = node_with(concurrency(2)).await;
    let first = node.client.granted("r", json!({})).await;
    let second = node.client.granted("r", json!({})).await;
    assert_ne!(first.id(), second.id());
    assert!(second.u64("fencing_token") > first.u64("fencing_token"));
    let refused = node.client.acquire("r", json!({})).await;
    assert_ne!(refused.str("request_id"), node.client.acquire("r", json!({})).await.str("request_id"));
}

#[tokio::test]
async fn a_look_shows_the_lease_in_each_state() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let asked = json!({"load": 7, "priority": 3, "metadata": {"job": "42", "": "x"}, "ttl_ms": 5000});
    let same = |view: &Answer| {
        let shown = (view.body["load"].clone(), view.u64("priority"), view.body["metadata"].clone());
        assert_eq!(shown, (json!(7), 3, json!({"job": "42", "": "x"})));
    };
    let granted = client.granted("r", asked.clone()).await;
    let held = client.lease(&granted.id()).await;
    held.is(200).has_fields(&[&GRANTED[..], &VIEW].concat());
    same(&held);
    for field in GRANTED.iter().filter(|field| **field != "expires_in_ms") {
        assert_eq!(held.body[field], granted.body[field], "{field}");
    }
    assert!(held.u64("expires_in_ms") <= 5000);

    let mut wait = asked;
    wait["wait_ms"] = json!(60000);
    let place = client.waiting("r", wait).await;
    let waiting = client.lease(&place.id()).await;
    waiting.is(200).has_fields(&[&WAITING[..], &VIEW].concat());
    same(&waiting);

    let release = client.release(&place.id()).await;
    let cancelled = client.lease(&place.id()).await;
    cancelled.is(200).has_fields(&[&["id", "resource", "state", "ended_index"][..], &VIEW].concat());
    assert_eq!((cancelled.str("state"), cancelled.u64("ended_index")), ("cancelled", release.log_index()));
    same(&cancelled);

    let release = client.release(&granted.id()).await;
    let released = client.lease(&granted.id()).await;
    assert_eq!((released.is(200).str("state"), released.u64("ended_index")), ("released", release.log_index()));
    same(&released);
}

#[tokio::test]
async fn a_look_shows_how_a_lease_ended_by_itself() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let expired = client.granted("r", json!({"ttl_ms": 50})).await;
    let view = becomes(client, &expired.id(), "expired").await;
    assert!(view.u64("ended_index") > expired.log_index());
    client.granted("r", json!({})).await;
    let out = client.waiting("r", json!({"wait_ms": 50})).await;
    becomes(client, &out.id(), "timed_out").await;
    let deleted = client.waiting("r", json!({})).await;
    client.delete("/v1/resources/r").await.is(204);
    becomes(client, &deleted.id(), "rejected").await;
}

#[tokio::test]
async fn a_look_with_wait_ms_answers_when_the_wait_is_over() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let held = client.granted("r", json!({})).await;
    let place = client.waiting("r", json!({})).await;
    let path = format!("/v1/leases/{}", place.id());

    let start = Instant::now();
    let waiting = client.get(&format!("{path}?wait_ms=300")).await;
    assert_eq!(waiting.is(200).str("state"), "waiting");
    assert!(start.elapsed() >= Duration::from_millis(300));

    let look = {
        let (client, path) = (client.clone(), path.clone());
        tokio::spawn(async move { client.get(&format!("{path}?wait_ms=30000")).await })
    };
    // Meanwhile the other is sent.
    client.get(&format!("{path}?wait_ms=200")).await.is(200);
    client.release(&held.id()).await.is(200);
    let granted = look.await.unwrap();
    assert_eq!((granted.is(200).id(), granted.str("state")), (place.id(), "held"));
    // One that does not wait is answered at once.
    assert_eq!(client.get(&format!("{path}?wait_ms=30000")).await.is(200).str("state"), "held");
}

#[tokio::test]
async fn release_corrects_the_charge_to_what_was_used() {
    let node = node_with(json!({
        "tpm": {"kind": "rate", "quota": 1000, "window_ms": 3_600_000},
        "input": {"kind": "rate", "quota": 1000, "window_ms": 3_600_000, "cost": "input_tokens"},
        "rpm": {"kind": "rate", "quota": 1000, "window_ms": 3_600_000, "cost": "one"},
        "slots": {"kind": "concurrency", "quota": 10}
    }))
    .await;
    let client = &node.client;
    let load = json!({"load": {"input_tokens": 100, "output_tokens": 50}});
    for (used, refunded, debited) in [
        (json!({}), json!({}), json!({})),
        (json!({"used": null}), json!({}), json!({})),
        (json!({"used": 150}), json!({}), json!({})),
        (json!({"used": 100}), json!({"tpm": 50}), json!({})),
        (json!({"used": 170}), json!({}), json!({"tpm": 20})),
        (json!({"used": {"input_tokens": 90, "output_tokens": 70}}), json!({"input": 10}), json!({"tpm": 10})),
    ] {
        let lease = client.granted("r", load.clone()).await;
        let released = client.post(&format!("/v1/leases/{}/release", lease.id()), used.clone()).await;
        released.is(200).has_fields(&["id", "state", "refunded", "debited"]);
        assert_eq!((released.id(), released.str("state")), (lease.id(), "released"));
        let corrected = (&released.body["refunded"], &released.body["debited"]);
        assert_eq!(corrected, (&refunded, &debited), "used {used}");
        assert!(released.log_index() > lease.log_index());
    }
    let limits = &client.stats("r").await["limits"];
    assert_eq!(limits["tpm"]["used"], 6 * 150 - 50 + 20 + 10);
    assert_eq!(limits["input"]["used"], 6 * 100 - 10);
    assert_eq!((&limits["rpm"]["used"], &limits["slots"]["used"]), (&json!(6), &json!(0)));
}

#[tokio::test]
async fn release_twice_gives_the_same_answer() {
    let node = node_with(rate(1000, 3_600_000)).await;
    let client = &node.client;
    let lease = client.granted("r", json!({"load": 100})).await;
    let path = format!("/v1/leases/{}/release", lease.id());
    let first = client.post(&path, json!({"used": 60})).await;
    assert_eq!(first.is(200).body["refunded"], json!({"tpm": 40}));
    for used in [json!({"used": 60}), json!({"used": 10}), json!({})] {
        assert_eq!(client.post(&path, used).await.is(200).body, first.body);
    }
    assert_eq!(client.stats("r").await["limits"]["tpm"]["used"], 60);
    // With nothing at all: no body, no content type.
    assert_eq!(client.call(reqwest::Method::POST, &path, &[], None).await.is(200).body, first.body);
}

#[tokio::test]
async fn release_of_a_waiting_lease_gives_its_place_up() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    client.granted("r", json!({})).await;
    let first = client.waiting("r", json!({})).await;
    let second = client.waiting("r", json!({})).await;
    for _ in 0..2 {
        let cancelled = client.release(&first.id()).await;
        let expected = json!({"id": first.id(), "state": "cancelled", "refunded": {}, "debited": {}});
        assert_eq!(cancelled.is(200).body, expected);
    }
    assert_eq!(client.lease(&second.id()).await.u64("position"), 1);

    // A call that is held open for it is answered, too.
    let call = open_call(client, json!({})).await;
    let id = client.leases("r", "waiting").await[1]["id"].as_str().unwrap().to_owned();
    client.release(&id).await.is(200);
    assert_eq!(call.await.unwrap().problem(410, "lease-ended").str("state"), "cancelled");
}

#[tokio::test]
async fn release_of_an_expired_lease_is_410_and_frees_nobodys_slot() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let lease = client.granted("r", json!({"ttl_ms": 50})).await;
    let next = client.granted("r", json!({"wait_ms": 30000})).await;
    for _ in 0..2 {
        client.release(&lease.id()).await.problem(410, "lease-expired");
    }
    assert_eq!(client.stats("r").await["held"], 1);
    assert_eq!(client.lease(&next.id()).await.str("state"), "held");
    client.extend(&lease.id(), json!({})).await.problem(410, "lease-expired");
}

#[tokio::test]
async fn leases_that_the_server_ended_are_not_released() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    client.granted("r", json!({})).await;
    let out = client.waiting("r", json!({"wait_ms": 50})).await;
    becomes(client, &out.id(), "timed_out").await;
    let answer = client.release(&out.id()).await;
    assert_eq!(answer.problem(410, "lease-ended").str("state"), "timed_out");
}

#[tokio::test]
async fn extend_sets_a_new_deadline() {
    let node = node_with(concurrency(3)).await;
    let client = &node.client;
    let bounds = json!({"lease": {"default_ttl_ms": 20000, "max_ttl_ms": 40000}});
    client.patch("/v1/resources/r", bounds).await.is(200);
    let lease = client.granted("r", json!({"ttl_ms": 86_400_000})).await;
    assert!(just_under(lease.u64("expires_in_ms"), 40_000), "a ttl over the maximum is lowered to it: {lease:?}");
    for (body, expires_in_ms) in [
        (json!({"ttl_ms": 5000}), 5000),
        (json!({"ttl_ms": 30000}), 30000),
        (json!({"ttl_ms": 2_678_400_000_u64}), 40000),
        (json!({}), 20000),
    ] {
        let extended = client.extend(&lease.id(), body.clone()).await;
        extended.is(200).has_fields(&[&GRANTED[..], &VIEW].concat());
        assert!(just_under(extended.u64("expires_in_ms"), expires_in_ms), "{body}: {extended:?}");
        assert_eq!(extended.body["fencing_token"], lease.body["fencing_token"]);
        assert!(extended.log_index() > lease.log_index());
    }

    // It outlives its first deadline.
    let short = client.granted("r", json!({"ttl_ms": 500})).await;
    let other = client.granted("r", json!({"ttl_ms": 1000})).await;
    client.extend(&short.id(), json!({"ttl_ms": 30000})).await.is(200);
    becomes(client, &other.id(), "expired").await;
    assert_eq!(client.lease(&short.id()).await.str("state"), "held");
}

#[tokio::test]
async fn extend_needs_a_held_lease() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let held = client.granted("r", json!({})).await;
    let place = client.waiting("r", json!({})).await;
    let waiting = client.extend(&place.id(), json!({})).await;
    assert_eq!(waiting.problem(409, "lease-not-held").str("state"), "waiting");
    client.release(&place.id()).await.is(200);
    let cancelled = client.extend(&place.id(), json!({})).await;
    assert_eq!(cancelled.problem(409, "lease-not-held").str("state"), "cancelled");
    client.release(&held.id()).await.is(200);
    let released = client.extend(&held.id(), json!({})).await;
    assert_eq!(released.problem(409, "lease-not-held").str("state"), "released");
}

#[tokio::test]
async fn the_lists_show_who_holds_and_who_waits_in_order() {
    let node = node_with(concurrency(2)).await;
    let client = &node.client;
    let mut held = Vec::new();
    let mut line = Vec::new();
    for n in 0..2 {
        held.push(client.granted("r", json!({"metadata": {"n": n.to_string()}})).await.id());
    }
    for _ in 0..3 {
        line.push(client.waiting("r", json!({})).await.id());
    }
    let ids =
        |items: &[Value]| -> Vec<String> { items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect() };
    let listed = client.leases("r", "held").await;
    assert_eq!(ids(&listed), held);
    assert_eq!((&listed[1]["metadata"]["n"], &listed[1]["state"]), (&json!("1"), &json!("held")));
    let listed = client.leases("r", "waiting").await;
    assert_eq!(ids(&listed), line);
    assert_eq!((&listed[2]["position"], &listed[2]["priority"]), (&json!(3), &json!(5)));

    let all = [held.clone(), line.clone()].concat();
    for (state, expected) in [("", &all), ("state=held&", &held), ("state=waiting&", &line)] {
        for limit in [1, 2, 3, 100] {
            let (mut collected, mut cursor) = (Vec::new(), String::new());
            loop {
                let path = format!("/v1/resources/r/leases?{state}limit={limit}{cursor}");
                let page = client.get(&path).await;
                let items = page.is(200).body["items"].as_array().unwrap();
                assert!(items.len() <= limit);
                collected.extend(ids(items));
                let Some(next) = page.body["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(&collected, expected, "{state} in pages of {limit}");
        }
    }
    let empty = client.create("s", concurrency(1)).await;
    empty.is(201);
    let list = client.get("/v1/resources/s/leases?state=held&cursor=").await;
    assert_eq!(list.is(200).body, json!({"items": [], "next_cursor": null}));
}

#[tokio::test]
async fn capacity_that_time_frees_grants_the_line() {
    let node = node_with(json!({
        "slots": {"kind": "concurrency", "quota": 1},
        "rpm": {"kind": "rate", "algorithm": "token_bucket", "quota": 1, "window_ms": 700, "cost": "one"}
    }))
    .await;
    let client = &node.client;
    // Both the expiry of the lease and the filling of the bucket have to come.
    let start = Instant::now();
    client.granted("r", json!({"ttl_ms": 300})).await;
    let next = client.granted("r", json!({"wait_ms": 60000})).await;
    assert!(start.elapsed() >= Duration::from_millis(700), "not before the bucket has filled");
    assert!(next.u64("waited_ms") > 0);
}
