//! A node that is alone: a checkpoint with the mark and the purge that follow it, under work; and a
//! purge by itself.

use std::path::Path;
use std::time::Duration;

use ratequeue_limiter::LeaseId;
use ratequeue_raft::Group;
use ratequeue_storage::{GroupName, LogStore, Slot, StateStore};
use tempfile::TempDir;

use crate::common::*;
use crate::folder::{cut_log_small, small, temporary, truth};
use crate::points::Procedure;
use crate::shim::{Ran, begin, child_folder, end, say};

/// Calls that are acknowledged while the checkpoint is made.
const LATE: usize = 3;

pub fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(test)
}

/// Resources, leases that are held and some that are over.
pub async fn work(group: &Group, round: usize) {
    group.submit_local(put("shared", 100)).await.unwrap().outcome.unwrap();
    group.submit_local(put(&format!("r{round}"), 2)).await.unwrap().outcome.unwrap();
    for n in 0..6 {
        let view = acquired(group, acquire("shared", &format!("{round}-{n}"))).await;
        if n % 2 == 0 {
            group.submit_local(release(view.id)).await.unwrap().outcome.unwrap();
        }
    }
}

/// A node with two checkpoints and entries after them, in a log of many files.
fn prepared() -> TempDir {
    let dir = temporary();
    for round in 0..3 {
        run(async {
            let group = open_alone(dir.path()).await;
            if round > 0 {
                group.checkpoint().await.unwrap();
            }
            if round == 2 {
                eventually("purged", || group.status().purged).await;
            }
            for part in 0..2 {
                work(&group, round * 2 + part).await;
            }
        });
        cut_log_small(dir.path());
    }
    dir
}

/// The node goes on from the folder, with all that was acknowledged, and from its next checkpoint.
fn check(before: &Path, dir: TempDir, ran: &Ran) {
    let (last, digest) = truth(before, dir.path());
    let acked: Vec<Vec<u64>> = ran
        .said("acked")
        .map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect())
        .collect();
    let acked_upto = acked.iter().map(|numbers| numbers[0]).max().unwrap_or_default();
    assert!(last >= acked_upto, "the log ends at {last}, and {acked_upto} was acknowledged");
    assert!(ran.killed || acked.len() == LATE || ran.said("purged").next().is_some());

    let after = run(async {
        let group = open_alone(dir.path()).await;
        group.read_barrier_local().await.unwrap();
        assert_eq!(group.digest().await.1, digest, "of entries up to {last}");
        for numbers in &acked {
            let id = LeaseId { seq: numbers[1], tag: u32::try_from(numbers[2]).unwrap() };
            assert!(lease(&group, id).is_some_and(|view| is_held(&view)), "{id} is lost");
        }

        work(&group, 100).await;
        let made = group.checkpoint().await.unwrap();
        assert_eq!(group.status().checkpoint.unwrap().applied, made);
        work(&group, 101).await;
        group.digest().await.1
    });
    run(async {
        let group = open_alone(dir.path()).await;
        group.read_barrier_local().await.unwrap();
        assert_eq!(group.digest().await.1, after, "opened once more");
    });
}

pub fn files_of_log(dir: &Path) -> usize {
    let files = std::fs::read_dir(dir.join("log/wal")).unwrap();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some()).count()
}

/// The files that a purge leaves over are removed by a thread of the log.
pub async fn files_are_removed(dir: &Path, before: usize) {
    eventually("files are removed", || (files_of_log(dir) < before).then_some(())).await;
    let mut now = files_of_log(dir);
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let then = std::mem::replace(&mut now, files_of_log(dir));
        if then == now {
            return;
        }
    }
}

#[test]
fn a_checkpoint() {
    if let Some(dir) = child_folder() {
        return run(async {
            let group = open_alone(&dir).await;
            let files = files_of_log(&dir);
            let (older, newest) = (group.status().purged, group.status().checkpoint.unwrap());
            begin();
            let calls = async {
                for n in 0..LATE {
                    let view = acquired(&group, acquire("shared", &format!("late-{n}"))).await;
                    let index = group.status().applied.unwrap();
                    say(&format!("acked {index} {} {}", view.id.seq, view.id.tag));
                }
            };
            let (made, ()) = tokio::join!(group.checkpoint(), calls);
            made.unwrap();
            eventually("purged", || (group.status().purged > older).then_some(())).await;
            assert_eq!(group.status().purged, newest.applied);
            files_are_removed(&dir, files).await;
            end()
        });
    }

    let prepared = prepared();
    let calls = &["write", "fdatasync", "fsync", "rename", "unlink"];
    Procedure { test: "alone::a_checkpoint", prepared: prepared.path(), calls }
        .kill_everywhere(|dir, ran| check(prepared.path(), dir, ran));
}

/// The last entry in the newest checkpoint.
fn newest(store: &StateStore) -> ratequeue_storage::LogId {
    let group = GroupName::new("test").unwrap();
    let headers = Slot::ALL.into_iter().filter_map(|slot| store.header(&group, slot).ok());
    headers.filter_map(|header| header.applied).max().unwrap()
}

#[test]
fn a_purge() {
    if let Some(dir) = child_folder() {
        return run(async {
            let upto = {
                let store = open_store(&dir);
                let upto = newest(&store);
                store.close();
                upto
            };
            let (log, _) = LogStore::open(dir.join("log"), small()).unwrap();
            let files = files_of_log(&dir);
            begin();
            log.purge(upto).unwrap();
            log.sync().unwrap();
            say("purged it");
            files_are_removed(&dir, files).await;
            end()
        });
    }

    let prepared = prepared();
    let calls = &["write", "fdatasync", "unlink"];
    Procedure { test: "alone::a_purge", prepared: prepared.path(), calls }
        .kill_everywhere(|dir, ran| check(prepared.path(), dir, ran));
}
