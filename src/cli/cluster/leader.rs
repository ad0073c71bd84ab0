//! `ratequeue cluster transfer-leader` and `drain`.

use clap::Args;
use ratequeue_api::cluster::TransferLeaderRequest;

use super::Place;
use crate::cli::exit::{Exit, Failed};
use crate::cli::{failed, print};
use crate::config::GLOBAL;

/// Hands leadership of a group to another node
#[derive(Debug, Args)]
pub struct TransferLeader {
    /// Which group: a region, or global; that of the only region when there is one
    #[arg(long, value_name = "G")]
    group: Option<String>,
    /// To which node; to the one that has most of the log when absent
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// Hands over everything that a node leads, before it is stopped
#[derive(Debug, Args)]
pub struct Drain {
    /// Which node
    #[arg(long, value_name = "N")]
    id: u64,
    #[command(flatten)]
    place: Place,
}

impl TransferLeader {
    pub async fn run(self) -> Result<Exit, Failed> {
        let nodes = self.place.nodes().await?;
        let group = nodes.group_of(self.group.as_deref())?;
        let leader = nodes.leader(&group).await?;
        if self.to == Some(leader.node.id) {
            print(&format!("node {} leads group {group} already\n", leader.node.id));
            return Ok(Exit::Done);
        }
        let answer = leader
            .client
            .transfer_leader(&TransferLeaderRequest { group, to: self.to })
            .await
            .map_err(failed)?;
        print(&format!("node {} leads group {} now\n", answer.leader, answer.group));
        Ok(Exit::Done)
    }
}

impl Drain {
    pub async fn run(self) -> Result<Exit, Failed> {
        let nodes = self.place.nodes().await?;
        let region = nodes.region_of(self.id)?;
        let mut to = Vec::new();

        for group in [region, GLOBAL] {
            let leader = nodes.leader(group).await?;
            if leader.node.id == self.id {
                let request = TransferLeaderRequest { group: group.to_owned(), to: None };
                let answer = leader.client.transfer_leader(&request).await.map_err(failed)?;
                to.push(format!("node {} leads group {group}", answer.leader));
            }
        }

        if to.is_empty() {
            print(&format!("node {} leads nothing\n", self.id));
        } else {
            print(&format!("node {} leads nothing now; {}\n", self.id, to.join(", ")));
        }

        Ok(Exit::Done)
    }
}
