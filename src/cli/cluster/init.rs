//! `ratequeue cluster init`.
//!
//! The node with the lowest id decides which cluster it is: it takes the first id that it is offered, and tells every later
//! comer. So two runs at once, and a run after one that broke off, end with the same cluster.
//!
//! Before anything is formed, every node looks for every other one at the peer address that the file gives.

use std::collections::BTreeMap;
use std::time::Instant;

use clap::Args;
use futures::future::try_join_all;
use ratequeue_api::cluster::{AddLearnersRequest, AdoptRequest, FormRequest, NodeView, UnreachedNode};

use super::{Asked, File, LOOK_PAUSE, is_formed};
use crate::catalog::GLOBAL;
use crate::cli::{failed, print};
use crate::config::ClusterFile;
use crate::exit::{Exit, Failed};

/// How long the nodes are given to agree on leaders.
const READY_WITHIN: std::time::Duration = std::time::Duration::from_secs(15);

/// Forms the cluster that a file describes, once; repeating it does nothing
#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    file: File,
}

impl Init {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        init(&self.file, &file).await?;
        Ok(Exit::Done)
    }
}

/// Forms the cluster, and waits until every group has a leader.
pub async fn init(place: &File, file: &ClusterFile) -> Result<(), Failed> {
    let asked = place.ask(file).await?;
    let silent: Vec<_> = asked.iter().filter_map(|asked| asked.view.as_ref().err().map(|why| (asked, why))).collect();
    if let Some((first, why)) = silent.first() {
        let ids: Vec<_> = silent.iter().map(|(asked, _)| asked.node.id).collect();
        let text = format!("nodes {ids:?} do not answer: start them first. Node {}: {why}", first.node.id);
        return Err(Failed::new(Exit::Failed, text));
    }
    refuse_half_empty(&asked)?;
    refuse_new_regions(place, file, &asked).await?;
    let cluster_id = adopt_all(file, &asked).await?;
    refuse_unreached(file, &asked, &cluster_id).await?;

    for region in file.regions.keys() {
        let voters = asked.iter().filter(|asked| asked.node.region == *region).collect();
        form(region, voters, &asked).await?;
    }
    let voters = file.global_voters(&file.ids().into_iter().collect());
    let voters = asked.iter().filter(|asked| voters.contains(&asked.node.id)).collect();
    form(GLOBAL, voters, &asked).await?;
    let nodes = asked.iter().map(|asked| asked.node.clone()).collect();
    let everybody = AddLearnersRequest { group: GLOBAL.to_owned(), nodes };
    place.at_leader(file, GLOBAL, async |leader| leader.add_learners(&everybody).await).await?;
    wait_ready(place, file).await
}

/// A node without data beside a formed cluster has lost it, or the formed one came from elsewhere: both are for people.
fn refuse_half_empty(asked: &[Asked]) -> Result<(), Failed> {
    let empty: Vec<u64> =
        asked.iter().filter(|asked| asked.cluster_id().is_none()).map(|asked| asked.node.id).collect();
    let (Some(formed), Some(id)) = (asked.iter().find(|asked| asked.is_formed()), empty.first()) else { return Ok(()) };
    let text = if empty.len() * 2 > asked.len() {
        format!(
            "node {} belongs to another cluster ({}), and nodes {empty:?} are empty: nothing was formed. Give it an empty data \
             folder, or, if this is that cluster, bring back the data of the others",
            formed.node.id,
            formed.cluster_id().unwrap_or_default()
        )
    } else {
        format!(
            "the cluster is formed already, but node {id} is empty. A node that lost its data cannot come back under its old \
             id: give the new one another id and run `ratequeue cluster replace-node --id {id} --with NEW`, or, if it is a \
             new node, `ratequeue cluster add-node --id {id}`"
        )
    };
    Err(Failed::new(Exit::Failed, text))
}

