//! A node at work: its folder, its groups, and the server in front of them, from the first
//! connection to a clean stop. There is no command line and no signal in it, so a test can run one
//! in its own process.
//!
//! ```text
//!   Listening::start   the address is taken: it answers for its health, and refuses the rest
//!          .open       the folder is open, the groups are at work, everything is answered
//!   Running::failed    a group cannot go on
//!          .stop       leads nothing, answers who waits, closes, saves its state
//! ```

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratequeue_link::Listeners;
pub use ratequeue_raft::CheckpointPolicy;
use ratequeue_raft::{Calls, NodeId};
use tokio::runtime::{Handle, Runtime};
use tokio::task::{JoinError, JoinHandle};

use crate::http::server::Server;
use crate::http::{self, Routes};
use crate::node::Node;
use crate::ops;
use crate::service::relay::RelayService;
use crate::service::{Service, peer_handler};

pub use crate::node::descriptors::{Descriptors, TooFewFiles};
pub use crate::node::{Ended, NodeOptions, ShutdownError, StartError};

/// Threads of consensus, one a core: two at least, so that a long entry holds up no heartbeat ...
const CONSENSUS_THREADS_MIN: usize = 2;
/// ... and no more than two groups and their links can make use of.
const CONSENSUS_THREADS_MAX: usize = 8;

/// The threads of the groups and the peer link. Nothing else runs on them, so that no call, however
/// long, holds up a heartbeat, a vote or an entry.
///
/// # Errors
/// When the system gives no threads.
pub fn consensus_runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(CONSENSUS_THREADS_MIN, NonZero::get);
    let threads = cores.clamp(CONSENSUS_THREADS_MIN, CONSENSUS_THREADS_MAX);
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("consensus")
        .worker_threads(threads)
        .enable_all()
        .build()
}

/// Why a node was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is wrong with it.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It panicked.
    #[error("cannot open: {0}")]
    Panicked(JoinError),
}

/// A server whose node is not open yet.
#[derive(Debug)]
pub struct Listening {
    server: Arc<Server>,
    serving: JoinHandle<()>,
}

impl Listening {
    /// Serves a node's callers from now on.
    #[must_use]
    pub fn start(node: NodeId, listeners: Listeners, descriptors: Descriptors) -> Self {
        let server = Arc::new(Server::new(node, descriptors));
        let serving = tokio::spawn(Arc::clone(&server).run(listeners));
        Self { server, serving }
    }

    /// Opens the node, which may take long, and answers everything.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong and what to do.
    pub async fn open(self, options: NodeOptions, data: PathBuf) -> Result<Running, OpenError> {
        let runtime = Handle::current();
        // On a thread of its own: it reads the disk, and the server answers meanwhile.
        let opening =
            tokio::task::spawn_blocking(move || runtime.block_on(Node::open(options, &data)));
        let node = Arc::new(opening.await.map_err(OpenError::Panicked)??);

        let service = Service::new(Arc::clone(&node));
        let router = http::router(service.clone());
        let handler = peer_handler(service, Routes::new(router.clone()));
        let relay: Arc<dyn Calls> = Arc::new(RelayService::new(handler));
        self.server.open(router);

        let working = {
            let (node, relay) = (Arc::clone(&node), Arc::downgrade(&relay));
            tokio::spawn(async move {
                tokio::join!(
                    node.count(),
                    node.answer(relay),
                    node.watch_regions(),
                    async { node.joined().await.sweep().await },
                    ops::drive(&node),
                    ops::tell_address(&node)
                )
            })
        };
        let Self { server, serving } = self;
        Ok(Running { node, server, serving, working: working.abort_handle(), _relay: relay })
    }
}

/// A node at work.
pub struct Running {
    node: Arc<Node>,
    server: Arc<Server>,
    serving: JoinHandle<()>,
    working: tokio::task::AbortHandle,
    /// The node answers what others pass on for as long as it is there.
    _relay: Arc<dyn Calls>,
}

impl Running {
    /// Resolves when a group has failed and the process has to end; says why.
    pub async fn failed(&self) -> Ended {
        self.node.failed().await
    }

    /// Answers nothing more: what a node whose disk failed would say is worth nothing.
    pub fn give_up(&self) {
        self.node.stop();
    }

    /// Stops it cleanly. For as long as `drain` it says that it is not ready, and still takes calls.
    ///
    /// # Errors
    /// When the state could not be saved; the next start reads it from the log.
    pub async fn stop(self, drain: Duration) -> Result<(), ShutdownError> {
        self.node.leave();
        tokio::join!(self.node.hand_over(), tokio::time::sleep(drain));
        self.node.stop();
        self.server.close();
        // It ends by itself, in bounded time, now that the node is stopping.
        let _ = self.serving.await;
        self.working.abort();
        self.node.shutdown().await
    }
}
