//! The name of a group, checked once, safe as a folder and as part of a tree name.

use std::fmt;

use crate::caps;

/// The name of a Raft group: 1 to 64 letters, digits, `-` or `_`, the first a letter or digit.
///
/// It becomes a folder (`log/<group>`) and part of a tree name, so nothing else is allowed in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(String);

/// The text is not a group name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a group name: use 1 to 64 letters, digits, '-' or '_', the first a letter or digit"
)]
pub struct InvalidGroupName(String);

impl GroupName {
    /// Checks and takes over `name`.
    ///
    /// # Errors
    /// When it breaks the rules of [`GroupName`].
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidGroupName> {
        let name = name.into();
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if starts_well && name.len() <= caps::GROUP_NAME_BYTES_MAX && name.chars().all(allowed) {
            Ok(Self(name))
        } else {
            Err(InvalidGroupName(name))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<&str> for GroupName {
    type Error = InvalidGroupName;

    fn try_from(name: &str) -> Result<Self, Self::Error> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::GroupName;

    #[test]
    fn names_are_safe_as_folders() {
        for good in ["global", "eu-west-1", "A_1", &"x".repeat(64)] {
            assert!(GroupName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a.b", "-a", "_a", "ä", "a b", &"x".repeat(65)] {
            assert!(GroupName::new(bad).is_err(), "{bad}");
        }
    }
}
