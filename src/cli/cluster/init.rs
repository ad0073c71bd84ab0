//! `ratequeue cluster init`.
//!
//! Gives every node of the file the cluster's id and what is to be founded; the nodes form the
//! groups by themselves once all of them agree. The node with the lowest id decides which cluster
//! it is: it takes the first id that it is offered, and tells every later comer. So two runs at
//! once, and a run after one that broke off, end with the same cluster.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use futures::future::try_join_all;
use ratequeue_api::cluster::{AdoptRequest, ChangeKind, ClusterView, NodeView, UnreachedNode};

use super::{ClusterArgs, LOOK_PAUSE, NodeReport, Nodes, is_formed};
use crate::cli::exit::{Exit, Failed};
use crate::cli::{failed, print};
use crate::config::{ClusterFile, GLOBAL};
use crate::ops::founding;

/// How long the nodes are given to agree on leaders.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Forms the cluster that a file describes, once; repeating it does nothing
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    file: ClusterArgs,
}

impl Init {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        init(&self.file.nodes(&file), &file, READY_WITHIN).await?;
        Ok(Exit::Done)
    }
}

/// Has the nodes form the cluster, and waits for so long until every group has a leader.
pub async fn init(nodes: &Nodes, file: &ClusterFile, within: Duration) -> Result<(), Failed> {
    let asked = nodes.ask().await?;
    let silent: Vec<_> = asked
        .iter()
        .filter_map(|asked| asked.view.as_ref().err().map(|why| (asked, why)))
        .collect();
    if let Some((first, why)) = silent.first() {
        let ids: Vec<_> = silent.iter().map(|(asked, _)| asked.node.id).collect();
        let text =
            format!("nodes {ids:?} do not answer: start them first. Node {}: {why}", first.node.id);
        return Err(Failed::new(Exit::Failed, text));
    }

    refuse_empty(&asked)?;
    refuse_new_regions(nodes, &asked).await?;
    let cluster_id = adopt_all(file, &asked).await?;
    refuse_unreached(file, &asked, &cluster_id).await?;
    wait_ready(nodes, &file.name, within).await
}

/// A node without data beside a formed cluster has lost it, or the formed one came from elsewhere:
/// both are for people. While the cluster is being formed a node may start anew, unless it has
/// voted.
fn refuse_empty(asked: &[NodeReport]) -> Result<(), Failed> {
    let empty: Vec<u64> = asked
        .iter()
        .filter(|asked| asked.cluster_id().is_none())
        .map(|asked| asked.node.id)
        .collect();

    let Some(id) = empty.first() else { return Ok(()) };
    let formed = asked.iter().find(|asked| asked.has_voters(GLOBAL));
    let voted = empty.iter().find(|id| asked.iter().any(|asked| asked.knows(**id)));

    let text = match (formed, voted) {
        (Some(formed), _) if empty.len() * 2 > asked.len() => format!(
            "node {} belongs to another cluster ({}), and nodes {empty:?} are empty: nothing was formed. Give it an empty data \
             folder, or, if this is that cluster, bring back the data of the others",
            formed.node.id,
            formed.cluster_id().unwrap_or_default()
        ),
        (Some(_), _) => format!(
            "the cluster is formed already, but node {id} is empty. A node that lost its data cannot come back under its old \
             id: give the new one another id and run `ratequeue cluster replace-node --id {id} --with NEW`, or, if it is a \
             new node, `ratequeue cluster add-node --id {id}`"
        ),
        (None, Some(id)) => format!(
            "node {id} has lost its data while the cluster was being formed, and it may have voted. Nothing can have been \
             created yet: stop all nodes, empty their data folders, start them, and repeat `ratequeue cluster init`"
        ),
        (None, None) => return Ok(()),
    };

    Err(Failed::new(Exit::Failed, text))
}

/// The global group is formed last. So once it is, a region without a group is a new one, or one
/// whose nodes are not in this file: a second group of it would grant everything once more.
async fn refuse_new_regions(nodes: &Nodes, asked: &[NodeReport]) -> Result<(), Failed> {
    if !is_formed(asked, GLOBAL) {
        return Ok(());
    }
    // NodeReport once more, for another run may have formed both meanwhile.
    let asked = nodes.ask().await?;
    let Some(region) = nodes.regions().into_iter().find(|region| !is_formed(&asked, region)) else {
        return Ok(());
    };
    let text = format!(
        "the cluster is formed already, and region {region} is no part of it as this file has it: run `ratequeue cluster add-node \
         --id N` for each node of a new region, and keep the nodes of a region that is there in the file"
    );
    Err(Failed::new(Exit::Failed, text))
}

