//! The handle of a group and all that belongs to its life.

mod attachment;
mod forward;
pub(crate) mod handle;
mod inner;
mod lifecycle;
mod members;
mod open;
pub(crate) mod options;
mod raise;
mod room;
pub(crate) mod status;
mod tick;

pub use attachment::{Attachment, Woken};
pub use forward::Looked;
pub use handle::Group;
pub use members::{ChangeError, VoterChange, tolerated_losses};
pub use options::GroupOptions;
pub use status::{CheckpointStatus, GroupStatus, NodeRole, Progress};
