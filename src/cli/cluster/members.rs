//! `ratequeue cluster add-node`, `remove-node`, `replace-node` and `rebalance`.
//!
//! The leader of the global group checks what is asked for and records it; the leaders of the
//! groups carry it out by themselves. These commands ask, and then watch until it is done: a
//! command that breaks off leaves nothing half done, and repeating it goes on watching.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use ratequeue_api::cluster::{AdoptRequest, ChangeRequest, NodeView};

use super::{ClusterArgs, Nodes, Place};
use crate::cli::exit::{Exit, Failed};
use crate::cli::{failed, print};
use crate::config::GLOBAL;

/// Pause between two questions how far a change is.
const WATCH_PAUSE: Duration = Duration::from_millis(200);
/// How long a change may stand still before it is watched no longer.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Adds a node: it catches up first, then votes
#[derive(Debug, Args)]
pub struct AddNode {
    /// The new node; it is in the file, and running
    #[arg(long, value_name = "N")]
    id: u64,
    #[command(flatten)]
    file: ClusterArgs,
}

/// Removes a node
#[derive(Debug, Args)]
pub struct RemoveNode {
    /// Which node
    #[arg(long, value_name = "N")]
    id: u64,
    /// Also when a group then tolerates the loss of fewer nodes, or a lost region is given up with
    /// all that lives there
    #[arg(long)]
    shrink: bool,
    #[command(flatten)]
    place: Place,
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
    file: ClusterArgs,
}

/// Gives the votes of the global group to the members that should have them
#[derive(Debug, Args)]
pub struct Rebalance {
    #[command(flatten)]
    place: Place,
}

impl AddNode {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let nodes = self.file.nodes(&file);
        let new = adopt(&nodes, &file.name, self.id).await?;
        change(&nodes, &ChangeRequest::Add { node: new }).await
    }
}

impl RemoveNode {
    pub async fn run(self) -> Result<Exit, Failed> {
        let nodes = self.place.nodes().await?;
        nodes.region_of(self.id)?;
        let exit =
            change(&nodes, &ChangeRequest::Remove { node: self.id, shrink: self.shrink }).await?;
        print("Stop it, and take it out of the file.\n");
        Ok(exit)
    }
}

impl ReplaceNode {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let nodes = self.file.nodes(&file);
        nodes.region_of(self.with)?;
        if self.id == self.with {
            let text = "a node id is never used twice: give the new node another id, and put it into the file";
            return Err(Failed::new(Exit::Usage, text));
        }
        let new = adopt(&nodes, &file.name, self.with).await?;
        change(&nodes, &ChangeRequest::Replace { node: self.id, with: new }).await
    }
}

impl Rebalance {
    pub async fn run(self) -> Result<Exit, Failed> {
        change(&self.place.nodes().await?, &ChangeRequest::Rebalance {}).await
    }
}

/// Asks for a change, and watches it until it is done.
async fn change(nodes: &Nodes, request: &ChangeRequest) -> Result<Exit, Failed> {
    let (mut shown, mut moved) = (String::new(), Instant::now());
    loop {
        let answer =
            nodes.at_leader(GLOBAL, async |leader| leader.change_members(request).await).await?;
        if answer.done {
            print(&format!("{}\n", answer.progress));
            return Ok(Exit::Done);
        }

        if answer.progress != shown {
            (shown, moved) = (answer.progress, Instant::now());
            if std::io::stderr().is_terminal() {
                eprintln!("ratequeue: {shown}");
            }
        }
        if moved.elapsed() > STALLED_AFTER {
            return Err(Failed::new(
                Exit::Failed,
                format!(
                    "it stands still: {shown}. It goes on by itself once that is mended; repeat this to watch it, or give it \
                     up (`remove-node` of a node that joins, `add-node` of one that leaves)"
                ),
            ));
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

/// Makes a node part of the cluster, to join it: it never forms a group on its own account.
async fn adopt(nodes: &Nodes, cluster: &str, id: u64) -> Result<NodeView, Failed> {
    nodes.region_of(id)?;
    let fail = |text: String| Failed::new(Exit::Failed, text);
    let all = nodes.ask().await?;
    let Some(new) = all.iter().find(|asked| asked.node.id == id) else {
        return Err(fail(format!("the file has no node {id}")));
    };
    if let Err(why) = &new.view {
        return Err(fail(format!("node {id} does not answer: start it first. {why}")));
    }
    let others = || all.iter().filter(|asked| asked.node.id != id);
    let Some(formed) = others().find(|asked| asked.has_voters(GLOBAL)) else {
        return Err(fail(
            "there is no cluster to add it to: run `ratequeue cluster init`".to_owned(),
        ));
    };
    if new.cluster_id().is_none() && others().any(|asked| asked.knows(id)) {
        return Err(fail(format!(
            "node {id} is a member already, but the node that answers under this id is empty. A node that lost its data cannot \
             come back: give the new one another id and run `ratequeue cluster replace-node --id {id} --with NEW`"
        )));
    }

    let cluster_id = formed.cluster_id().unwrap_or_default().to_owned();
    let request = AdoptRequest {
        name: cluster.to_owned(),
        cluster_id: cluster_id.clone(),
        node: id,
        region: new.node.region.clone(),
        founding: None,
        reach: Vec::new(),
    };
    let answer = new.client.adopt(&request).await.map_err(failed)?;
    if answer.cluster_id != cluster_id {
        let text = format!(
            "node {id} belongs to another cluster ({}): give it an empty folder",
            answer.cluster_id
        );
        return Err(fail(text));
    }
    // What the node tells of itself counts, as for every member.
    let told =
        new.view.iter().flat_map(|view| view.regions.values()).flat_map(|region| &region.nodes);
    Ok(told.into_iter().find(|node| node.id == id).unwrap_or(&new.node).clone())
}
