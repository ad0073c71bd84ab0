//! Who leads, as far as this node knows.

use tokio::sync::watch;

use crate::node::NodeId;
use crate::types::LeaderId;

/// Whether this node leads, and who else may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Role {
    /// The leadership of this node, while it leads.
    pub leading: Option<LeaderId>,
    /// The leader, this node or another.
    pub leader: Option<NodeId>,
}

/// The role of this node in its group, for everybody who acts on it.
#[derive(Debug)]
pub(crate) struct Roles(watch::Sender<Role>);

impl Default for Roles {
    fn default() -> Self {
        Self(watch::Sender::new(Role::default()))
    }
}

impl Roles {
    pub fn get(&self) -> Role {
        *self.0.borrow()
    }

    pub fn leading(&self) -> bool {
        self.0.borrow().leading.is_some()
    }

    pub fn subscribe(&self) -> watch::Receiver<Role> {
        self.0.subscribe()
    }

    /// Sets it, and says what it was.
    pub fn set(&self, role: Role) -> Role {
        let mut before = role;
        self.0.send_if_modified(|current| {
            before = std::mem::replace(current, role);
            before != role
        });
        before
    }
}
