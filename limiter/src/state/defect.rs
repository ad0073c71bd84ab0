//! What the core holds to be impossible, and says nevertheless when it meets it.

use crate::model::outcome::Refusal;

/// Something that cannot be: a lease that is listed and not there, or in a stage that it cannot be
/// in. It stops a test. In a release the command is refused with [`Refusal::Internal`], and it is
/// counted ([`crate::State::defects`]): every replica has the same records, so every replica meets
/// it at the same command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defect(&'static str);

impl Defect {
    #[cold]
    #[track_caller]
    pub fn new(what: &'static str) -> Self {
        debug_assert!(false, "{what}");
        Self(what)
    }
}

impl From<Defect> for Refusal {
    fn from(Defect(what): Defect) -> Self {
        Self::Internal(what.to_owned())
    }
}

/// Records that do not fit together: the stored state is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored records do not fit together: {0}")]
pub struct Inconsistent(pub String);
