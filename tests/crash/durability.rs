//! What was answered survives: SIGKILL in the middle of the work, SIGTERM with callers in the
//! queue, a start in the same folder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::{Answer, Client, Node, concurrency, eventually, until};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio::task::JoinSet;

const CALLERS: usize = 200;
const SLOTS: usize = 10;
const HOLD: Duration = Duration::from_millis(50);
/// How long a caller goes on repeating its call.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
const ACQUIRE: &str = "/v1/resources/r/acquire";

/// A node with a resource that lets its callers wait and hold for long.
async fn node_with(slots: u64) -> Node {
    let node = Node::start().await;
    let resource = json!({
        "limits": concurrency(slots),
        "queue": {"max_wait_ms": 600_000},
        "lease": {"default_ttl_ms": 600_000}
    });
    node.client.put("/v1/resources/r", resource).await.is(201);
    node
}

/// Repeats a call until the node answers it for good, through its deaths and stops.
async fn until_answered(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    let start = Instant::now();
    loop {
        let answer = client
            .try_call(Method::POST, path, &[("Idempotency-Key", key)], Some(body.clone()))
            .await;
        match answer {
            Ok(answer) if answer.status != 503 => return answer,
            Ok(_) | Err(_) => {}
        }
        assert!(start.elapsed() < PATIENCE, "{key} was not answered");
        tokio::time::sleep(PAUSE).await;
    }
}

/// What one caller saw.
#[derive(Debug)]
struct Turn {
    caller: usize,
    fencing_token: u64,
    /// From the answer to its acquire until it sent the release, on the clock of the test.
    from: Instant,
    to: Instant,
}

fn body(hold_ms: u64) -> Value {
    json!({"wait_ms": 600_000, "hold_ms": hold_ms})
}

/// Who releases holds it for reading until that is answered; who holds it for writing knows that
/// nobody does.
type Gate = Arc<RwLock<()>>;

/// Waits for its turn, holds, and releases when the gate is open.
async fn caller(client: Client, caller: usize, gate: Gate) -> Turn {
    let key = format!("caller-{caller}");
    let granted = loop {
        let answer = until_answered(&client, ACQUIRE, &key, &body(20_000)).await;
        match answer.status {
            202 => {}
            _ => break answer,
        }
    };

    let from = Instant::now();
    granted.is(200);
    tokio::time::sleep(HOLD).await;
    let _open = gate.read().await;
    let to = Instant::now();
    let path = format!("/v1/leases/{}/release", granted.id());

    let released = until_answered(&client, &path, &format!("release-{caller}"), &json!({})).await;
    assert_eq!(released.is(200).str("state"), "released", "{key}");
    Turn { caller, fencing_token: granted.u64("fencing_token"), from, to }
}

/// The ids of a list, in its order.
fn ids(leases: &[Value]) -> Vec<String> {
    leases.iter().map(|lease| lease["id"].as_str().unwrap().to_owned()).collect()
}

async fn lists(client: &Client) -> (Vec<String>, Vec<String>) {
    (ids(&client.leases("r", "held").await), ids(&client.leases("r", "waiting").await))
}

/// Kills the node while nobody releases, and looks whether it comes back as it was.
async fn kill_while_still(node: &mut Node, gate: &Gate) {
    let closed = gate.write().await;
    let client = node.client.clone();
    let before = lists(&client).await;
    assert!(before.0.len() == SLOTS || before.1.is_empty(), "no slot is free while somebody waits");
    let tokens = tokens(&client).await;
    node.kill().await;
    node.start_again().await;
    assert_eq!(lists(&client).await, before, "who holds and who waits, in order");
    assert_eq!(self::tokens(&client).await, tokens, "nothing else was granted meanwhile");
    drop(closed);
}

async fn tokens(client: &Client) -> Vec<u64> {
    client
        .leases("r", "held")
        .await
        .iter()
        .map(|lease| lease["fencing_token"].as_u64().unwrap())
        .collect()
}

/// Waits until so many callers have had their turn.
async fn until_done(turns: &mut JoinSet<Turn>, seen: &mut Vec<Turn>, count: usize) {
    while seen.len() < count {
        let turn = tokio::time::timeout(PATIENCE, turns.join_next()).await;
        seen.push(turn.expect("callers go on").expect("there are more callers").unwrap());
    }
}

