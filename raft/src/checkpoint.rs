//! When checkpoints are made: a thread of its own, so that the writing of records never stands in the way of deciding.
//!
//! ```text
//!  apply --grew--> Growth --wakes--> thread: freeze, drain, write, commit --> housekeeping: tell openraft, purge the log
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratequeue_limiter::Extent;
use ratequeue_storage::{Header, LogError, LogStore, checkpoint_bytes};
use tokio::sync::{oneshot, watch};

use crate::caps;
use crate::error::Health;
use crate::lifecycle;
use crate::replica::Replica;
use crate::slots::{CheckpointError, Slots};

/// When a checkpoint is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// After so many bytes of applied log entries.
    pub log_bytes: u64,
    /// After this time, counted from the first entry that the last checkpoint does not have.
    pub interval: Duration,
}

impl Default for CheckpointPolicy {
    /// 64 MiB, one minute.
    fn default() -> Self {
        Self { log_bytes: 64 * 1024 * 1024, interval: Duration::from_secs(60) }
    }
}

/// What the checkpoint thread is told.
enum Wake {
    /// Something was applied since the last checkpoint.
    Dirty,
    /// The log has grown by as much as the policy allows.
    Grown,
    /// There is little room, and checkpoints would let the log be purged.
    LittleRoom,
    /// Somebody wants a checkpoint now, and to hear of it.
    Now(oneshot::Sender<Result<Header, NotMade>>),
    Stop,
}

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(crate) struct NotMade {
    /// It was put off, and may be asked for again.
    pub put_off: bool,
    /// There is no room for it.
    pub no_room: bool,
    pub why: String,
}

impl NotMade {
    fn gone() -> Self {
        Self { put_off: false, no_room: false, why: "the checkpoint thread has stopped".to_owned() }
    }

    fn too_many() -> Self {
        Self { put_off: true, no_room: false, why: "too many checkpoints were asked for".to_owned() }
    }
}

/// How much was applied since the last checkpoint, and the way to the thread.
pub(crate) struct Growth {
    policy: CheckpointPolicy,
    bytes: AtomicU64,
    dirty: AtomicBool,
    grown: AtomicBool,
    wake: SyncSender<Wake>,
}

/// The thread's end of [`Growth`].
pub(crate) struct Woken(Receiver<Wake>);

impl Growth {
    pub fn new(policy: CheckpointPolicy) -> (Self, Woken) {
        let (wake, woken) = sync_channel(caps::CHECKPOINT_REQUESTS_MAX);
        let growth = Self {
            policy,
            bytes: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
            grown: AtomicBool::new(false),
            wake,
        };
        (growth, Woken(woken))
    }

    /// An entry of so many bytes was applied.
    pub fn note(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if !self.dirty.load(Ordering::Relaxed) && !self.dirty.swap(true, Ordering::SeqCst) {
            // A full channel means that the thread has other reasons to wake up already.
            let _ = self.wake.try_send(Wake::Dirty);
        }
        if total >= self.policy.log_bytes
            && !self.grown.load(Ordering::Relaxed)
            && !self.grown.swap(true, Ordering::SeqCst)
        {
            let _ = self.wake.try_send(Wake::Grown);
        }
    }

    /// Bytes of entries that a restart would apply again.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A checkpoint was cut, or is not needed: what was applied so far is in it. To be called while nothing can be applied.
    pub fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.grown.store(false, Ordering::SeqCst);
        self.dirty.store(false, Ordering::SeqCst);
    }

    /// Has the log purged soon: there is little room.
    pub fn hurry(&self) {
        // A full channel means that the thread has other reasons to wake up already.
        let _ = self.wake.try_send(Wake::LittleRoom);
    }

    /// Asks for a checkpoint now.
    pub async fn request(&self) -> Result<Header, NotMade> {
        let (tx, rx) = oneshot::channel();
        self.wake.try_send(Wake::Now(tx)).map_err(|error| match error {
            TrySendError::Full(_) => NotMade::too_many(),
            TrySendError::Disconnected(_) => NotMade::gone(),
        })?;
        rx.await.unwrap_or_else(|_gone| Err(NotMade::gone()))
    }

    /// The same at a clean stop, where something that stood in its way is about to end. A full disk is not; but without
    /// the checkpoint a restart has more of the log to apply, and that is all.
    pub async fn request_last(&self) -> Result<(), NotMade> {
        let mut attempts = 1;
        loop {
            match self.request().await {
                Err(NotMade { no_room: true, .. }) => return Ok(()),
                Err(NotMade { put_off: true, .. }) if attempts < caps::CHECKPOINT_STOP_ATTEMPTS => {
                    attempts += 1;
                    tokio::time::sleep(caps::CHECKPOINT_STOP_PAUSE).await;
                }
                other => return other.map(drop),
            }
        }
    }
}

