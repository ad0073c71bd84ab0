//! Which node, and how it is reached.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use ratequeue_link::NodeId;

/// Where the other nodes of the group reach a node: `host:port` of its peer link. Opaque to this
/// crate; the transport reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address(pub String);

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
