//! What `ratequeue cluster status` shows.

use serde_json::Value;

use crate::cluster::{Cluster, GLOBAL, REGION, done, failed, stdout};
use crate::harness::run;
use crate::turn::Turn;

/// The cells of each line of tables.
fn rows_of(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

/// What stays the same from one look to the next.
fn titles_and_names(rows: &[Vec<&str>]) -> Vec<String> {
    rows.iter().map(|row| row.iter().take(5).copied().collect::<Vec<_>>().join(" ")).collect()
}

/// Both groups, and all three nodes in each of them.
async fn shows_groups_and_nodes(cluster: &Cluster, table: &str) {
    let rows = rows_of(table);
    for (nth, (group, first)) in [(REGION, 5), (GLOBAL, 8)].into_iter().enumerate() {
        let leader = cluster.leader_of(group).await;
        assert_eq!(
            (rows[1 + nth][0], rows[1 + nth][1], rows[1 + nth][3]),
            (group, &*leader.to_string(), "1,2,3"),
            "{table}"
        );
        for (nth, id) in (1..=3).enumerate() {
            let role = if id == leader { "leader" } else { "follower" };
            let (id, url, leader) = (id.to_string(), cluster.node(id).url(), leader.to_string());
            assert_eq!(
                rows[first + nth][..7],
                [&id, REGION, &url, group, "ok", role, &leader],
                "{table}"
            );
        }
    }
}

#[tokio::test]
async fn status_shows_every_node_and_fails_when_one_is_down() {
    let _turn = Turn::shared();
    let mut cluster = Cluster::formed(3).await;
    let leader = cluster.leader().await;
    let table = done(&cluster.cli(&["status"]).await);
    let rows = rows_of(&table);
    assert_eq!(
        rows.iter().map(Vec::len).collect::<Vec<_>>(),
        [6, 6, 6, 0, 12, 12, 12, 12, 12, 12, 12],
        "{table}"
    );
    shows_groups_and_nodes(&cluster, &table).await;

    // The same without the file, from any node.
    for id in 1..=3 {
        let url = cluster.node(id).url();
        let by_url = done(&run(&["cluster", "status"], &[("RATEQUEUE_URL", &url)]).await);
        assert_eq!(titles_and_names(&rows_of(&by_url)), titles_and_names(&rows), "{by_url}");
    }

    let down = cluster.follower().await;
    cluster.node_mut(down).kill().await;
    let output = cluster.cli(&["status"]).await;
    assert_eq!(output.status.code(), Some(1));
    let table = stdout(&output);
    let column =
        |row: &str, cell: &str| row.find(cell).unwrap_or_else(|| panic!("{cell} in {row}"));
    let titles = table.lines().find(|line| line.starts_with("NODE")).unwrap();
    let row = table.lines().find(|line| line.starts_with(&format!("{down} "))).unwrap();
    assert_eq!(column(row, "down"), column(titles, "HEALTH"), "{table}");
    assert!(table.lines().all(|line| line.len() < 160), "a cell is wide: {table}");
    assert!(table.contains(&format!(
        "node {down} does not answer at {}: Connection refused",
        cluster.node(down).url()
    )));
    // By the URL of another node, and of the dead one first.
    let urls = cluster.urls([down, leader]);
    failed(&run(&["cluster", "status", "--url", &urls], &[]).await, 1, &[]);
    failed(
        &run(&["cluster", "status", "--url", &cluster.node(down).url()], &[]).await,
        1,
        &["no node answers", "refused"],
    );
    // It may have led the global group.
    cluster.leader_of(GLOBAL).await;
    let output = cluster.cli(&["status", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let nodes: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 3);
    for node in nodes.as_array().unwrap() {
        let is_down = node["id"] == down;
        assert_eq!(
            (node["healthy"] == true, node["error"].is_string()),
            (!is_down, is_down),
            "{node}"
        );
        assert_eq!(node["view"]["groups"][REGION]["leader"] == leader, !is_down, "{node}");
    }
}
