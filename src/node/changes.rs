//! What a node keeps of the changes of members in which it takes part.

use parking_lot::Mutex;

/// The changes of members in which this node takes part.
#[derive(Debug, Default)]
pub struct Changes {
    /// What the change that this node carries out waits for.
    progress: Mutex<Option<String>>,
    /// Held while a request is checked and recorded, so that the next one sees the record.
    pub admitting: tokio::sync::Mutex<()>,
    /// Held while the leader of the global group takes a step, and while a member's address is
    /// replaced: both read a record of the book and write it anew.
    pub writing: tokio::sync::Mutex<()>,
}

impl Changes {
    /// What the change that this node carries out waits for.
    pub fn progress(&self) -> Option<String> {
        self.progress.lock().clone()
    }

    /// Shows what it waits for now.
    pub fn show(&self, progress: Option<String>) {
        let mut shown = self.progress.lock();
        if *shown == progress {
            return;
        }
        if let Some(progress) = &progress {
            tracing::info!(progress, "a change of members");
        }
        *shown = progress;
    }
}
