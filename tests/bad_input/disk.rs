//! A full disk: nothing new is granted, what is held can be given back, and it goes on when there
//! is room again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{Start, Tree, concurrency, eventually};

const MIB: u64 = 1024 * 1024;
/// Below so much the node counts its disk as full.
const FREE_MIN: u64 = 64 * MIB;

/// A small file system of its own, unmounted when dropped.
struct SmallDisk {
    path: PathBuf,
    _tree: Tree,
}

impl SmallDisk {
    fn mount() -> Self {
        let tree = Tree::new();
        let path = tree.path().join("disk");
        fs::create_dir(&path).unwrap();

        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=128m", "ratequeue-test"])
            .arg(&path)
            .output();

        let mounted = mounted.expect("the program mount runs");
        assert!(
            mounted.status.success(),
            "a full disk is tested on a small tmpfs, which cannot be mounted here: {}. Run as root, or set \
             RATEQUEUE_TEST_NO_MOUNT=1 to leave this test out",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self { path, _tree: tree }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a node that is being killed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn free(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// Fills the disk until only so much is left.
fn fill(path: &Path, left: u64) -> PathBuf {
    let file = path.join("filler");
    let bytes = free(path).checked_sub(left).expect("there is more room than that");
    let zeros = vec![0; usize::try_from(bytes).unwrap()];
    fs::write(&file, zeros).unwrap();
    assert!(free(path) < left + MIB, "{}", free(path));
    file
}

#[tokio::test]
async fn a_full_disk_refuses_new_work_and_recovers() {
    if std::env::var_os("RATEQUEUE_TEST_NO_MOUNT").is_some_and(|set| set == "1") {
        return;
    }
    let disk = SmallDisk::mount();
    let node = Start::dev().data(&disk.path.join("data")).run().await;
    let client = &node.client;
    client.create("r", concurrency(3)).await;
    let (first, second) =
        (client.granted("r", json!({})).await, client.granted("r", json!({})).await);

    let filler = fill(&disk.path, FREE_MIN / 2);
    let full = eventually("the disk is seen to be full", || async {
        let answer = client.acquire("r", json!({})).await;
        match answer.status {
            200 => client.release(&answer.id()).await.is(200),
            _ => return Some(answer),
        };
        None
    })
    .await;
    full.problem(507, "storage-full").says(&["disk"]);
    let more = json!({"limits": concurrency(2)});
    client.put("/v1/resources/new", more.clone()).await.problem(507, "storage-full");
    client.acquire("r", json!({"wait_ms": 60000})).await.problem(507, "storage-full");
    // What gives something back, and what only looks, goes on.
    client.release(&first.id()).await.is(200);
    assert_eq!(client.lease(&second.id()).await.is(200).str("state"), "held");
    assert_eq!(client.stats("r").await["held"], 1);
    client.get("/healthz").await.is(200);

    fs::remove_file(filler).unwrap();
    let granted = eventually("it goes on by itself", || async {
        let answer = client.acquire("r", json!({})).await;
        (answer.status != 507).then_some(answer)
    })
    .await;
    granted.is(200);
    // Its name is claimed in the other group, which looks at the disk by itself, a moment later.
    let created = eventually("names are claimed again", || async {
        let answer = client.put("/v1/resources/new", more.clone()).await;
        (answer.status != 507).then_some(answer)
    })
    .await;
    created.is(201);
    client.release(&second.id()).await.is(200);
}

#[tokio::test]
async fn a_disk_that_is_full_to_the_last_byte_loses_nothing() {
    if std::env::var_os("RATEQUEUE_TEST_NO_MOUNT").is_some_and(|set| set == "1") {
        return;
    }

    let disk = SmallDisk::mount();
    let mut node = Start::dev().data(&disk.path.join("data")).run().await;
    let client = node.client.clone();
    client.create("r", concurrency(300)).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(client.granted("r", json!({"ttl_ms": 900_000})).await.id());
    }

    let filler = fill(&disk.path, 0);
    // A release may now fail, or end the node: but what it answered stays true.
    let mut released = Vec::new();
    for id in &held[..50] {
        let path = format!("/v1/leases/{id}/release");
        let answer = client.try_call(reqwest::Method::POST, &path, &[], Some(json!({}))).await;
        match answer {
            Ok(answer) if answer.status == 200 => released.push(id.clone()),
            _ => break,
        }
    }

    fs::remove_file(filler).unwrap();
    // It either lives on, or has ended and is started again.
    if client
        .try_call(reqwest::Method::GET, "/readyz", &[], None)
        .await
        .is_ok_and(|answer| answer.status == 200)
    {
        node.kill().await;
    } else {
        assert_eq!(node.ended().await.code(), Some(1), "a node whose disk failed ends");
    }

    node.start_again().await;
    for id in &released {
        assert_eq!(client.lease(id).await.is(200).str("state"), "released");
    }

    for id in &held[50..] {
        assert_eq!(client.lease(id).await.is(200).str("state"), "held");
    }
}
