//! `ratequeue cluster add-node`, `remove-node` and `replace-node`.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Instant;

use clap::Args;
use ratequeue_api::cluster::{AddLearnerRequest, AdoptRequest, SetVotersRequest, TransferLeaderRequest};

use super::{Asked, File, LOOK_PAUSE, region_of};
use crate::cli::{failed, print};
use crate::config::ClusterFile;
use crate::exit::{Exit, Failed};

/// A learner that lacks at most this many entries has caught up: the rest comes while it is made a voter.
const LAG_MAX: u64 = 100;
/// How long catching up may stand still.
const STALLED_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// Adds a node: it catches up first, then votes
#[derive(Debug, Args)]
pub struct AddNode {
    /// The new node; it is in the file, and running
    #[arg(long, value_name = "N")]
    id: u64,
    #[command(flatten)]
    file: File,
}

/// Removes a node
#[derive(Debug, Args)]
pub struct RemoveNode {
    /// Which node
    #[arg(long, value_name = "N")]
    id: u64,
    #[command(flatten)]
    file: File,
}

/// Puts a new node in the place of one that is lost
#[derive(Debug, Args)]
pub struct ReplaceNode {
    /// The node that is lost
    #[arg(long, value_name = "OLD")]
    id: u64,
    /// The new node; it is in the file, and running
    #[arg(long, value_name = "NEW")]
    with: u64,
    #[command(flatten)]
    file: File,
}

impl AddNode {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let region = region_of(&file, self.id)?;
        let leader = self.file.leader(&file, &region).await?;
        join(&self.file, &file, &leader, self.id).await?;
        let voters = voters(&leader).into_iter().chain([self.id]).collect();
        set_voters(&leader, voters).await?;
        print(&format!("node {} votes in group {region} now\n", self.id));
        Ok(Exit::Done)
    }
}

impl RemoveNode {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let region = region_of(&file, self.id)?;
        let mut leader = self.file.leader(&file, &region).await?;
        let rest: BTreeSet<u64> = voters(&leader).into_iter().filter(|id| *id != self.id).collect();
        if rest.len() == voters(&leader).len() {
            print(&format!("node {} does not vote in group {region}\n", self.id));
            return Ok(Exit::Done);
        }
        check_quorum(&self.file, &file, &rest, self.id).await?;
        if leader.node.id == self.id {
            let request = TransferLeaderRequest { group: region.clone(), to: None };
            leader.client.transfer_leader(&request).await.map_err(failed)?;
            leader = self.file.leader(&file, &region).await?;
        }
        set_voters(&leader, rest).await?;
        print(&format!("node {} is no longer in group {region}: stop it\n", self.id));
        Ok(Exit::Done)
    }
}

impl ReplaceNode {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let region = region_of(&file, self.with)?;
        if self.id == self.with {
            let text = "a node id is never used twice: give the new node another id, and put it into the file";
            return Err(Failed::new(Exit::Usage, text));
        }
        let leader = self.file.leader(&file, &region).await?;
        if !voters(&leader).contains(&self.id) && !voters(&leader).contains(&self.with) {
            let text = format!("node {} does not vote in group {region}: use add-node for the new one", self.id);
            return Err(Failed::new(Exit::Failed, text));
        }
        join(&self.file, &file, &leader, self.with).await?;
        let leader = self.file.leader(&file, &region).await?;
        let changed = voters(&leader).into_iter().filter(|id| *id != self.id).chain([self.with]).collect();
        set_voters(&leader, changed).await?;
        print(&format!("node {} has taken the place of node {} in group {region}\n", self.with, self.id));
        Ok(Exit::Done)
    }
}

fn voters(leader: &Asked) -> BTreeSet<u64> {
    leader.group().map(|group| group.voters.iter().copied().collect()).unwrap_or_default()
}

async fn set_voters(leader: &Asked, voters: BTreeSet<u64>) -> Result<(), Failed> {
    let request = SetVotersRequest { group: leader.region.clone(), voters: voters.into_iter().collect() };
    leader.client.set_voters(&request).await.map_err(failed)
}

/// Makes a node part of the cluster and a learner of its group, and waits until it has caught up.
async fn join(place: &File, file: &ClusterFile, leader: &Asked, id: u64) -> Result<(), Failed> {
    let fail = |text: String| Failed::new(Exit::Failed, text);
    let all = place.ask(file).await?;
    let new = all.iter().find(|asked| asked.node.id == id).ok_or_else(|| fail(format!("the file has no node {id}")))?;
    if let Err(why) = &new.view {
        return Err(fail(format!("node {id} does not answer: start it first. {why}")));
    }
    let cluster_id = leader.cluster_id().unwrap_or_default().to_owned();
    if voters(leader).contains(&id) && new.cluster_id().is_none() {
        return Err(fail(format!(
            "node {id} votes already, but the node that answers under this id is empty. A node that lost its data cannot come \
             back: give the new one another id and run `ratequeue cluster replace-node --id {id} --with NEW`"
        )));
    }
    let request = AdoptRequest { name: file.name.clone(), cluster_id: cluster_id.clone(), node: id };
    let answer = new.client.adopt(&request).await.map_err(failed)?;
    if answer.cluster_id != cluster_id {
        return Err(fail(format!(
            "node {id} belongs to another cluster ({}): give it an empty folder",
            answer.cluster_id
        )));
    }
    if voters(leader).contains(&id) {
        return Ok(());
    }
    let request = AddLearnerRequest { group: leader.region.clone(), node: new.node.clone() };
    leader.client.add_learner(&request).await.map_err(failed)?;
    catch_up(place, file, &leader.region, id).await
}

async fn catch_up(place: &File, file: &ClusterFile, region: &str, id: u64) -> Result<(), Failed> {
    let (mut best, mut moved) = (u64::MAX, Instant::now());
    loop {
        let leader = place.leader(file, region).await?;
        let follower = leader.group().and_then(|group| group.followers.get(&id));
        if let Some(lag) = follower.filter(|follower| follower.matched_index.is_some()).map(|follower| follower.lag) {
            if lag <= LAG_MAX {
                return Ok(());
            }
            if lag < best {
                (best, moved) = (lag, Instant::now());
                if std::io::stderr().is_terminal() {
                    eprintln!("ratequeue: node {id} is {lag} entries behind");
                }
            }
        }
        if moved.elapsed() > STALLED_AFTER {
            let text =
                format!("node {id} does not catch up: look at its log. It is a learner now; repeat this to go on");
            return Err(Failed::new(Exit::Failed, text));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Refuses what would leave the group without a majority of nodes that answer.
async fn check_quorum(place: &File, file: &ClusterFile, rest: &BTreeSet<u64>, removed: u64) -> Result<(), Failed> {
    if rest.is_empty() {
        return Err(Failed::new(Exit::Failed, format!("node {removed} is the only voter: it cannot be removed")));
    }
    let asked = place.ask(file).await?;
    let healthy = asked
        .iter()
        .filter(|asked| rest.contains(&asked.node.id) && asked.group().is_some_and(|group| group.leader.is_some()))
        .count();
    if healthy * 2 > rest.len() {
        return Ok(());
    }
    let text = format!(
        "without node {removed} only {healthy} of the {} voters {rest:?} would be healthy, which is no majority: bring one \
         back, or replace one that is lost, before this",
        rest.len()
    );
    Err(Failed::new(Exit::Failed, text))
}
