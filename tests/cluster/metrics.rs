//! The metrics of several nodes: what can be summed is said once.

use serde_json::json;

use crate::cluster::Cluster;
use crate::harness::{concurrency, eventually};
use crate::turn::Turn;

/// The values of the samples whose name and labels begin like this.
fn values(text: &str, sample: &str) -> Vec<u64> {
    let lines = text.lines().filter(|line| line.starts_with(sample));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn gauges_summed_over_the_nodes_are_what_the_group_has() {
    let _turn = Turn::shared();
    let cluster = Cluster::formed(3).await;
    let leader = cluster.leader().await;
    cluster.at(1).create("r", concurrency(5)).await;
    cluster.at(2).granted("r", json!({})).await;
    let last = cluster.at(3).granted("r", json!({})).await.u64("log_index");

    let applied = "ratequeue_log_applied_index{group=\"eu\"}";
    let texts = eventually("all nodes have applied it", || async {
        let mut texts = Vec::new();
        for id in 1..=3 {
            texts.push(cluster.at(id).get("/metrics").await.is(200).text.clone());
        }
        texts
            .iter()
            .all(|text| values(text, applied).iter().any(|index| *index >= last))
            .then_some(texts)
    })
    .await;

    let sum = |sample: &str| -> u64 { texts.iter().flat_map(|text| values(text, sample)).sum() };
    assert_eq!(sum("ratequeue_held{resource=\"r\"}"), 2);
    assert_eq!(sum("ratequeue_leases_live{group=\"eu\"}"), 2);
    assert_eq!(sum("ratequeue_resources{group=\"eu\"}"), 1);
    assert_eq!(sum("ratequeue_leader{group=\"eu\"}"), 1);
    let of_leader = &texts[usize::try_from(leader).unwrap() - 1];
    assert_eq!(values(of_leader, "ratequeue_held{resource=\"r\"}"), [2]);
}
