//! Creations that race, and creations that break off half way.

use std::time::{Duration, Instant};

use futures::future::join_all;
use ratequeue_api::path::segment;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::{AP, DOORS, EU, REGIONS, US, near, nine};
use crate::cluster::{Cluster, GLOBAL};
use crate::harness::{Answer, concurrency, eventually};
use crate::turn::Turn;

const RACERS: usize = 50;
const RACES: usize = 6;

#[tokio::test]
async fn one_of_many_racing_creations_wins() {
    let _turn = Turn::shared();

    let cluster = nine().await;
    for race in 0..RACES {
        let name = format!("/v1/resources/race-{race}");
        let racers =
            (0..RACERS).map(|nth| {
                let client = cluster.at(u64::try_from(nth % 9).unwrap() + 1).clone();
                let placement = REGIONS.into_iter().chain([GLOBAL]).nth(nth % 4).unwrap();
                // Half of the races leave the place to the node that is asked.
                let mut body = json!({"limits": concurrency(1)});
                if race % 2 == 0 {
                    body["placement"] = json!(placement);
                }
                let name = name.clone();
                async move {
                    client.call(Method::PUT, &name, &[("If-None-Match", "*")], Some(body)).await
                }
            });
        let answers = join_all(racers).await;
        let with = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
        let (won, lost) = (with(201), with(412) + with(409));
        let other = answers.iter().find(|answer| ![201, 409, 412].contains(&answer.status));
        println!(
            "creation: race {race}: {won} created, {} say 412, {} say 409",
            with(412),
            with(409)
        );
        assert!(other.is_none(), "{:?}", other.map(|answer| (&answer.call, &answer.text)));
        assert_eq!((won, lost), (1, RACERS - 1));
        let winner = answers.iter().find(|answer| answer.status == 201).unwrap().str("placement");
        for door in DOORS {
            assert_eq!(cluster.at(door).get(&name).await.is(200).str("placement"), winner);
        }
        lives_once(&cluster, &name[14..], winner).await;
    }
}

/// A name is in the state of one group only.
async fn lives_once(cluster: &Cluster, name: &str, placement: &str) {
    for door in DOORS {
        let page = cluster.at(door).get("/v1/resources?limit=1000").await;
        let items = page.is(200).body["items"].as_array().unwrap();
        let places: Vec<_> = items
            .iter()
            .filter(|item| item["name"] == name)
            .map(|item| &item["placement"])
            .collect();
        assert_eq!(places, [&json!(placement)], "{name} as node {door} lists it");
    }
}

async fn kill_all_but_one(cluster: &mut Cluster, region: &str) {
    for id in cluster.ids_in(region).into_iter().skip(1) {
        cluster.node_mut(id).kill().await;
    }
}

async fn start_again(cluster: &mut Cluster, region: &str) {
    for id in cluster.ids_in(region) {
        if !cluster.node(id).runs() {
            cluster.node_mut(id).start().await;
        }
    }
    for id in cluster.ids_in(region) {
        cluster.node(id).ready().await;
    }
}

