//! The owner of a data folder, and the first start of a node.

use std::path::Path;

use ratequeue_storage::{DataDir, FORMAT, GroupName, Identity};
use tempfile::TempDir;

use crate::alone::{run, work};
use crate::common::*;
use crate::folder::temporary;
use crate::points::Procedure;
use crate::shim::{Ran, begin, child_folder, end, say};

const OLD: &str = "[1, 2, 3]";
const NEW: &str = "[1, 2, 3, 4, 5]";

fn identity() -> Identity {
    Identity {
        format: FORMAT,
        cluster_id: "5f2c".into(),
        cluster_name: "demo".into(),
        node: 1,
        region: "eu-west-1".into(),
        incarnation: 1,
    }
}

#[test]
fn the_identity() {
    if let Some(dir) = child_folder() {
        let data = DataDir::open(&dir).unwrap();
        begin();
        data.write_identity(&identity()).unwrap();
        say("acked it");
        end()
    }

    let prepared = temporary();
    let calls = &["open", "write", "fsync", "rename"];
    let procedure = Procedure { test: "owner::the_identity", prepared: prepared.path(), calls };
    procedure.kill_everywhere(|dir, ran| {
        let data = DataDir::open(dir.path()).unwrap();
        let acked = ran.said("acked").next().is_some();
        assert!(data.identity() == Some(identity()) || (data.identity().is_none() && !acked));

        data.write_identity(&identity()).unwrap();
        drop(data);
        assert_eq!(DataDir::open(dir.path()).unwrap().identity(), Some(identity()));
    });
}

/// What a node founds its cluster with is replaced, and then taken back.
#[test]
fn the_founding() {
    if let Some(dir) = child_folder() {
        let data = DataDir::open(&dir).unwrap();
        begin();
        data.write_founding(Some(NEW)).unwrap();
        say("acked new");
        data.write_founding(None).unwrap();
        say("acked none");
        end()
    }

    let prepared = temporary();
    let data = DataDir::open(prepared.path()).unwrap();
    data.write_identity(&identity()).unwrap();
    data.write_founding(Some(OLD)).unwrap();
    drop(data);

    let calls = &["open", "write", "fsync", "rename", "unlink"];
    let procedure = Procedure { test: "owner::the_founding", prepared: prepared.path(), calls };
    procedure.kill_everywhere(|dir, ran| {
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(data.identity(), Some(identity()));
        let found = data.founding().unwrap();
        let allowed = match ran.said("acked").last() {
            None => [Some(OLD), Some(NEW)],
            Some("new") => [Some(NEW), None],
            _ => [None, None],
        };
        assert!(allowed.contains(&found.as_deref()), "{found:?}");

        data.write_founding(Some(OLD)).unwrap();
        drop(data);
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(data.founding().unwrap().as_deref(), Some(OLD));
    });
}

/// Opens the folder as a node does that is alone: the owner first, then checkpoints and log.
async fn start(dir: &Path) -> ratequeue_raft::Group {
    let data = DataDir::open(dir).unwrap();
    data.write_identity(&identity()).unwrap();
    assert_eq!(data.state_dir(), dir.join("state"));
    let name = GroupName::new("test").unwrap();
    let opening = Opening { log_dir: Some(data.log_dir(&name)), ..Opening::default() };
    open_alone_with(dir, &opening).await
}

#[test]
fn the_first_start() {
    if let Some(dir) = child_folder() {
        return run(async {
            begin();
            let group = start(&dir).await;
            group.submit_local(put("first", 1)).await.unwrap().outcome.unwrap();
            say("acked it");
            end()
        });
    }

    let prepared = temporary();
    let calls = &["open", "write", "fsync", "fdatasync", "rename", "mkdir"];
    Procedure { test: "owner::the_first_start", prepared: prepared.path(), calls }
        .kill_everywhere(started_again);
}

/// What the first start left is a node at its beginning.
fn started_again(dir: TempDir, ran: &Ran) {
    let digest = run(async {
        let group = start(dir.path()).await;
        group.read_barrier_local().await.unwrap();
        let is_there = group.read(|state, _| state.resource(&name("first")).is_some());
        assert!(is_there || ran.said("acked").next().is_none(), "it was acknowledged");
        work(&group, 0).await;
        group.checkpoint().await.unwrap();
        work(&group, 1).await;
        group.digest().await.1
    });
    run(async {
        let group = start(dir.path()).await;
        group.read_barrier_local().await.unwrap();
        assert_eq!(group.digest().await.1, digest, "opened once more");
    });
}
