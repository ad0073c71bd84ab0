//! Where resources live, and that a worker need not know it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{AP, DOORS, EU, REGIONS, US, nine};
use crate::cluster::{Cluster, GLOBAL, failed, stdout};
use crate::harness::{Answer, concurrency, eventually, run};
use crate::turn::Turn;

async fn place(cluster: &Cluster, at: u64, name: &str, placement: &str) -> Answer {
    let body = json!({"placement": placement, "limits": concurrency(2)});
    let answer = cluster.at(at).put(&format!("/v1/resources/{name}"), body).await;
    assert_eq!(answer.is(201).str("placement"), placement);
    answer
}

#[tokio::test]
async fn a_resource_is_acquired_through_any_node_right_after_it_was_created() {
    let _turn = Turn::shared();
    let cluster = nine().await;
    for (nth, placement) in [EU, US, AP, GLOBAL].into_iter().enumerate() {
        for door in DOORS {
            for other in DOORS.into_iter().chain([6]).filter(|other| *other != door) {
                let name = format!("r{nth}-{door}-{other}");
                place(&cluster, door, &name, placement).await;
                let lease = cluster.at(other).granted(&name, json!({"ttl_ms": 600_000})).await;
                assert!(lease.id().starts_with(&format!("{placement}.")), "{}", lease.id());
            }
        }
    }
}

#[tokio::test]
async fn a_lease_of_another_region_can_be_used_like_any() {
    let _turn = Turn::shared();
    let cluster = nine().await;
    for placement in [EU, GLOBAL] {
        let name = format!("in-{placement}");
        place(&cluster, 1, &name, placement).await;
        let (here, far) = (cluster.at(4), cluster.at(8));
        let key = format!("key-{placement}");
        let held = here.keyed(&format!("/v1/resources/{name}/acquire"), &key, json!({})).await;
        let id = held.is(200).id();
        let again = far.keyed(&format!("/v1/resources/{name}/acquire"), &key, json!({})).await;
        assert_eq!(
            again.is(200).id(),
            id,
            "the same key means the same lease, through whatever node"
        );
        assert_eq!(far.lease(&id).await.is(200).str("state"), "held");
        assert_eq!(far.extend(&id, json!({"ttl_ms": 70_000})).await.is(200).str("state"), "held");
        assert_eq!(far.leases(&name, "held").await.len(), 1);
        let stats = eventually("the stats know it", || async {
            let stats = far.stats(&name).await;
            (stats["held"] == 1).then_some(stats)
        });
        assert_eq!(stats.await["limits"]["slots"]["used"], 1);
        assert!(far.release(&id).await.is(200).log_index() > 0);
        assert_eq!(here.lease(&id).await.is(200).str("state"), "released");
        assert_eq!(
            here.release(&id).await.is(200).str("state"),
            "released",
            "again, the same answer"
        );
    }

    cluster.at(1).get("/v1/leases/mars.00000000000000000001").await.problem(404, "lease-not-found");
}

#[tokio::test]
async fn answers_say_who_served_and_who_leads() {
    let _turn = Turn::shared();
    let cluster = nine().await;
    for placement in [US, GLOBAL] {
        place(&cluster, 1, placement, placement).await;
        let leader = cluster.leader_of(placement).await;
        for door in DOORS {
            let answer = cluster.at(door).granted(placement, json!({"ttl_ms": 1})).await;
            let served: u64 = answer.header("ratequeue-served-by").unwrap().parse().unwrap();
            let expected = if placement == GLOBAL { cluster.region_of(door) } else { US };
            assert_eq!(cluster.region_of(served), expected, "{}", answer.call);
            assert_eq!(
                answer.header("ratequeue-leader"),
                Some(cluster.node(leader).url().as_str()),
                "{}",
                answer.call
            );
            // Straight there, as a client library would.
            cluster.at(leader).granted(placement, json!({"ttl_ms": 1})).await;
        }
    }
}

#[tokio::test]
async fn a_call_waits_in_queue_from_another_region() {
    let _turn = Turn::shared();
    let cluster = nine().await;
    for placement in [EU, GLOBAL] {
        let body = json!({"placement": placement, "limits": concurrency(1)});
        cluster.at(7).put(&format!("/v1/resources/{placement}"), body).await.is(201);
        let holder = cluster.at(1).granted(placement, json!({"ttl_ms": 600_000})).await.id();
        let path = format!("/v1/resources/{placement}/acquire");
        let waiting = tokio::spawn({
            let (client, path) = (cluster.at(5).clone(), path.clone());
            async move { client.keyed(&path, "waits", json!({"wait_ms": 60_000})).await }
        });
        eventually("it is in the queue", || async {
            (cluster.at(1).leases(placement, "waiting").await.len() == 1).then_some(())
        })
        .await;
        cluster.at(8).release(&holder).await.is(200);
        let granted = waiting.await.unwrap();
        assert_eq!(granted.is(200).str("state"), "held");
        cluster.at(2).release(&granted.id()).await.is(200);
    }
}

