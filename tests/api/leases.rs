//! Leases: looked at, released, extended, and the lists of who waits and who holds.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::calls::{GRANTED, VIEW, WAITING, becomes, just_under, node_with, open_call};
use crate::harness::{Answer, concurrency, rate};

#[tokio::test]
async fn a_look_shows_the_lease_in_each_state() {
    let node = node_with(concurrency(1)).await;
    let client = &node.client;
    let asked =
        json!({"load": 7, "priority": 3, "metadata": {"job": "42", "": "x"}, "ttl_ms": 5000});
    let same = |view: &Answer| {
        let shown =
            (view.body["load"].clone(), view.u64("priority"), view.body["metadata"].clone());
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
    cancelled
        .is(200)
        .has_fields(&[&["id", "resource", "state", "ended_index"][..], &VIEW].concat());
    assert_eq!(
        (cancelled.str("state"), cancelled.u64("ended_index")),
        ("cancelled", release.log_index())
    );
    same(&cancelled);

    let release = client.release(&granted.id()).await;
    let released = client.lease(&granted.id()).await;
    assert_eq!(
        (released.is(200).str("state"), released.u64("ended_index")),
        ("released", release.log_index())
    );
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
        (
            json!({"used": {"input_tokens": 90, "output_tokens": 70}}),
            json!({"input": 10}),
            json!({"tpm": 10}),
        ),
    ] {
        let lease = client.granted("r", load.clone()).await;
        let released =
            client.post(&format!("/v1/leases/{}/release", lease.id()), used.clone()).await;
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
        let expected =
            json!({"id": first.id(), "state": "cancelled", "refunded": {}, "debited": {}});
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
    assert!(
        just_under(lease.u64("expires_in_ms"), 40_000),
        "a ttl over the maximum is lowered to it: {lease:?}"
    );
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
    let ids = |items: &[Value]| -> Vec<String> {
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
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
