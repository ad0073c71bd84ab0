//! Whether a group works, and how it ends.

use ratequeue_limiter::LEVEL_MAX;
use tokio::sync::watch;

/// Whether the group works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Running,
    /// It was stopped.
    Stopped,
    /// It has failed and will not work again in this process: the process has to end.
    Failed(String),
    /// The group follows rules that this version does not know. Starting again does not help, a
    /// newer version does.
    Outdated(String),
}

impl Health {
    /// What has ended the group, if it did not stop.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::Running | Self::Stopped => None,
            Self::Failed(why) | Self::Outdated(why) => Some(why),
        }
    }
}

/// What to say of a group at a level that this version does not know.
pub(crate) fn outdated(level: u32) -> String {
    format!(
        "it is at feature level {level}, and this version knows up to {LEVEL_MAX}: install the version that the others run"
    )
}

/// Ends the group as failed; the first failure counts.
pub(crate) fn fail(health: &watch::Sender<Health>, detail: String) {
    end(health, Health::Failed(detail));
}

/// Ends the group, in this way; the first failure counts.
pub(crate) fn end(health: &watch::Sender<Health>, how: Health) {
    health.send_if_modified(|health| {
        let first = *health == Health::Running;
        if first {
            *health = how;
        }
        first
    });
}
