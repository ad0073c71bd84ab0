//! `ratequeue cluster transfer-leader` and `drain`.

use clap::Args;
use ratequeue_api::cluster::TransferLeaderRequest;

use super::{File, group_of, region_of};
use crate::cli::{failed, print};
use crate::exit::{Exit, Failed};

/// Hands leadership of a group to another node
#[derive(Debug, Args)]
pub struct TransferLeader {
    /// Which group; the only one when there is only one
    #[arg(long, value_name = "G")]
    group: Option<String>,
    /// To which node; to the one that has most of the log when absent
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    #[command(flatten)]
    file: File,
}

/// Hands over everything that a node leads, before it is stopped
#[derive(Debug, Args)]
pub struct Drain {
    /// Which node
    #[arg(long, value_name = "N")]
    id: u64,
    #[command(flatten)]
    file: File,
}

impl TransferLeader {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let group = group_of(&file, self.group.as_deref())?;
        let leader = self.file.leader(&file, &group).await?;
        if self.to == Some(leader.node.id) {
            print(&format!("node {} leads group {group} already\n", leader.node.id));
            return Ok(Exit::Done);
        }
        let answer =
            leader.client.transfer_leader(&TransferLeaderRequest { group, to: self.to }).await.map_err(failed)?;
        print(&format!("node {} leads group {} now\n", answer.leader, answer.group));
        Ok(Exit::Done)
    }
}

impl Drain {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let group = region_of(&file, self.id)?;
        let leader = self.file.leader(&file, &group).await?;
        if leader.node.id != self.id {
            print(&format!("node {} leads nothing\n", self.id));
            return Ok(Exit::Done);
        }
        let answer = leader.client.transfer_leader(&TransferLeaderRequest { group, to: None }).await.map_err(failed)?;
        print(&format!("node {} leads nothing now; node {} leads group {}\n", self.id, answer.leader, answer.group));
        Ok(Exit::Done)
    }
}
