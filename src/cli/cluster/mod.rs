//! `ratequeue cluster`: forms a cluster, shows it, changes its members.
//!
//! ```text
//!   place.rs    which cluster is meant: a file, or the URL of a node      nodes.rs    its nodes, asked all at once
//!   init.rs     forms it                                                  up.rs       runs it on this machine
//!   status.rs   shows it                                                  members.rs  changes its members
//!   leader.rs   hands leadership over
//! ```

mod init;
mod leader;
mod members;
mod nodes;
mod place;
mod status;
mod up;

use std::time::Duration;

use clap::Subcommand;

use self::nodes::{NodeReport, Nodes, is_formed};
use self::place::{ClusterArgs, Place};
use crate::cli::exit::{Exit, Failed};

/// How long one node is given to do what it is asked for.
const NODE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a leader is looked for.
const LEADER_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two looks at something that takes its time.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Forms a cluster, shows it, changes its members
#[derive(Debug, Subcommand)]
pub enum Cluster {
    Init(init::Init),
    Up(up::Up),
    Status(status::Status),
    AddNode(members::AddNode),
    RemoveNode(members::RemoveNode),
    ReplaceNode(members::ReplaceNode),
    Rebalance(members::Rebalance),
    TransferLeader(leader::TransferLeader),
    Drain(leader::Drain),
}

impl Cluster {
    pub async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::Init(init) => init.run().await,
            Self::Up(up) => up.run().await,
            Self::Status(status) => status.run().await,
            Self::AddNode(add) => add.run().await,
            Self::RemoveNode(remove) => remove.run().await,
            Self::ReplaceNode(replace) => replace.run().await,
            Self::Rebalance(rebalance) => rebalance.run().await,
            Self::TransferLeader(transfer) => transfer.run().await,
            Self::Drain(drain) => drain.run().await,
        }
    }
}