#[tokio::test]
async fn two_hundred_callers_are_granted_in_order_while_the_node_is_killed() {
    let mut node = node_with(u64::try_from(SLOTS).unwrap()).await;
    let gate = Gate::default();
    let closed = gate.write().await;
    let (mut turns, mut seen) = (JoinSet::new(), Vec::new());
    for number in 0..CALLERS {
        // Answered before the next one starts, so the order of the queue is known.
        let place = node.client.keyed(ACQUIRE, &format!("caller-{number}"), body(0)).await;
        if number < SLOTS {
            place.is(200);
        } else {
            assert_eq!(place.is(202).u64("position"), u64::try_from(number - SLOTS + 1).unwrap());
        }
        turns.spawn(caller(node.client.clone(), number, Arc::clone(&gate)));
    }
    assert_eq!(node.client.stats("r").await["queue_depth"], CALLERS - SLOTS);
    drop(closed);

    for done in [15, 75, 135] {
        until_done(&mut turns, &mut seen, done).await;
        kill_while_still(&mut node, &gate).await;
        // And once in the middle of whatever goes on.
        until_done(&mut turns, &mut seen, done + 30).await;
        node.kill().await;
        node.start_again().await;
    }
    until_done(&mut turns, &mut seen, CALLERS).await;

    let stats = node.client.stats("r").await;
    assert_eq!(
        (&stats["queue_depth"], &stats["held"]),
        (&json!(0), &json!(0)),
        "nothing is left over"
    );
    check_order(&mut seen);
    check_overlap(&seen);
}

/// Fencing tokens rise in the order of the queue.
fn check_order(turns: &mut [Turn]) {
    turns.sort_by_key(|turn| turn.caller);
    assert_eq!(
        turns.iter().map(|turn| turn.caller).collect::<Vec<_>>(),
        (0..CALLERS).collect::<Vec<_>>()
    );
    for pair in turns.windows(2) {
        assert!(pair[0].fencing_token < pair[1].fencing_token, "{pair:?}");
    }
}

/// Never do more hold than there are slots.
fn check_overlap(turns: &[Turn]) {
    let mut most = 0;
    for turn in turns {
        let at = turn.from;
        most = most.max(turns.iter().filter(|other| other.from <= at && at < other.to).count());
    }
    assert!(most <= SLOTS, "{most} held at once");
    assert!(most > 1, "the test did something at once");
}

#[tokio::test]
async fn a_killed_node_comes_back_with_leases_line_and_keys() {
    let mut node = node_with(2).await;
    let client = node.client.clone();
    let keyed = |key: String| {
        let client = client.clone();
        async move { client.keyed(ACQUIRE, &key, body(0)).await }
    };

    let mut leases = Vec::new();
    for number in 0..12 {
        leases.push(keyed(format!("k{number}")).await);
    }

    for round in 0..3 {
        let before = lists(&client).await;
        let digest = client.group().await["digest"].clone();
        node.kill().await;
        node.start_again().await;
        assert_eq!(client.group().await["digest"], digest, "round {round}");
        assert_eq!(lists(&client).await, before);
        for (number, lease) in leases.iter().enumerate().skip(2 * round) {
            let again = keyed(format!("k{number}")).await;
            assert_eq!(
                (again.id(), again.status),
                (lease.id(), if number < 2 * round + 2 { 200 } else { 202 })
            );
        }
        // The held ones are held still, and give their slots to the head of the queue.
        for lease in &leases[2 * round..2 * round + 2] {
            assert_eq!(client.release(&lease.id()).await.is(200).str("state"), "released");
        }
        assert_eq!(ids(&client.leases("r", "held").await), before.1[..2]);
    }
}

#[tokio::test]
async fn resources_and_the_memory_of_requests_survive() {
    let mut node = node_with(2).await;
    let client = node.client.clone();
    let limits = json!({"limits": {"tpm": {"kind": "rate", "quota": 100, "window_ms": 3_600_000}}});
    let put = |body: Value| {
        let client = client.clone();
        async move {
            client
                .call(Method::PUT, "/v1/resources/s", &[("Idempotency-Key", "put")], Some(body))
                .await
        }
    };
    let created = put(limits.clone()).await;
    created.is(201);
    let lease = client.keyed("/v1/resources/s/acquire", "done", json!({"load": 60})).await;
    let path = format!("/v1/leases/{}/release", lease.id());
    let released = client.post(&path, json!({"used": 40})).await;
    let deleted = client.call(Method::PUT, "/v1/resources/t", &[], Some(limits.clone())).await;
    deleted.is(201);
    let delete = [("Idempotency-Key", "delete")];
    client.call(Method::DELETE, "/v1/resources/t", &delete, None).await.is(204);

    for stop in [false, true, false] {
        let digest = client.group().await["digest"].clone();
        if stop {
            node.stop().await
        } else {
            node.kill().await
        }
        node.start_again().await;
        assert_eq!(client.group().await["digest"], digest);
        assert_eq!(client.get("/v1/resources/s").await.is(200).body, created.body);
        client.get("/v1/resources/t").await.problem(404, "resource-not-found");
        let again = put(limits.clone()).await;
        assert_eq!((again.status, &again.body), (201, &created.body));
        put(json!({"limits": concurrency(1)})).await.problem(422, "idempotency-conflict");
        client.call(Method::DELETE, "/v1/resources/t", &delete, None).await.is(204);
        let ended = client.keyed("/v1/resources/s/acquire", "done", json!({"load": 60})).await;
        assert_eq!(ended.problem(410, "lease-ended").str("state"), "released");
        client
            .keyed("/v1/resources/s/acquire", "done", json!({"load": 61}))
            .await
            .problem(422, "idempotency-conflict");
        assert_eq!(client.post(&path, json!({"used": 40})).await.is(200).body, released.body);
        assert_eq!(client.stats("s").await["limits"]["tpm"]["used"], 40);
    }
}

