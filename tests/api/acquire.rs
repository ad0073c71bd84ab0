//! Acquire: granted, waiting, refused, repeated.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::calls::{GRANTED, WAITING, becomes, just_under, keyed, node_with, open_call};
use crate::harness::{Answer, concurrency, rate};

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

    let list =
        |name| granted.header(name).unwrap().split(", ").map(str::to_owned).collect::<Vec<_>>();
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
    let both =
        node.client.granted("r", json!({"load": {"input_tokens": 3, "output_tokens": 4}})).await;
    assert_eq!(
        both.body["charged"],
        json!({"input": 3, "output": 4, "all": 7, "calls": 1, "width": 7})
    );

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
    let node =
        node_with(json!({"slots": {"kind": "concurrency", "quota": 10, "cost": "load"}})).await;
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
    assert_eq!(
        empty.problem(429, "limit-exceeded").body["violated"],
        json!(["tpm"]),
        "a load of 0 asks too"
    );
    client.patch("/v1/resources/r", json!({"limits": {"tpm": {"quota": 20}}})).await.is(200);
    client.granted("r", json!({"load": 0})).await;
    let slots = client.acquire("r", json!({"load": 0})).await;
    assert_eq!(slots.problem(429, "limit-exceeded").body["violated"], json!(["slots"]));
    assert!((1..=1000).contains(&slots.u64("retry_after_ms")));
    assert_eq!(slots.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn nobody_overtakes_and_the_line_is_named() {
    let node =
        node_with(json!({"slots": {"kind": "concurrency", "quota": 10, "cost": "load"}})).await;
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
    assert_eq!(
        line.iter().map(|lease| lease["id"].as_str().unwrap()).collect::<Vec<_>>(),
        expected
    );

    assert_eq!(
        line.iter().map(|lease| lease["position"].as_u64().unwrap()).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );

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

    for (key, body, state) in
        [("a", json!({}), "released"), ("b", body, "expired"), ("c", waiting, "cancelled")]
    {
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
    assert_ne!(
        refused.str("request_id"),
        node.client.acquire("r", json!({})).await.str("request_id")
    );
}
