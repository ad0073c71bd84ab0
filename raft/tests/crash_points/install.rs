//! A snapshot that the leader sends to a follower, which dies while it takes it.

use std::path::Path;

use bytes::Bytes;
use futures::StreamExt;
use ratequeue_raft::{Lane, NodeId};
use tempfile::TempDir;

use crate::alone::{files_are_removed, files_of_log, run};
use crate::common::hub::Cluster;
use crate::common::*;
use crate::folder::{cut_log_small, temporary};
use crate::points::Procedure;
use crate::shim::{Ran, begin, child_folder, end, say};

/// What the child needs beside the node's own files: what the leader has sent, and who it is.
const FRAMES: &str = "frames";
const ID: &str = "id";

/// A cluster whose leader can send nothing but a snapshot to one of its followers, which is down.
struct Behind {
    cluster: Cluster,
    follower: NodeId,
    /// The follower's folder, and the frames of the snapshot.
    prepared: TempDir,
    /// Entries and digest of the follower.
    before: (u64, u64),
    /// The same with the snapshot: what the run that nobody disturbs comes to, which is the first.
    after: Option<(u64, u64)>,
}

async fn put_some(cluster: &Cluster, round: &str) {
    for n in 0..8 {
        let name = format!("{round}-{n}");
        cluster.submit(put(&name, 1)).await.outcome.unwrap();
        cluster.submit(acquire(&name, &name)).await.outcome.unwrap();
    }
}

impl Behind {
    async fn start() -> Self {
        let mut cluster = Cluster::start(3, Opening::default()).await;
        let leader = cluster.leader().await;
        let follower = cluster.followers(leader)[0];
        for round in ["a", "b"] {
            put_some(&cluster, round).await;
            cluster.digests_are_equal().await;
            cluster.group(follower).checkpoint().await.unwrap();
        }
        put_some(&cluster, "c").await;
        cluster.digests_are_equal().await;
        let dir = cluster.dir(follower);
        cluster.kill(follower);

        for round in ["d", "e", "f"] {
            put_some(&cluster, round).await;
            cluster.digests_are_equal().await;
            for node in cluster.nodes() {
                cluster.group(node).checkpoint().await.unwrap();
            }
        }
        for node in cluster.nodes() {
            eventually("purged", || cluster.group(node).status().purged).await;
        }
        let prepared = temporary();
        let to = prepared.path().to_path_buf();
        tokio::task::spawn_blocking(move || {
            cut_log_small(&dir);
            copy(&dir, &to);
        })
        .await
        .unwrap();
        let before = state_of(prepared.path(), follower).await;

        cluster.open(follower).await;
        cluster.digests_are_equal().await;
        let frames = cluster.hub.snapshot_frames();
        cluster.kill(follower);
        write_frames(&prepared.path().join(FRAMES), &frames);
        std::fs::write(prepared.path().join(ID), follower.to_string()).unwrap();
        Self { cluster, follower, prepared, before, after: None }
    }

    /// The follower has its old state or the new one, and goes on as a member of its cluster.
    async fn check(&mut self, dir: TempDir, ran: &Ran) {
        let id = self.follower;
        let alone = Opening { node: id, ..Opening::default() };
        let group = try_open(dir.path(), &alone).await.unwrap();
        let found = at_rest(&group).await;
        let acked = ran.said("acked").next().is_some();
        let after = *self.after.get_or_insert(found);
        assert!(after.0 > self.before.0, "the snapshot is not newer: {after:?}");
        assert!(found == after || (found == self.before && !acked), "{found:?}");
        drop(group);

        // The leader may know that this node had more than it has in this copy. The next one does
        // not.
        let leader = self.cluster.leader().await;
        let next = self.cluster.followers(leader)[0];
        self.cluster.group(leader).hand_over(Some(next)).await.unwrap();
        self.cluster.place(id, dir);
        for round in 0..2 {
            self.cluster.open(id).await;
            self.cluster.submit(put(&format!("later-{round}"), 1)).await.outcome.unwrap();
            self.cluster.digests_are_equal().await;
            self.cluster.group(id).checkpoint().await.unwrap();
            self.cluster.kill(id);
        }
    }
}

/// The state that a folder comes to by itself. The last entries of a leader may have come after
/// whatever was looked at before its follower was killed.
async fn state_of(folder: &Path, node: u64) -> (u64, u64) {
    let (copied, from) = (temporary(), folder.to_path_buf());
    let to = copied.path().to_path_buf();
    tokio::task::spawn_blocking(move || copy(&from, &to)).await.unwrap();
    let alone = Opening { node, ..Opening::default() };
    let group = try_open(copied.path(), &alone).await.unwrap();
    at_rest(&group).await
}

/// The state of a group that hears of nobody, once it applies nothing more.
async fn at_rest(group: &ratequeue_raft::Group) -> (u64, u64) {
    const FOR: std::time::Duration = std::time::Duration::from_millis(150);
    let mut state = group.digest().await;
    loop {
        tokio::time::sleep(FOR).await;
        let now = group.digest().await;
        if now == state {
            return state;
        }
        state = now;
    }
}

fn write_frames(path: &Path, frames: &[Bytes]) {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
        bytes.extend(frame);
    }
    std::fs::write(path, bytes).unwrap();
}

fn read_frames(path: &Path) -> Vec<Bytes> {
    let (mut bytes, mut frames) = (Bytes::from(std::fs::read(path).unwrap()), Vec::new());
    while !bytes.is_empty() {
        let length = bytes.split_to(4);
        let length = u32::from_le_bytes(length.as_ref().try_into().unwrap());
        frames.push(bytes.split_to(usize::try_from(length).unwrap()));
    }
    frames
}

#[test]
fn a_snapshot_from_the_leader() {
    if let Some(dir) = child_folder() {
        return run(take_it(&dir));
    }

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.unwrap();
    let mut behind = runtime.block_on(Behind::start());
    let prepared = temporary();
    copy(behind.prepared.path(), prepared.path());

    let (test, calls) = ("install::a_snapshot_from_the_leader", &["write", "fdatasync", "unlink"]);
    Procedure { test, prepared: prepared.path(), calls }
        .kill_everywhere(|dir, ran| runtime.block_on(behind.check(dir, ran)));
}

async fn take_it(dir: &Path) {
    let node = std::fs::read_to_string(dir.join(ID)).unwrap().parse().unwrap();
    let frames = read_frames(&dir.join(FRAMES));
    let group = try_open(dir, &Opening { node, ..Opening::default() }).await.unwrap();
    let (has, files) = (group.status().checkpoint.unwrap(), files_of_log(dir));
    begin();
    let frames = futures::stream::iter(frames).boxed();
    group.receive_stream(Lane::Bulk, frames).next().await.unwrap();
    let newer = || group.status().checkpoint.filter(|made| made.sequence > has.sequence);
    let made = eventually("installed", newer).await;
    say("acked it");
    eventually("purged", || (group.status().purged == made.applied).then_some(())).await;
    files_are_removed(dir, files).await;
    end()
}
