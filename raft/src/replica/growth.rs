//! When a checkpoint is due: how much was applied since the last one, and the way to the thread
//! that makes them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use ratequeue_storage::Header;
use tokio::sync::oneshot;

use crate::caps;

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
pub(crate) enum CheckpointRequest {
    /// Something was applied since the last checkpoint.
    Dirty,
    /// The log has grown by as much as the policy allows.
    Grown,
    /// There is little room, and checkpoints would let the log be purged.
    LittleRoom,
    /// Somebody wants a checkpoint now, and to hear of it.
    Now(oneshot::Sender<Result<Header, CheckpointSkipped>>),
    Stop,
}

/// Why there is no checkpoint.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct CheckpointSkipped {
    /// It is deferred, and may be asked for again.
    pub deferred: bool,
    /// There is no room for it.
    pub no_room: bool,
    /// What the cause says.
    pub why: String,
}

impl CheckpointSkipped {
    fn gone() -> Self {
        Self {
            deferred: false,
            no_room: false,
            why: "the checkpoint thread has stopped".to_owned(),
        }
    }

    fn too_many() -> Self {
        Self {
            deferred: true,
            no_room: false,
            why: "too many checkpoints were asked for".to_owned(),
        }
    }
}

/// How much was applied since the last checkpoint, and the way to the thread.
pub(crate) struct CheckpointTrigger {
    pub policy: CheckpointPolicy,
    bytes: AtomicU64,
    dirty: AtomicBool,
    grown: AtomicBool,
    wake: SyncSender<CheckpointRequest>,
}

/// The thread's end of [`CheckpointTrigger`].
pub(crate) struct CheckpointRequests(pub Receiver<CheckpointRequest>);

impl CheckpointTrigger {
    pub fn new(policy: CheckpointPolicy) -> (Self, CheckpointRequests) {
        let (wake, requests) = sync_channel(caps::CHECKPOINT_REQUESTS_MAX);
        let trigger = Self {
            policy,
            bytes: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
            grown: AtomicBool::new(false),
            wake,
        };
        (trigger, CheckpointRequests(requests))
    }

    /// An entry of so many bytes was applied.
    pub fn record(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if !self.dirty.load(Ordering::Relaxed) && !self.dirty.swap(true, Ordering::SeqCst) {
            // A full channel means that the thread has other reasons to wake up already.
            let _ = self.wake.try_send(CheckpointRequest::Dirty);
        }
        if total >= self.policy.log_bytes
            && !self.grown.load(Ordering::Relaxed)
            && !self.grown.swap(true, Ordering::SeqCst)
        {
            let _ = self.wake.try_send(CheckpointRequest::Grown);
        }
    }

    /// Bytes of entries that a restart would apply again.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A checkpoint was cut, or is not needed: what was applied so far is in it. To be called while
    /// nothing can be applied.
    pub fn reset(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.grown.store(false, Ordering::SeqCst);
        self.dirty.store(false, Ordering::SeqCst);
    }

    /// Ends the thread.
    pub fn stop(&self) {
        // A full channel means that the thread is about to look whether it is to stop.
        let _ = self.wake.try_send(CheckpointRequest::Stop);
    }

    /// Has the log purged soon: there is little room.
    pub fn hurry(&self) {
        // A full channel means that the thread has other reasons to wake up already.
        let _ = self.wake.try_send(CheckpointRequest::LittleRoom);
    }

    /// Asks for a checkpoint now.
    pub async fn request(&self) -> Result<Header, CheckpointSkipped> {
        let (tx, rx) = oneshot::channel();
        self.wake.try_send(CheckpointRequest::Now(tx)).map_err(|error| match error {
            TrySendError::Full(_) => CheckpointSkipped::too_many(),
            TrySendError::Disconnected(_) => CheckpointSkipped::gone(),
        })?;
        rx.await.unwrap_or_else(|_gone| Err(CheckpointSkipped::gone()))
    }

    /// The same at a clean stop, where something that stood in its way is about to end. A full disk
    /// is not; but without the checkpoint a restart has more of the log to apply, and that is
    /// all.
    pub async fn request_last(&self) -> Result<(), CheckpointSkipped> {
        let mut attempts = 1;
        loop {
            match self.request().await {
                Err(CheckpointSkipped { no_room: true, .. }) => return Ok(()),
                Err(CheckpointSkipped { deferred: true, .. })
                    if attempts < caps::CHECKPOINT_STOP_ATTEMPTS =>
                {
                    attempts += 1;
                    tokio::time::sleep(caps::CHECKPOINT_STOP_PAUSE).await;
                }
                other => return other.map(drop),
            }
        }
    }
}
