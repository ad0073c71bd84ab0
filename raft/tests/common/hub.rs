//! A network inside the process: it can be cut, slow, and lossy. And a cluster on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use ratequeue_limiter::{Command, LEVEL_MAX};
use ratequeue_raft::{
    Address, Applied, Group, Lane, NodeId, Responses, SubmitError, Target, Transport,
    TransportError,
};
use tempfile::TempDir;

use super::{DEADLINE, Opening, eventually, try_open};

/// How often an entry that may not reach its node tries again.
const STARVED_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Faults {
    /// Nothing passes from the first to the second; nobody is told.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// No entry reaches these nodes; everything else does.
    starved: BTreeSet<NodeId>,
    delay: Duration,
    /// Of a thousand frames, so many break their connection.
    broken_permille: u64,
    /// What nodes say that they can follow, if not all that there is.
    levels: BTreeMap<NodeId, u32>,
}

#[derive(Debug, Default)]
pub struct Hub {
    groups: Mutex<BTreeMap<NodeId, Group>>,
    faults: Mutex<Faults>,
    frames: AtomicU64,
    bulk: AtomicU64,
    /// The frames of the last snapshot.
    snapshot: Mutex<Vec<Bytes>>,
}

impl Hub {
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.faults.lock().cut.insert((from, to));
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&self, node: NodeId, others: impl IntoIterator<Item = NodeId>) {
        for other in others {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Lets no entry of the log reach a node, which is heard and hears all the same.
    pub fn starve(&self, node: NodeId) {
        self.faults.lock().starved.insert(node);
    }

    /// Lets entries reach a node again; other faults stay.
    pub fn feed(&self, node: NodeId) {
        self.faults.lock().starved.remove(&node);
    }

    pub fn heal(&self) {
        *self.faults.lock() = Faults::default();
    }

    pub fn set_level(&self, node: NodeId, level: u32) {
        self.faults.lock().levels.insert(node, level);
    }

    pub fn set_delay(&self, delay: Duration) {
        self.faults.lock().delay = delay;
    }

    pub fn set_broken_permille(&self, permille: u64) {
        self.faults.lock().broken_permille = permille;
    }

    /// Frames of snapshots that were sent so far.
    pub fn bulk_frames(&self) -> u64 {
        self.bulk.load(Ordering::SeqCst)
    }

    /// The frames of the last snapshot that was sent, as far as they were.
    pub fn snapshot_frames(&self) -> Vec<Bytes> {
        self.snapshot.lock().clone()
    }

    /// Lets a frame pass, late, never, or not at all.
    async fn pass(&self, from: NodeId, to: NodeId) -> Result<(), TransportError> {
        let n = self.frames.fetch_add(1, Ordering::SeqCst);
        let (cut, delay, broken) = {
            let faults = self.faults.lock();
            // A fixed sequence that looks random: the golden ratio's multiples.
            let dice = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
            (
                faults.cut.contains(&(from, to)),
                faults.delay,
                dice * 1000 / 1024 < faults.broken_permille,
            )
        };

        if broken {
            return Err(TransportError::Broken("by the test".into()));
        }

        if cut {
            std::future::pending::<()>().await;
        }

        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }

        Ok(())
    }

    fn group(&self, node: NodeId) -> Result<Group, TransportError> {
        let groups = self.groups.lock();
        groups
            .get(&node)
            .cloned()
            .ok_or_else(|| TransportError::Unreachable("the node is down".into()))
    }
}

/// The network as one node sees it.
#[derive(Debug)]
pub struct Link {
    hub: Arc<Hub>,
    from: NodeId,
}

impl Transport for Link {
    fn feature_level(&self, node: NodeId) -> Option<u32> {
        self.hub.faults.lock().levels.get(&node).copied().or(Some(LEVEL_MAX))
    }

    fn call(
        &self,
        to: &Target,
        lane: Lane,
        frame: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let (hub, from, to) = (Arc::clone(&self.hub), self.from, to.node);
        Box::pin(async move {
            hub.pass(from, to).await?;
            let group = hub.group(to)?;
            let answer = match lane {
                Lane::Forward => group
                    .receive_forwarded(frame)
                    .await
                    .map_err(|refused| TransportError::Broken(refused.0))?,
                Lane::Control | Lane::Log | Lane::Bulk | Lane::Call => group.receive(frame).await,
            };
            drop(group);
            hub.pass(to, from).await?;
            Ok(answer)
        })
    }

