//! The handle of a group and all that belongs to its life.

mod attachment;
mod forward;
pub(crate) mod handle;
mod inner;
mod lifecycle;
mod look;
mod members;
mod open;
pub(crate) mod options;
mod raise;
mod room;
pub(crate) mod status;
mod tick;

pub use attachment::{Attachment, Woken};
pub use handle::Group;
pub use lifecycle::ShutdownError;
pub use look::Looked;
pub use members::{ChangeError, VoterChange, tolerated_losses};
pub use options::GroupOptions;
pub use status::{CheckpointStatus, GroupStatus, NodeRole, Progress};
