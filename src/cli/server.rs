//! `ratequeue dev` and `ratequeue node`: the server.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ratequeue_raft::Calls;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::calls::Passed;
use crate::config::ClusterFile;
use crate::exit::{Exit, Failed};
use crate::http::server;
use crate::node::{Node, NodeOptions, StartError};

/// What is logged unless `RATEQUEUE_LOG` says otherwise. openraft would warn of each heartbeat to a node that is down, and
/// call the end of its own core an error; what ends a group is logged by us.
const LOG_DEFAULT: &str = "warn,openraft=off,ratequeue=info,ratequeue_raft=info,ratequeue_storage=info";

/// Runs one node for trying out: one region, its state in a folder
#[derive(Debug, Args)]
pub struct Dev {
    /// Where to listen
    #[arg(long, env = "RATEQUEUE_HTTP", default_value = "127.0.0.1:7600", value_name = "ADDRESS")]
    http: SocketAddr,
    /// The folder for its state; made if it does not exist
    #[arg(long, env = "RATEQUEUE_DATA", default_value = "ratequeue-data", value_name = "DIR")]
    data: PathBuf,
}

/// Runs a node of a cluster: the same line for the first start, a restart, and after a crash
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The file that describes the cluster
    #[arg(long, env = "RATEQUEUE_CLUSTER", value_name = "FILE")]
    cluster: PathBuf,
    /// Which of its nodes this is
    #[arg(long, env = "RATEQUEUE_ID", value_name = "N")]
    id: u64,
    /// The folder for its state; made if it does not exist
    #[arg(long, env = "RATEQUEUE_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Where to listen, when it differs from the address in the file
    #[arg(long, env = "RATEQUEUE_HTTP", value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Where to listen for the other nodes, when it differs from the address in the file
    #[arg(long, env = "RATEQUEUE_PEER", value_name = "ADDRESS")]
    peer: Option<SocketAddr>,
}

impl Dev {
    pub fn run(self) -> Result<Exit, Failed> {
        let data = self.data.clone();
        serve(self.http, self.data, |address| {
            let url = format!("http://{address}");
            let cluster = ClusterFile::alone("dev", "local", address);
            let options = NodeOptions { cluster, region: "local".to_owned(), id: 1, peer: address };
            (options, welcome(&url, &data))
        })
    }
}

fn welcome(url: &str, data: &std::path::Path) -> String {
    let limit = r#"{"limits":{"rpm":{"kind":"rate","quota":60,"window_ms":60000}}}"#;
    format!(
        "RateQueue listens on {url}, its state is in {}. Try:\n\n  \
         curl -X PUT {url}/v1/resources/demo --json '{limit}'\n  \
         curl {url}/v1/resources/demo/acquire --json '{{\"load\":1,\"wait_ms\":5000}}'\n  \
         curl {url}/v1/resources/demo/stats\n\nCtrl-C stops it.\n",
        data.display(),
    )
}

impl NodeArgs {
    pub fn run(self) -> Result<Exit, Failed> {
        let file = ClusterFile::read(&self.cluster)?;
        let usage = |text: String| Failed::new(Exit::Usage, text);
        let Some((region, node)) = file.node(self.id) else {
            let text = format!("{} has no node {}: it has {:?}", self.cluster.display(), self.id, file.ids());
            return Err(usage(text));
        };
        let (region, http) = (region.to_owned(), self.http.unwrap_or(node.http));
        let peer = self.peer.unwrap_or(node.peer);
        let options = NodeOptions { cluster: file, region, id: self.id, peer };
        serve(http, self.data, |address| {
            (options, format!("RateQueue node {} listens on http://{address}.\n", self.id))
        })
    }
}

/// Runs a node until it is told to stop. `describe` is given the address it got, which port 0 leaves open.
fn serve(
    http: SocketAddr,
    data: PathBuf,
    describe: impl FnOnce(SocketAddr) -> (NodeOptions, String),
) -> Result<Exit, Failed> {
    let filter = std::env::var("RATEQUEUE_LOG").unwrap_or_else(|_| LOG_DEFAULT.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&filter)
        .map_err(|error| Failed::new(Exit::Usage, format!("RATEQUEUE_LOG is {filter:?}: {error}")))?;
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::new(Exit::Failed, format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let listener = server::bind(http).await.map_err(|text| Failed::new(Exit::Failed, text))?;
        let address = listener.local_addr().map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
        let (options, text) = describe(address);
        let node = Node::open(options, &data).await.map_err(|error| cannot_start(&error))?;
        super::print(&text);
        run(Arc::new(node), listener).await
    })
}

fn cannot_start(error: &StartError) -> Failed {
    let exit = if error.is_about_data() { Exit::Data } else { Exit::Failed };
    Failed::new(exit, error.to_string())
}

async fn run(node: Arc<Node>, listener: TcpListener) -> Result<Exit, Failed> {
    let cannot = |error: std::io::Error| Failed::new(Exit::Failed, format!("cannot wait for signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let router = crate::http::router(Arc::clone(&node));
    let passed: Arc<dyn Calls> = Arc::new(Passed::new(router.clone()));
    let serving = tokio::spawn(server::serve(Arc::clone(&node), router, listener));
    let watching = {
        let (node, passed) = (Arc::clone(&node), Arc::downgrade(&passed));
        tokio::spawn(async move { tokio::join!(node.count(), node.answer(passed), node.watch_regions(), node.change_members()) })
    };
    let died = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = node.failed() => Some(ended),
    };
    if died.is_none() {
        node.hand_over().await;
    }
    node.stop();
    if let Some(ended) = died {
        // Nothing that is still to be answered can be: a node whose disk failed must not pretend to be one.
        let exit = if ended.is_outdated { Exit::Data } else { Exit::Failed };
        return Err(Failed::new(exit, ended.why));
    }
    // It ends by itself, in bounded time, now that the node is stopping.
    let _ = serving.await;
    watching.abort();
    let stopped = node.shutdown().await;
    stopped.map_err(|error| Failed::new(Exit::Failed, format!("the state could not be saved: {error}")))?;
    Ok(Exit::Done)
}
