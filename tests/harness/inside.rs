//! A node in the process of the test.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use ratequeue::run::{Descriptors, Listening, NodeOptions, consensus_runtime};
use ratequeue_link::{HostPort, ListenAddress};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::http::Client;
use super::wait::eventually;

/// A node that is alone, with its folder, its groups, its server and threads of its own, like the
/// process that `ratequeue dev` is. Dropping it stops it cleanly.
#[derive(Debug)]
pub struct NodeInside {
    pub client: Client,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl NodeInside {
    /// A new node, ready.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (started, at) = oneshot::channel();
        let (stop, stopping) = oneshot::channel();
        let data = folder.path().join("data");
        let thread = std::thread::spawn(move || run(data, started, stopping));

        let client = Client::new(format!("http://{}", at.await.expect("the node starts")));
        let node = Self { client, stop: Some(stop), thread: Some(thread), _folder: folder };
        let client = &node.client;
        eventually("it is ready", async || client.is_at_the_level().await.then_some(())).await;
        node
    }

    pub fn url(&self) -> String {
        self.client.url()
    }
}

impl Drop for NodeInside {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().expect("the node ends well");
        }
    }
}

/// Runs a node until it is told to stop.
fn run(data: PathBuf, started: oneshot::Sender<HostPort>, stopping: oneshot::Receiver<()>) {
    let consensus = consensus_runtime().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listeners = "127.0.0.1:0".parse::<ListenAddress>().unwrap().bind().await.unwrap();
        let told = HostPort::of_socket(listeners.address()).unwrap();
        let options = NodeOptions::alone(&told, consensus.handle().clone());
        let listening = Listening::start(options.id, listeners, Descriptors::acquire(0).unwrap());
        let node = listening.open(options, data).await.unwrap();
        started.send(told).unwrap();

        let _ = stopping.await;
        node.stop(Duration::ZERO).await.unwrap();
    });
    consensus.shutdown_background();
}