/// The global group is formed last. So once it is, a region without a group is a new one, or one whose nodes are not in this
/// file: a second group of it would grant everything once more.
async fn refuse_new_regions(place: &File, file: &ClusterFile, asked: &[Asked]) -> Result<(), Failed> {
    if !is_formed(asked, GLOBAL) {
        return Ok(());
    }
    // Asked once more, for another run may have formed both meanwhile.
    let asked = place.ask(file).await?;
    let Some(region) = file.regions.keys().find(|region| !is_formed(&asked, region)) else { return Ok(()) };
    let text = format!(
        "the cluster is formed already, and region {region} is no part of it as this file has it: run `ratequeue cluster add-node \
         --id N` for each node of a new region, and keep the nodes of a region that is there in the file"
    );
    Err(Failed::new(Exit::Failed, text))
}

/// Makes every node part of one cluster; says of which.
async fn adopt_all(file: &ClusterFile, asked: &[Asked]) -> Result<String, Failed> {
    let mut cluster_id = format!("{:032x}", rand::random::<u128>());
    for (nth, asked) in asked.iter().enumerate() {
        let (name, reach) = (file.name.clone(), Vec::new());
        let request = AdoptRequest { name, cluster_id: cluster_id.clone(), node: asked.node.id, reach };
        let answer = asked.client.adopt(&request).await.map_err(failed)?;

        if nth == 0 {
            cluster_id = answer.cluster_id;
        } else if answer.cluster_id != cluster_id {
            let text = format!(
                "node {} belongs to another cluster ({}): nothing was formed. Give it an empty data folder, or take it out of \
                 the file",
                asked.node.id, answer.cluster_id
            );
            return Err(Failed::new(Exit::Failed, text));
        }
    }
    Ok(cluster_id)
}

/// A group that is formed with an address at which a node does not answer may never find a leader, and keeps the address. So
/// every node looks for every other one first: nodes listen for each other from the moment they are adopted.
async fn refuse_unreached(file: &ClusterFile, asked: &[Asked], cluster_id: &str) -> Result<(), Failed> {
    let nodes: Vec<NodeView> = asked.iter().map(|asked| asked.node.clone()).collect();
    let looks = asked.iter().map(async |from| {
        let (name, cluster_id) = (file.name.clone(), cluster_id.to_owned());
        let request = AdoptRequest { name, cluster_id, node: from.node.id, reach: nodes.clone() };
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

/// Forms a group, unless it is formed. On one of its voters, the same one each time, so that it is formed once.
async fn form(group: &str, voters: Vec<&Asked>, asked: &[Asked]) -> Result<(), Failed> {
    let Some(first) = voters.first() else { return Ok(()) };
    if is_formed(asked, group) {
        return Ok(());
    }
    let nodes = voters.iter().map(|asked| asked.node.clone()).collect();
    first.client.form(&FormRequest { group: group.to_owned(), voters: nodes }).await.map_err(failed)
}

async fn wait_ready(place: &File, file: &ClusterFile) -> Result<(), Failed> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let asked = place.ask(file).await?;
        let waiting: Vec<_> = asked.iter().filter(|asked| !is_ready(asked)).map(|asked| asked.node.id).collect();
        if waiting.is_empty() {
            let id = asked.first().and_then(Asked::cluster_id).unwrap_or_default();
            print(&format!("cluster {} ({id}) is formed: {} nodes\n", file.name, asked.len()));
            return Ok(());
        }
        if Instant::now() > deadline {
            let text = format!(
                "nodes {waiting:?} have found no leader yet, or do not reach all regions: look at `ratequeue cluster status`"
            );
            return Err(Failed::new(Exit::Failed, text));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Both its groups have a leader, it is a member of both, and it reaches all regions.
fn is_ready(asked: &Asked) -> bool {
    let reaches_all = asked.view.as_ref().is_ok_and(|view| view.regions.values().all(|region| region.reachable));
    let leads_known = [asked.own_group(), asked.group(GLOBAL)]
        .into_iter()
        .all(|group| group.is_some_and(|group| group.leader.is_some() && !group.voters.is_empty()));
    reaches_all && leads_known
}