/// The caller's connection is not that of the region that keeps its place: its leaving must be told
/// there.
#[tokio::test]
async fn who_hangs_up_loses_its_place_in_another_region() {
    let _turn = Turn::shared();
    let cluster = nine().await;
    let body = json!({"placement": EU, "limits": concurrency(1)});
    cluster.at(1).put("/v1/resources/r", body).await.is(201);
    cluster.at(1).granted("r", json!({"ttl_ms": 600_000})).await;
    let leaving = cluster.at(4).clone();
    let call = leaving.acquire("r", json!({"wait_ms": 600_000}));
    let _ = tokio::time::timeout(Duration::from_secs(2), call).await;
    assert_eq!(cluster.at(1).leases("r", "waiting").await.len(), 1, "it has waited");
    eventually("its place is given up", || async {
        cluster.at(1).leases("r", "waiting").await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_call_that_waits_in_another_region_is_told_when_its_node_stops() {
    let _turn = Turn::shared();
    let mut cluster = nine().await;
    let body = json!({"placement": EU, "limits": concurrency(1)});
    cluster.at(1).put("/v1/resources/r", body).await.is(201);
    let held = cluster.at(1).granted("r", json!({"ttl_ms": 600_000})).await.id();
    let there = cluster.at(4).clone();

    let path = "/v1/resources/r/acquire";
    let call =
        tokio::spawn(async move { there.keyed(path, "k", json!({"wait_ms": 600_000})).await });
    eventually("it is in the queue", || async {
        (cluster.at(1).leases("r", "waiting").await.len() == 1).then_some(())
    })
    .await;

    cluster.node_mut(4).stop().await;
    call.await.unwrap().problem(503, "shutting-down");
    cluster.at(7).release(&held).await.is(200);
    cluster.at(5).keyed(path, "k", json!({"wait_ms": 600_000})).await.is(200);
}

#[tokio::test]
async fn limits_are_changed_from_anywhere_at_once() {
    let _turn = Turn::shared();

    let cluster = nine().await;
    for placement in [EU, GLOBAL] {
        place(&cluster, 4, placement, placement).await;
        for (nth, door) in DOORS.into_iter().cycle().take(12).enumerate() {
            let quota = 1 + nth % 3;
            let patch = json!({"limits": {"slots": {"quota": quota}}});
            let changed =
                cluster.at(door).patch(&format!("/v1/resources/{placement}"), patch).await;
            assert_eq!(changed.is(200).u64("effective_index"), changed.log_index());
            for _ in 0..quota {
                cluster.at(DOORS[nth % 3]).granted(placement, json!({"ttl_ms": 600_000})).await;
            }
            let full = cluster.at(DOORS[(nth + 1) % 3]).acquire(placement, json!({})).await;
            full.problem(429, "limit-exceeded");
            for lease in
                cluster.at(cluster.leader_of(placement).await).leases(placement, "held").await
            {
                cluster.at(9).release(lease["id"].as_str().unwrap()).await.is(200);
            }
        }
    }
}

#[tokio::test]
async fn a_name_lives_in_one_place_and_the_place_is_said() {
    let _turn = Turn::shared();
    let cluster = nine().await;
    let unknown = json!({"placement": "mars", "limits": concurrency(1)});
    let nowhere = cluster
        .at(4)
        .patch("/v1/resources/r", json!({"placement": AP, "queue": {"max_waiting": 1}}))
        .await;
    nowhere.problem(404, "resource-not-found");
    let refused = cluster.at(4).put("/v1/resources/r", unknown).await;
    refused.problem(422, "invalid-resource").says(&["ap-south-1, eu-west-1, us-east-1, global"]);

    // Without a placement it is created where it is asked for, and replaced where it lives.
    let limits = |quota: u64| json!({"limits": concurrency(quota)});
    assert_eq!(cluster.at(5).put("/v1/resources/r", limits(1)).await.is(201).str("placement"), US);
    for door in DOORS {
        let replaced = cluster.at(door).put("/v1/resources/r", limits(2)).await;
        assert_eq!(replaced.is(200).str("placement"), US);
    }
    for (door, placement) in [(1, EU), (4, EU), (7, GLOBAL), (5, AP)] {
        let body = json!({"placement": placement, "limits": concurrency(3)});
        let refused = cluster.at(door).put("/v1/resources/r", body).await;
        refused.problem(409, "placement-conflict").says(&[
            "lives in us-east-1",
            "Delete it",
            placement,
        ]);
        let refused =
            cluster.at(door).patch("/v1/resources/r", json!({"placement": placement})).await;
        refused.problem(409, "placement-conflict").says(&["lives in us-east-1"]);
    }
    let new = [("If-None-Match", "*")];
    for door in DOORS {
        let refused =
            cluster.at(door).call(Method::PUT, "/v1/resources/r", &new, Some(limits(1))).await;
        refused.problem(412, "version-conflict");
        let stale = [("If-Match", "\"99\"")];
        let refused =
            cluster.at(door).call(Method::PUT, "/v1/resources/none", &stale, Some(limits(1))).await;
        refused.problem(412, "version-conflict");
    }
    assert_eq!(
        cluster.at(9).get("/v1/resources/r").await.is(200).body["limits"]["slots"]["quota"],
        2
    );
}

#[tokio::test]
async fn a_deleted_name_is_free_for_another_place_at_once() {
    let _turn = Turn::shared();
    let cluster = nine().await;
    let mut token = 0;

    for (nth, placement) in [EU, US, GLOBAL, AP, EU, GLOBAL].into_iter().enumerate() {
        place(&cluster, DOORS[nth % 3], "r", placement).await;
        for door in [DOORS[(nth + 1) % 3], DOORS[(nth + 2) % 3]] {
            let lease = cluster.at(door).granted("r", json!({"ttl_ms": 600_000})).await;
            assert!(
                lease.u64("fencing_token") > token,
                "fencing tokens rise: {token}, then {}",
                lease.text
            );
            token = lease.u64("fencing_token");
        }
        let waiting = tokio::spawn({
            let client = cluster.at(DOORS[(nth + 1) % 3]).clone();
            async move { client.acquire("r", json!({"wait_ms": 60_000})).await }
        });
        eventually("it is in the queue", || async {
            (cluster.at(DOORS[nth % 3]).stats("r").await["queue_depth"] == 1).then_some(())
        })
        .await;
        let key = format!("delete-{nth}");
        for door in [DOORS[(nth + 2) % 3], DOORS[nth % 3]] {
            let key = [("Idempotency-Key", key.as_str())];
            cluster.at(door).call(Method::DELETE, "/v1/resources/r", &key, None).await.is(204);
        }
        waiting.await.unwrap().problem(410, "resource-deleted");
        for door in DOORS {
            cluster.at(door).get("/v1/resources/r").await.problem(404, "resource-not-found");
            cluster.at(door).acquire("r", json!({})).await.problem(404, "resource-not-found");
            let deleted = cluster.at(door).call(Method::DELETE, "/v1/resources/r", &[], None);
            deleted.await.problem(404, "resource-not-found");
        }
    }
}

#[tokio::test]
async fn the_list_has_the_resources_of_all_regions_in_name_order() {
    let _turn = Turn::shared();
    let mut cluster = nine().await;
    let mut names = Vec::new();
    for (nth, placement) in REGIONS.into_iter().chain([GLOBAL]).cycle().take(18).enumerate() {
        let name = format!("r{:02}", (nth * 7) % 18);
        place(&cluster, DOORS[nth % 3], &name, placement).await;
        names.push((name, placement));
    }
    names.sort_unstable();
    for door in DOORS {
        eventually("all nodes know them", || async {
            (items(&cluster.at(door).get("/v1/resources").await) == owned(&names)).then_some(())
        })
        .await;
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page =
                cluster.at(door).get(&format!("/v1/resources?limit=5&cursor={cursor}")).await;
            assert!(page.is(200).body.get("unreachable").is_none(), "{}", page.text);
            paged.extend(items(&page));
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = next.to_owned();
        }
        assert_eq!(paged, owned(&names));
    }

    for id in cluster.ids_in(AP) {
        cluster.node_mut(id).kill().await;
    }
    let rest: Vec<_> = names.into_iter().filter(|(_, placement)| *placement != AP).collect();
    let metrics = eventually("the metrics tell", || async {
        let text = cluster.at(1).get("/metrics").await.text;
        text.contains("ratequeue_region_reachable{region=\"ap-south-1\"} 0").then_some(text)
    })
    .await;
    assert!(metrics.contains("ratequeue_region_reachable{region=\"us-east-1\"} 1"), "{metrics}");
    assert!(
        metrics.contains("ratequeue_region_round_trip_seconds{region=\"us-east-1\"} "),
        "{metrics}"
    );
    let listed = run(&["resource", "list", "--url", &cluster.node(1).url()], &[]).await;
    let said = failed(&listed, 1, &["the list is not whole", AP]);
    assert!(
        stdout(&listed).contains("us-east-1") && !said.contains("us-east-1"),
        "{}",
        stdout(&listed)
    );
    let page = eventually("the region is missed", || async {
        let page = cluster.at(1).get("/v1/resources").await;
        (!page.body["unreachable"].is_null()).then_some(page)
    })
    .await;
    assert_eq!((&page.is(200).body["unreachable"], items(&page)), (&json!([AP]), owned(&rest)));
}

fn items(page: &Answer) -> Vec<(String, String)> {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    let items = page.is(200).body["items"].as_array().unwrap();
    items.iter().map(|item| (text(item, "name"), text(item, "placement"))).collect()
}

fn owned(names: &[(String, &str)]) -> Vec<(String, String)> {
    names.iter().map(|(name, placement)| (name.clone(), (*placement).to_owned())).collect()
}
