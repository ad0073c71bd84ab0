//! Whether the disk is nearly full, asked for now and then.

use std::path::PathBuf;
use std::time::Instant;

use ratequeue_storage::{SpaceLimit, free_bytes};

use crate::caps;

/// Free space on the file system of the log.
#[derive(Debug)]
pub(crate) struct Space {
    dir: PathBuf,
    limit: SpaceLimit,
    full: bool,
    asked: Option<Instant>,
}

impl Space {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, limit: SpaceLimit::default(), full: false, asked: None }
    }

    /// Whether new work has to be refused. A system that does not tell is taken at the last answer.
    pub fn is_full(&mut self) -> bool {
        let now = Instant::now();
        if self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= caps::SPACE_CHECK_INTERVAL) {
            self.asked = Some(now);
            if let Ok(free) = free_bytes(&self.dir) {
                let full = self.limit.is_full(free, self.full);
                if full != self.full {
                    tracing::warn!(free, full, "disk space");
                }
                self.full = full;
            }
        }
        self.full
    }
}