/// The checkpoint thread. Dropping it stops the thread, in the middle of a checkpoint if need be.
pub(crate) struct Checkpointer {
    stop: Arc<AtomicBool>,
    replica: Arc<Replica>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub fn start(
        replica: Arc<Replica>,
        woken: Woken,
        slots: Arc<Slots>,
        log: LogStore,
        done: watch::Sender<Option<Header>>,
        health: watch::Sender<Health>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker { replica: Arc::clone(&replica), slots, log, stop: Arc::clone(&stop), done, health };
        let name = format!("checkpoint-{}", replica.group);
        let thread = std::thread::Builder::new().name(name).spawn(move || worker.run_guarded(&woken.0))?;
        Ok(Self { stop, replica, thread: Some(thread) })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.replica.growth.wake.try_send(Wake::Stop);
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
    /// Without checkpoints the log would grow for ever: should the thread panic, the group has failed.
    fn run_guarded(self, woken: &Receiver<Wake>) {
        let (health, group) = (self.health.clone(), self.replica.group.clone());
        if catch_unwind(AssertUnwindSafe(|| self.run(woken))).is_err() {
            tracing::error!(group, "the group has failed: the checkpoint thread panicked");
            lifecycle::fail(&health, "the checkpoint thread panicked".to_owned());
        }
    }

    fn run(self, woken: &Receiver<Wake>) {
        let mut at: Option<Instant> = None;
        let mut for_room = false;
        while !self.stop.load(Ordering::SeqCst) {
            let wake = match at {
                None => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => woken.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let asked = match wake {
                Ok(Wake::Dirty) => {
                    at = at.or(Some(Instant::now() + self.replica.growth.policy.interval));
                    continue;
                }
                Ok(Wake::LittleRoom) => {
                    let soon = Instant::now() + caps::CHECKPOINT_RETRY;
                    at = Some(at.map_or(soon, |at| at.min(soon)));
                    for_room = true;
                    continue;
                }
                Ok(Wake::Grown) | Err(RecvTimeoutError::Timeout) => None,
                Ok(Wake::Now(answer)) => Some(answer),
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            };
            at = None;
            let result = self.checkpoint(std::mem::take(&mut for_room));
            let put_off = result.as_ref().is_err_and(CheckpointError::is_deferred);
            if put_off {
                at = Some(Instant::now() + caps::CHECKPOINT_RETRY);
            }
            if let Some(answer) = asked {
                // Whoever asked may have gone.
                let not_made = |error: CheckpointError| {
                    let no_room = error.is_no_room();
                    NotMade { put_off, no_room, why: error.to_string() }
                };
                let _ = answer.send(result.map_err(not_made));
            }
        }
    }

    /// One checkpoint. An error is the end of the group, unless it was deferred or stopped. Without news it is made only
    /// `for_room`, and only if the other slot keeps more of the log back.
    fn checkpoint(&self, for_room: bool) -> Result<Header, CheckpointError> {
        let group = &self.replica.group;
        if let Some(newest) = self.slots.newest() {
            let machine = self.replica.machine.read();
            let is_last = newest.header.applied == machine.applied;
            let keeps_back = || self.slots.older().is_none_or(|older| older.applied != newest.header.applied);
            if is_last && !(for_room && keeps_back()) {
                self.replica.growth.reset();
                return Ok(newest.header);
            }
        }

        let begun = Instant::now();
        let made = self.check_space().and_then(|()| {
            self.slots.checkpoint(&self.replica, ratequeue_limiter::caps::DRAIN_RECORDS_MAX, &self.stop)
        });
        match &made {
            Ok(header) => {
                tracing::info!(
                    group, sequence = header.sequence, applied = ?header.applied, records = header.records,
                    ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "checkpoint"
                );
                match self.log.write_mark() {
                    Ok(()) => {}
                    // The older mark is true too, and says less. The next checkpoint writes it again.
                    Err(error @ LogError::Io { .. }) => tracing::warn!(group, "the log's mark is deferred: {error}"),
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
                tracing::error!(group, "checkpoint given up, the next one is written in full: {error}");
            }
            Err(error) => self.fail(&format!("checkpoint: {error}")),
        }
        made
    }

    /// A checkpoint that has to be written in full is not begun when there is hardly room for it: the log needs the rest.
    fn check_space(&self) -> Result<(), CheckpointError> {
        let bytes = match self.slots.plan() {
            Extent::Full => self.slots.bytes(),
            Extent::Since(_) => 0,
        };
        let needed = checkpoint_bytes(bytes);
        match self.slots.store().free_bytes() {
            Ok(free) if free < needed => Err(CheckpointError::NoSpace { free, needed }),
            // Where the system does not tell, it is tried.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn fail(&self, detail: &str) {
        tracing::error!(group = self.replica.group, detail, "the group has failed");
        lifecycle::fail(&self.health, detail.to_owned());
    }
}