    fn stream(
        &self,
        to: &Target,
        lane: Lane,
        frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Responses, TransportError>> {
        let (hub, from, to) = (Arc::clone(&self.hub), self.from, to.node);
        Box::pin(async move {
            hub.pass(from, to).await?;
            let group = hub.group(to)?;
            let there = Arc::clone(&hub);
            if lane == Lane::Bulk {
                hub.snapshot.lock().clear();
            }
            let frames = frames.then(move |frame| {
                let hub = Arc::clone(&there);
                async move {
                    if lane == Lane::Bulk {
                        hub.bulk.fetch_add(1, Ordering::SeqCst);
                        hub.snapshot.lock().push(frame.clone());
                    }
                    while lane == Lane::Log && hub.faults.lock().starved.contains(&to) {
                        tokio::time::sleep(STARVED_PAUSE).await;
                    }
                    hub.pass(from, to).await.ok().map(|()| frame)
                }
            });
            // The first broken frame breaks the stream.
            let frames = frames
                .take_while(|frame| std::future::ready(frame.is_some()))
                .filter_map(std::future::ready);
            let answers = group.receive_stream(lane, Box::pin(frames));
            let answers = answers.then(move |answer| {
                let hub = Arc::clone(&hub);
                async move { hub.pass(to, from).await.map(|()| answer) }
            });
            let answers: Responses = Box::pin(answers);
            Ok(answers)
        })
    }
}

pub struct Cluster {
    pub hub: Arc<Hub>,
    dirs: BTreeMap<NodeId, TempDir>,
    groups: BTreeMap<NodeId, Group>,
    opening: Opening,
}

impl Cluster {
    /// Nodes 1 to `size`, formed, with a leader.
    pub async fn start(size: u64, opening: Opening) -> Self {
        let dirs = (1..=size).map(|node| (node, tempfile::tempdir().unwrap())).collect();
        let mut cluster = Self { hub: Arc::default(), dirs, groups: BTreeMap::new(), opening };
        for node in 1..=size {
            cluster.open(node).await;
        }

        cluster
            .group(1)
            .form((1..=size).map(|node| (node, Address(format!("node-{node}")))).collect())
            .await
            .unwrap();

        cluster.leader().await;
        // The first thing that a new leader does is to raise the level, which is an entry of the
        // log.
        let is_raised =
            || cluster.groups.values().all(|group| group.level() == LEVEL_MAX).then_some(());

        eventually("the level is raised", is_raised).await;
        cluster
    }

    pub async fn open(&mut self, node: NodeId) {
        let opening = Opening {
            node,
            transport: Arc::new(Link { hub: Arc::clone(&self.hub), from: node }),
            others: self
                .dirs
                .keys()
                .filter(|other| **other != node)
                .map(|other| (*other, Address::default()))
                .collect(),
            ..self.opening.clone()
        };
        let group = try_open(self.dirs[&node].path(), &opening).await.unwrap();
        self.hub.groups.lock().insert(node, group.clone());
        self.groups.insert(node, group);
    }

    /// One more node, in no group yet.
    pub async fn add(&mut self, node: NodeId) {
        self.dirs.insert(node, tempfile::tempdir().unwrap());
        self.open(node).await;
    }

    /// A node that is down finds this when it is opened again.
    pub fn place(&mut self, node: NodeId, dir: TempDir) {
        self.dirs.insert(node, dir);
    }

    /// Where a node keeps what it has.
    pub fn dir(&self, node: NodeId) -> PathBuf {
        self.dirs[&node].path().to_path_buf()
    }

    /// The node is gone without a word.
    pub fn kill(&mut self, node: NodeId) {
        self.hub.groups.lock().remove(&node);
        self.groups.remove(&node);
    }

    pub fn group(&self, node: NodeId) -> &Group {
        &self.groups[&node]
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.groups.keys().copied().collect()
    }

    pub fn followers(&self, leader: NodeId) -> Vec<NodeId> {
        self.nodes().into_iter().filter(|node| *node != leader).collect()
    }

    /// The leader that all running nodes agree on.
    pub async fn leader(&self) -> NodeId {
        self.leader_of(self.nodes()).await
    }

    /// The leader among these nodes that they agree on.
    pub async fn leader_of(&self, nodes: Vec<NodeId>) -> NodeId {
        eventually("a leader", || {
            let leaders: BTreeSet<Option<NodeId>> =
                nodes.iter().map(|node| self.group(*node).status().leader).collect();
            let leader = *leaders.first()?;
            let leader = leader.filter(|leader| leaders.len() == 1 && nodes.contains(leader))?;
            self.group(leader).is_leader().then_some(leader)
        })
        .await
    }

    /// Submits at whoever leads, again and again while it is certain that nothing happened or the
    /// command may be repeated.
    pub async fn submit(&self, command: Command) -> Applied {
        let begun = std::time::Instant::now();
        loop {
            for node in self.nodes() {
                match self.group(node).submit_local(command.clone()).await {
                    Ok(applied) => return applied,
                    Err(SubmitError::ShuttingDown) => panic!("node {node} has stopped"),
                    Err(_) => {}
                }
            }
            assert!(begun.elapsed() < DEADLINE, "nobody takes {command:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until all running nodes have applied the same and returns the digest.
    pub async fn digests_are_equal(&self) -> u64 {
        let begun = std::time::Instant::now();
        loop {
            let mut digests = BTreeSet::new();
            for group in self.groups.values() {
                digests.insert(group.digest().await);
            }
            if digests.len() == 1 {
                return digests.first().unwrap().1;
            }
            assert!(begun.elapsed() < DEADLINE, "they do not converge: {digests:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