/// The name is claimed, and the region that is to have the resource has no quorum to create it.
#[tokio::test]
async fn a_creation_that_broke_off_is_finished_or_taken_back() {
    let _turn = Turn::shared();
    let mut cluster = nine().await;
    kill_all_but_one(&mut cluster, US).await;
    // From then on nothing is proposed there that could be decided later.
    eventually("the node that is left knows that it is alone", || async {
        // With a key, which the region may remember: else an unknown name is answered by a read.
        let answer = cluster.at(4).keyed("/v1/resources/none/acquire", "none", json!({})).await;
        (answer.body["code"] == "no-quorum").then_some(())
    })
    .await;
    let put = |placement: &str| json!({"placement": placement, "limits": concurrency(1)});
    for name in ["finished", "moved"] {
        let path = format!("/v1/resources/{name}");
        let answer = cluster
            .at(1)
            .call(Method::PUT, &path, &[("Idempotency-Key", name)], Some(put(US)))
            .await;
        answer.problem(503, "no-quorum");
        cluster.at(7).get(&path).await.problem(503, "no-quorum");
        // It cannot be had elsewhere while nobody can say that it was not created.
        assert!([409, 503].contains(&cluster.at(1).put(&path, put(EU)).await.status));
    }
    start_again(&mut cluster, US).await;
    let again = [("Idempotency-Key", "finished")];
    let finished =
        cluster.at(2).call(Method::PUT, "/v1/resources/finished", &again, Some(put(US))).await;
    assert_eq!(finished.is(201).str("placement"), US);

    // Nobody repeats the other one. It is taken back once it is too old to be under way.
    let moved = eventually("the name is free", || async {
        let answer = cluster.at(8).put("/v1/resources/moved", put(AP)).await;
        if answer.status != 201 {
            answer.problem(409, "placement-conflict").says(&["just being created in us-east-1"]);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        (answer.status == 201).then_some(answer)
    })
    .await;
    assert_eq!(moved.str("placement"), AP);
    lives_once(&cluster, "moved", AP).await;
    lives_once(&cluster, "finished", US).await;
    // A late repetition of the first creation does not make a second resource.
    let late = cluster.at(1).call(
        Method::PUT,
        "/v1/resources/moved",
        &[("Idempotency-Key", "moved")],
        Some(put(US)),
    );
    late.await.problem(409, "placement-conflict").says(&["lives in ap-south-1"]);
}

/// The region of the global leader is lost while names are claimed.
#[tokio::test]
async fn creations_survive_the_loss_of_the_global_leader() {
    let _turn = Turn::shared();
    let mut cluster = nine().await;
    let leader = cluster.leader_of(GLOBAL).await;
    let lost = cluster.region_of(leader).to_owned();
    let left: Vec<u64> = (1..=9).filter(|id| cluster.region_of(*id) != lost).collect();

    let creating = left.iter().flat_map(|id| (0..8).map(move |nth| (*id, nth))).map(|(id, nth)| {
        let client = ratequeue_api::client::Client::new(
            &cluster.node(id).url(),
            None,
            Duration::from_secs(20),
        )
        .unwrap();
        let placement =
            if nth % 2 == 0 { cluster.region_of(id).to_owned() } else { GLOBAL.to_owned() };
        async move {
            tokio::time::sleep(Duration::from_millis(nth * 30)).await;
            let resource = json!({"placement": placement, "limits": concurrency(1)});
            let name = format!("r-{id}-{nth}");
            (
                name.clone(),
                client.put_resource(&name, &serde_json::from_value(resource).unwrap()).await,
            )
        }
    });

    let creating: Vec<_> = creating.map(tokio::spawn).collect();
    tokio::time::sleep(Duration::from_millis(60)).await;
    for id in cluster.ids_in(&lost) {
        cluster.node_mut(id).kill().await;
    }

    for created in creating {
        let (name, view) = created.await.unwrap();
        let view = view.unwrap_or_else(|error| panic!("{name}: {error}"));
        for door in [left[0], left[5]] {
            let seen = cluster.at(door).get(&format!("/v1/resources/{name}")).await;
            assert_eq!(seen.is(200).str("placement"), view.placement, "{name} at {door}");
        }
    }
}

async fn put_again(cluster: &Cluster, at: u64, name: &str, key: &str, body: Value) -> Answer {
    cluster
        .at(at)
        .call(
            Method::PUT,
            &format!("/v1/resources/{name}"),
            &[("Idempotency-Key", key)],
            Some(body),
        )
        .await
}

/// The answer to a creation was lost, the resource is deleted, and the creation repeated: through
/// the region that has created it, and through another.
#[tokio::test]
async fn a_repeated_put_does_not_create_again_what_was_deleted() {
    let _turn = Turn::shared();
    let cluster = near(&[(EU, 1), (US, 1)]).await;
    let body = || json!({"limits": concurrency(1)});
    for (name, created, again) in [("here", 1, 1), ("there", 1, 2), ("back", 2, 1)] {
        let path = format!("/v1/resources/{name}");
        let region = cluster.region_of(created).to_owned();
        let key = format!("key-{name}");
        assert_eq!(
            put_again(&cluster, created, name, &key, body()).await.is(201).str("placement"),
            region
        );
        cluster.at(created).delete(&path).await.is(204);
        for door in [again, created] {
            let repeated = put_again(&cluster, door, name, &key, body()).await;
            assert_eq!(repeated.is(201).str("placement"), region, "its first answer");
            cluster.at(1).get(&path).await.problem(404, "resource-not-found");
            cluster.at(2).get(&path).await.problem(404, "resource-not-found");
        }
        put_again(&cluster, again, name, &key, json!({"limits": concurrency(2)}))
            .await
            .problem(422, "idempotency-conflict");

        // Nothing of it is in the way of a new one, wherever.
        let elsewhere = cluster.region_of(3 - created).to_owned();
        let wanted = json!({"limits": concurrency(1), "placement": elsewhere});
        let new = cluster.at(created).put(&path, wanted).await;
        assert_eq!(new.is(201).str("placement"), elsewhere);
        cluster.agree_on(GLOBAL, &[1, 2]).await;
        for door in [again, created] {
            let repeated = put_again(&cluster, door, name, &key, body()).await;
            assert_eq!(repeated.is(201).str("placement"), region, "its first answer");
            assert_eq!(
                cluster.at(door).get(&path).await.is(200).u64("version"),
                1,
                "and the new one stays as it is"
            );
        }
    }
}

/// A change is repeated after its resource was deleted and another of its name created in another
/// region.
#[tokio::test]
async fn a_repeated_patch_does_not_change_another_resource_of_the_name() {
    let _turn = Turn::shared();
    let cluster = near(&[(EU, 1), (US, 1)]).await;
    let path = "/v1/resources/moved";

    let patch = |at: u64| {
        let change = json!({"limits": {"slots": {"quota": 7}}});
        cluster.at(at).call(Method::PATCH, path, &[("Idempotency-Key", "patch")], Some(change))
    };

    eventually("it is created", || async {
        let answer =
            cluster.at(1).put(path, json!({"placement": EU, "limits": concurrency(1)})).await;
        (answer.status == 201).then_some(())
    })
    .await;

    assert_eq!(patch(1).await.is(200).str("placement"), EU);
    cluster.at(1).delete(path).await.is(204);
    cluster.at(2).put(path, json!({"placement": US, "limits": concurrency(1)})).await.is(201);

    for door in [1, 2] {
        // A node may see the catalog a moment late.
        cluster.agree_on(GLOBAL, &[1, 2]).await;
        assert_eq!(patch(door).await.is(200).str("placement"), EU, "its first answer");
        assert_eq!(cluster.at(door).get(path).await.is(200).body["limits"]["slots"]["quota"], 1);
    }
}

/// Names that are encoded in paths, between nodes too.
#[tokio::test]
async fn names_are_encoded_across_regions() {
    let _turn = Turn::shared();
    let cluster = near(&[(EU, 1), (US, 1)]).await;
    let names = ["a+b=c~[1]", "azure/gpt-4.1-ptu", "models/gemini-1.5-pro", "user@example.com"];

    for (name, placement) in names.into_iter().zip([EU, US, GLOBAL, US]) {
        let path = format!("/v1/resources/{}", segment(name));
        cluster
            .at(1)
            .put(&path, json!({"placement": placement, "limits": concurrency(1)}))
            .await
            .is(201);
        for door in [1, 2] {
            assert_eq!(cluster.at(door).get(&path).await.is(200).str("name"), name);
            let held = cluster.at(door).post(&format!("{path}/acquire"), json!({})).await;
            assert_eq!(held.is(200).str("resource"), name);
            cluster.at(3 - door).release(&held.id()).await.is(200);
            cluster.at(door).patch(&path, json!({"queue": {"max_waiting": 7}})).await.is(200);
        }
    }

    let (mut listed, mut cursor) = (Vec::new(), String::new());
    for _ in names {
        let page =
            cluster.at(2).get(&format!("/v1/resources?limit=1&cursor={}", segment(&cursor))).await;
        listed.push(page.is(200).body["items"][0]["name"].clone());
        cursor = page.body["next_cursor"].as_str().unwrap_or_default().to_owned();
    }

    assert_eq!(listed, names);
    for name in names {
        cluster.at(1).delete(&format!("/v1/resources/{}", segment(name))).await.is(204);
        // Its name is given back in its region, whichever it was.
        let again = json!({"placement": EU, "limits": concurrency(1)});
        assert_eq!(
            cluster
                .at(2)
                .put(&format!("/v1/resources/{}", segment(name)), again)
                .await
                .is(201)
                .str("placement"),
            EU
        );
    }
}

/// Callers that hang up as soon as they have sent their creations.
#[tokio::test]
async fn a_creation_goes_on_when_its_caller_has_gone() {
    let _turn = Turn::shared();
    let cluster = near(&[(EU, 1), (US, 1)]).await;
    let body = json!({"placement": US, "limits": concurrency(1)}).to_string();
    let address = cluster.at(1).address();
    const GONE: usize = 24;

    for nth in 0..GONE {
        let call = format!(
            "PUT /v1/resources/gone-{nth} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut caller = tokio::net::TcpStream::connect(&address).await.unwrap();
        caller.write_all(call.as_bytes()).await.unwrap();
        // Somewhere between the claim and the resource.
        tokio::time::sleep(Duration::from_micros(300 * nth as u64)).await;
    }

    let (begun, mut created) = (Instant::now(), 0);
    for nth in 0..GONE {
        // Elsewhere it is refused while it is half made, for 10 s.
        let other = json!({"placement": EU, "limits": concurrency(1)});
        let answer = eventually("the creation has ended", || async {
            let answer =
                cluster.at(1).put(&format!("/v1/resources/gone-{nth}"), other.clone()).await;
            let is_half_made =
                answer.status == 409 && answer.str("detail").contains("just being created");
            (!is_half_made).then_some(answer)
        })
        .await;
        created += usize::from(answer.status == 409);
    }

    println!("creation: {created} of {GONE} created, all known after {:?}", begun.elapsed());
    assert!(created > 0, "none had begun");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
