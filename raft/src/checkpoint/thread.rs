//! When checkpoints are made: a thread of its own, so that the writing of records never stands in
//! the way of deciding.
//!
//! ```text
//!  apply --grew--> CheckpointTrigger --wakes--> thread: freeze, drain, write, commit --> housekeeping: tell openraft, purge the log
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Instant;

use ratequeue_storage::{Header, LogError, LogStore};
use tokio::sync::watch;

use crate::caps;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::slots::Slots;
use crate::health::{Health, fail};
use crate::replica::Replica;
use crate::replica::growth::{CheckpointRequest, CheckpointRequests, CheckpointSkipped};

/// The checkpoint thread. Dropping it stops the thread, in the middle of a checkpoint if need be.
pub(crate) struct Checkpointer {
    stop: Arc<AtomicBool>,
    replica: Arc<Replica>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub fn start(
        replica: Arc<Replica>,
        requests: CheckpointRequests,
        slots: Arc<Slots>,
        log: LogStore,
        done: watch::Sender<Option<Header>>,
        health: watch::Sender<Health>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            replica: Arc::clone(&replica),
            slots,
            log,
            stop: Arc::clone(&stop),
            done,
            health,
        };
        let name = format!("checkpoint-{}", replica.group);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || worker.run_guarded(&requests.0))?;
        Ok(Self { stop, replica, thread: Some(thread) })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.replica.checkpoints.stop();
        if let Some(thread) = self.thread.take() {
            // It looks at `stop` between two small batches. A panic in there has failed the group.
            let _ = thread.join();
        }
    }
}

struct Worker {
    replica: Arc<Replica>,
    slots: Arc<Slots>,
    log: LogStore,
    stop: Arc<AtomicBool>,
    done: watch::Sender<Option<Header>>,
    health: watch::Sender<Health>,
}

impl Worker {
    /// Without checkpoints the log would grow for ever: should the thread panic, the group has
    /// failed.
    fn run_guarded(self, requests: &Receiver<CheckpointRequest>) {
        let (health, group) = (self.health.clone(), self.replica.group.clone());
        if catch_unwind(AssertUnwindSafe(|| self.run(requests))).is_err() {
            tracing::error!(group, "the group has failed: the checkpoint thread panicked");
            fail(&health, "the checkpoint thread panicked".to_owned());
        }
    }

    fn run(self, requests: &Receiver<CheckpointRequest>) {
        let mut at: Option<Instant> = None;
        let mut for_room = false;

        while !self.stop.load(Ordering::SeqCst) {
            // Now and then also without news: the other group may have had to begin the store anew.
            let wait = at
                .map_or(caps::CHECKPOINT_RETRY, |at| at.saturating_duration_since(Instant::now()));
            let wake = requests.recv_timeout(wait.min(caps::CHECKPOINT_RETRY));
            let is_due = at.is_some_and(|at| at <= Instant::now()) || self.slots.is_lost();

            let asked = match wake {
                Ok(CheckpointRequest::Dirty) => {
                    at = at.or(Some(Instant::now() + self.replica.checkpoints.policy.interval));
                    continue;
                }
                Ok(CheckpointRequest::LittleRoom) => {
                    let soon = Instant::now() + caps::CHECKPOINT_RETRY;
                    at = Some(at.map_or(soon, |at| at.min(soon)));
                    for_room = true;
                    continue;
                }
                Err(RecvTimeoutError::Timeout) if !is_due => continue,
                Ok(CheckpointRequest::Grown) | Err(RecvTimeoutError::Timeout) => None,
                Ok(CheckpointRequest::Now(answer)) => Some(answer),
                Ok(CheckpointRequest::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            };

            at = None;
            let result = self.checkpoint(std::mem::take(&mut for_room));
            let deferred = result.as_ref().is_err_and(CheckpointError::is_deferred);
            if deferred {
                at = Some(Instant::now() + caps::CHECKPOINT_RETRY);
            }
            if let Some(answer) = asked {
                // Whoever asked may have gone.
                let skipped = |error: CheckpointError| {
                    let no_room = error.is_no_room();
                    CheckpointSkipped { deferred, no_room, why: error.to_string() }
                };
                let _ = answer.send(result.map_err(skipped));
            }
        }
    }

    /// One checkpoint. An error is the end of the group, unless it was deferred or stopped. Without
    /// news it is made only `for_room`, and only if the other slot keeps more of the log back.
    fn checkpoint(&self, for_room: bool) -> Result<Header, CheckpointError> {
        let group = &self.replica.group;
        if let Some(newest) = self.slots.newest() {
            let machine = self.replica.machine.read();
            let is_last = newest.header.applied == machine.applied;
            let keeps_back =
                || self.slots.older().is_none_or(|older| older.applied != newest.header.applied);
            if is_last && !(for_room && keeps_back()) {
                self.replica.checkpoints.reset();
                return Ok(newest.header);
            }
        }

        let begun = Instant::now();
        let records_max = ratequeue_limiter::caps::DRAIN_RECORDS_MAX;
        let made = self.slots.checkpoint(&self.replica, records_max, &self.stop);
        match &made {
            Ok(header) => {
                tracing::info!(
                    group, sequence = header.sequence, applied = ?header.applied, records = header.records,
                    ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "checkpoint"
                );
                match self.log.write_mark() {
                    Ok(()) => {}
                    // The older mark is true too, and says less. The next checkpoint writes it
                    // again.
                    Err(error @ LogError::Io { .. }) => {
                        tracing::warn!(group, "the log's mark is deferred: {error}")
                    }
                    Err(error) => self.fail(&format!("the log's mark: {error}")),
                }
                self.done.send_replace(Some(header.clone()));
            }
            Err(CheckpointError::Stopped) => {}
            Err(error) if error.is_expected() => {
                tracing::warn!(group, "checkpoint deferred: {error}");
                // The ticker may have to make the state smaller.
                self.replica.due.nudge();
            }
            Err(error) if error.is_deferred() => {
                tracing::error!(
                    group,
                    "checkpoint given up, the next one is written in full: {error}"
                );
            }
            Err(error) => self.fail(&format!("checkpoint: {error}")),
        }
        made
    }

    fn fail(&self, detail: &str) {
        tracing::error!(group = self.replica.group, detail, "the group has failed");
        fail(&self.health, detail.to_owned());
    }
}