/// Makes every node part of one cluster, to found it; says of which.
async fn adopt_all(file: &ClusterFile, asked: &[NodeReport]) -> Result<String, Failed> {
    let known = asked.iter().find_map(NodeReport::cluster_id);
    let mut cluster_id =
        known.map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned);
    for (nth, asked) in asked.iter().enumerate() {
        let (id, request) = (asked.node.id, adoption(file, &asked.node, &cluster_id, Vec::new()));
        let answer = asked.client.adopt(&request).await.map_err(|error| {
            let what = if nth == 0 { "nothing was changed" } else { "nothing was formed" };
            let text = format!(
                "node {id}: {error}. {what}: mend that, and repeat `ratequeue cluster init`"
            );
            Failed::new(Exit::Failed, text)
        })?;

        if nth == 0 && known.is_none() {
            cluster_id = answer.cluster_id;
        } else if answer.cluster_id != cluster_id {
            let text = format!(
                "node {id} belongs to another cluster ({}): nothing was formed. Give it an empty data folder, or take it out of \
                 the file",
                answer.cluster_id
            );
            return Err(Failed::new(Exit::Failed, text));
        }
    }
    Ok(cluster_id)
}

fn adoption(
    file: &ClusterFile,
    node: &NodeView,
    cluster_id: &str,
    reach: Vec<NodeView>,
) -> AdoptRequest {
    AdoptRequest {
        name: file.name.clone(),
        cluster_id: cluster_id.to_owned(),
        node: node.id,
        region: node.region.clone(),
        founding: Some(founding::of_file(file)),
        reach,
    }
}

/// A group that is formed with an address at which a node does not answer may never find a leader,
/// and keeps the address. So every node looks for every other one first: nodes listen for each
/// other from the moment they are adopted.
async fn refuse_unreached(
    file: &ClusterFile,
    asked: &[NodeReport],
    cluster_id: &str,
) -> Result<(), Failed> {
    let nodes: Vec<NodeView> = asked.iter().map(|asked| asked.node.clone()).collect();
    let looks = asked.iter().map(async |from| {
        let request = adoption(file, &from.node, cluster_id, nodes.clone());
        from.client.adopt(&request).await.map(|answer| (from.node.id, answer.unreached))
    });
    let looks = try_join_all(looks).await.map_err(failed)?;

    let mut missed: BTreeMap<(u64, String), Vec<(u64, String)>> = BTreeMap::new();
    for (from, unreached) in looks {
        for UnreachedNode { id, peer, reason } in unreached {
            missed.entry((id, peer)).or_default().push((from, reason));
        }
    }
    if missed.is_empty() {
        return Ok(());
    }

    let what = if is_formed(asked, GLOBAL) { "nothing was changed" } else { "nothing was formed" };
    let text = format!(
        "{}: {what}. Correct the peer address in the cluster file, open the port between the machines, restart the nodes that \
         run with a wrong file, and repeat `ratequeue cluster init`",
        missed.iter().map(describe_missed).collect::<Vec<_>>().join("; ")
    );
    Err(Failed::new(Exit::Failed, text))
}

/// A node that was not reached at an address, by whom, and why.
fn describe_missed(((id, peer), from): (&(u64, String), &Vec<(u64, String)>)) -> String {
    let ids: Vec<u64> = from.iter().map(|(from, _)| *from).collect();
    let reason = from.first().map(|(_, reason)| reason.as_str()).unwrap_or_default();
    format!("node {id} does not answer nodes {ids:?} at its peer address {peer} ({reason})")
}

async fn wait_ready(nodes: &Nodes, cluster: &str, within: Duration) -> Result<(), Failed> {
    let deadline = Instant::now() + within;
    loop {
        let asked = nodes.ask().await?;
        let waiting: Vec<_> =
            asked.iter().filter(|asked| !is_ready(asked)).map(|asked| asked.node.id).collect();
        if waiting.is_empty() {
            let id = asked.first().and_then(NodeReport::cluster_id).unwrap_or_default();
            print(&format!("cluster {cluster} ({id}) is formed: {} nodes\n", asked.len()));
            return Ok(());
        }
        if Instant::now() > deadline {
            let views = asked.iter().filter_map(|asked| asked.view.as_ref().ok());
            let progress =
                views.flat_map(|view| &view.changes).find_map(|change| change.progress.clone());
            let text = format!(
                "nodes {waiting:?} have found no leader yet, or do not reach all regions{}. It goes on by itself: look at \
                 `ratequeue cluster status`",
                progress.map(|progress| format!(": {progress}")).unwrap_or_default()
            );
            return Err(Failed::new(Exit::Failed, text));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Both its groups have a leader, it is a member of both, and it reaches all regions.
fn is_ready(asked: &NodeReport) -> bool {
    let reaches_all =
        asked.view.as_ref().is_ok_and(|view| view.regions.values().all(|region| region.reachable));
    let leads_known = [asked.own_group(), asked.group(GLOBAL)]
        .into_iter()
        .all(|group| group.is_some_and(|group| group.leader.is_some() && !group.voters.is_empty()));
    let founds =
        |view: &ClusterView| view.changes.iter().any(|change| change.kind == ChangeKind::Found);
    let is_formed = asked.view.as_ref().is_ok_and(|view| !founds(view));
    reaches_all && leads_known && is_formed
}