#[tokio::test]
async fn log_index_and_fencing_tokens_keep_rising() {
    let mut node = node_with(100).await;
    let client = node.client.clone();
    let (mut index, mut token) = (0, 0);

    for stop in [false, true, false, true] {
        for _ in 0..3 {
            let granted = client.granted("r", json!({})).await;
            assert!(granted.log_index() > index && granted.u64("fencing_token") > token);
            (index, token) = (granted.log_index(), granted.u64("fencing_token"));
        }
        let known = Instant::now();
        let time = client.leases("r", "held").await[0]["expires_in_ms"].as_u64().unwrap();
        if stop {
            node.stop().await
        } else {
            node.kill().await
        }
        let ran = known.elapsed();

        // Time in which no node runs takes nothing away.
        until(Instant::now() + Duration::from_secs(1)).await;
        let back = Instant::now();
        node.start_again().await;
        assert!(client.applied_index().await >= index);
        let after = client.leases("r", "held").await[0]["expires_in_ms"].as_u64().unwrap();
        // Both are rounded down.
        let ran = u64::try_from((ran + back.elapsed()).as_millis()).unwrap() + 2;
        assert!(after + ran >= time, "{after} ms are left of {time} after {ran} ms");
    }
}

#[tokio::test]
async fn a_clean_stop_answers_the_waiting_and_keeps_their_places() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = node_with(1).await;
        let client = node.client.clone();
        client.keyed(ACQUIRE, "holder", body(0)).await.is(200);
        let calls: Vec<_> = (0..5)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move {
                    client.keyed(ACQUIRE, &format!("k{number}"), body(30_000)).await
                })
            })
            .collect();
        eventually("all are in the queue", || async {
            (client.stats("r").await["queue_depth"] == 5).then_some(())
        })
        .await;
        let look = {
            let (client, id) =
                (client.clone(), ids(&client.leases("r", "waiting").await)[0].clone());
            tokio::spawn(async move { client.get(&format!("/v1/leases/{id}?wait_ms=30000")).await })
        };
        // A look is told to the log, so it is on its way when the log has grown.
        let index = client.applied_index().await;
        eventually("the look is on its way", || async {
            (client.applied_index().await > index).then_some(())
        })
        .await;
        let before = lists(&client).await;

        node.signal(signal);
        for call in calls {
            call.await.unwrap().problem(503, "shutting-down").says(&["same Idempotency-Key"]);
        }
        look.await.unwrap().problem(503, "shutting-down");
        assert_eq!(node.ended().await.code(), Some(0));

        node.start_again().await;
        assert_eq!(lists(&client).await, before);
        for (number, id) in before.1.iter().enumerate() {
            let place = client.lease(id).await;
            assert_eq!(
                (place.str("state"), place.u64("position")),
                ("waiting", u64::try_from(number + 1).unwrap())
            );
        }
    }
}

/// Callers that hang in the middle of a kill either get what they were answered, or learn it by
/// repeating their call.
#[tokio::test]
async fn no_acknowledged_lease_is_lost_and_none_is_made_twice() {
    let mut node = node_with(1_000_000).await;
    let acknowledged = Arc::new(parking_lot::Mutex::new(Vec::new()));
    for round in 0..3 {
        let mut writers = JoinSet::new();
        for writer in 0..16 {
            let (client, acknowledged) = (node.client.clone(), Arc::clone(&acknowledged));
            writers.spawn(async move {
                for number in 0.. {
                    let key = format!("{round}-{writer}-{number}");
                    let headers = [("Idempotency-Key", key.as_str())];
                    match client.try_call(Method::POST, ACQUIRE, &headers, Some(body(0))).await {
                        Ok(answer) if answer.status == 200 => {
                            acknowledged.lock().push((key, answer.id()))
                        }
                        Ok(_) | Err(_) => return key,
                    }
                }
                unreachable!("the numbers do not end");
            });
        }
        let before = acknowledged.lock().len();
        eventually("leases are acknowledged", || async {
            (acknowledged.lock().len() > before + 200).then_some(())
        })
        .await;
        node.kill().await;
        let unknown = writers.join_all().await;
        node.start_again().await;
        for key in unknown {
            let answer = node.client.keyed(ACQUIRE, &key, body(0)).await;
            acknowledged.lock().push((key, answer.is(200).id()));
        }
    }

    let acknowledged = acknowledged.lock().clone();
    assert_eq!(node.client.stats("r").await["held"], acknowledged.len());
    let mut unique: Vec<&String> = acknowledged.iter().map(|(_, id)| id).collect();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), acknowledged.len());

    for (key, id) in acknowledged.iter().step_by(17) {
        assert_eq!(node.client.keyed(ACQUIRE, key, body(0)).await.is(200).id(), *id);
    }
}
