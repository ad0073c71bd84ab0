//! What the handles of a group share.

use std::sync::Arc;

use parking_lot::Mutex;
use ratequeue_storage::LogStore;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::checkpoint::slots::Slots;
use crate::checkpoint::thread::Checkpointer;
use crate::consensus::abstention::Abstention;
use crate::consensus::state_machine::Raft;
use crate::health::Health;
use crate::propose::proposal::Submitted;
use crate::propose::space::Space;
use crate::replica::Replica;
use crate::timing::Timing;
use crate::transport::Transport;

/// What the handles of a group share.
pub(crate) struct Inner {
    pub replica: Arc<Replica>,
    pub raft: Raft,
    pub log: LogStore,
    pub slots: Arc<Slots>,
    pub space: Arc<Space>,
    pub queue: mpsc::Sender<Submitted>,
    pub health: watch::Sender<Health>,
    pub stop: watch::Sender<bool>,
    /// The proposer has ended.
    pub drained: watch::Sender<bool>,
    pub timing: Timing,
    pub transport: Arc<dyn Transport>,
    pub abstention: Abstention,
    /// Aborted with the last handle.
    pub tasks: Mutex<JoinSet<()>>,
    pub checkpointer: Mutex<Option<Checkpointer>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A peer's stream that is still being answered would keep the core alive for as long as the
        // peer likes.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let raft = self.raft.clone();
            runtime.spawn(async move { raft.shutdown().await });
        }
    }
}
