//! Telling a caller that its record is durable, and remembering the first failure for everybody
//! after it.

use std::io;
use std::sync::{Arc, OnceLock};

use super::LogError;

/// Called exactly once, when a record is durable or has failed. It runs on the log's flush thread
/// (or, when the request is refused, on the caller's): it must not block, must not call the
/// [`crate::LogStore`], and must not own the last handle of one (closing waits for the flush
/// thread).
pub type OnDurable = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The first failure of the log, if there was one. Set once and for good.
#[derive(Debug, Default)]
pub(super) struct Health {
    failure: OnceLock<(io::ErrorKind, String)>,
}

impl Health {
    pub(super) fn fail(&self, kind: io::ErrorKind, detail: &str) {
        if self.failure.set((kind, detail.to_string())).is_ok() {
            tracing::error!(error = detail, "writing the log failed; this process has to end");
        }
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        match self.failure.get() {
            None => Ok(()),
            Some((kind, detail)) => Err(LogError::Failed { kind: *kind, detail: detail.clone() }),
        }
    }
}

/// What raft-log calls after the fsync. When its flush thread dies it drops the requests that are
/// still queued without a word, so being dropped counts as failed.
pub(super) struct Ack {
    health: Arc<Health>,
    /// `None` when nobody has to be told; the failure is remembered all the same.
    on_durable: Option<OnDurable>,
    answered: bool,
}

impl Ack {
    pub(super) fn new(health: &Arc<Health>, on_durable: Option<OnDurable>) -> Self {
        Self { health: Arc::clone(health), on_durable, answered: false }
    }

    /// Tells the caller that its request was not taken. The log's health is not touched.
    pub(super) fn refuse(mut self, error: &LogError) {
        self.answered = true;
        self.tell(Err(error.clone().into()));
    }

    /// Nothing is flushed, so there is nothing to wait for.
    pub(super) fn unneeded(mut self) {
        self.answered = true;
    }

    fn tell(&mut self, result: io::Result<()>) {
        if let Some(on_durable) = self.on_durable.take() {
            on_durable(result);
        }
    }
}

impl raft_log::Callback for Ack {
    fn send(mut self, result: io::Result<()>) {
        self.answered = true;
        // Remembered before anybody is told, so that whoever hears of it finds the log closed for
        // writing.
        if let Err(error) = &result {
            self.health.fail(error.kind(), &error.to_string());
        }
        self.tell(result);
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if !self.answered {
            self.health.fail(io::ErrorKind::BrokenPipe, "the log's flush thread has stopped");
            self.tell(Err(io::Error::other("the log's flush thread has stopped")));
        }
    }
}
