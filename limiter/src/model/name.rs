//! Names that come from outside. They are checked once, where they are made; inner code never
//! checks again.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::caps;
use crate::model::level::{LEVEL_FIRST, LEVEL_MAX, LEVEL_NAMES};

const LIMIT_NAME: &str = "a limit or dimension name";
const WHY_LIMIT_NAME: &str = "must be 1 to 32 characters of a-z 0-9 _, start with a letter, and not be one, load, line or queue";

/// Why a string is not a name. The text says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {why}")]
pub struct BadName {
    what: &'static str,
    why: Cow<'static, str>,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $check:ident, read: $check_read:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and takes a name.
            ///
            /// # Errors
            /// [`BadName`] when the string is too long, empty, or has a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, BadName> {
                $check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                $check_read(&text)?;
                Ok(Self(Arc::from(text)))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name! {
    /// The name of a resource: 1 to 256 characters of `A-Z a-z 0-9 . _ : @ / + = ~ - [ ]`, and neither `.` nor `..`.
    ResourceName, check_resource_name, read: check_resource_name
}
name! {
    /// The name of a limit or of a dimension of a load map: `[a-z][a-z0-9_]{0,31}`; `one`, `load`, `line` and `queue` are reserved.
    LimitName, check_limit_name, read: check_read_limit_name
}
name! {
    /// The id of a request, made by its caller: 1 to 128 visible ASCII characters. Repeating it repeats the request.
    RequestId, check_request_id, read: check_request_id
}

name! {
    /// The group in which a resource lives: the name of a region, or `global`. 1 to 63 characters of `a-z 0-9 -`.
    Placement, check_placement, read: check_placement
}

fn check_placement(text: &str) -> Result<(), BadName> {
    const WHY: &str = "must be 1 to 63 characters of a-z 0-9 -";
    let allowed = text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
    check("a placement", WHY, allowed && !text.is_empty() && text.len() <= caps::PLACEMENT_LEN_MAX)
}

fn check_resource_name(text: &str) -> Result<(), BadName> {
    const WHY: &str = "must be 1 to 256 characters of A-Z a-z 0-9 . _ : @ / + = ~ - [ ]";
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:@/+=~-[]".contains(c);
    let why = match text.chars().find(|c| !allowed(*c)) {
        Some('%') => {
            format!(
                "{WHY}: it has a '%', as if it were encoded twice (a path has %2F for /, and %25 for none)"
            )
        }
        Some(c) => format!(
            "{WHY}: it has {c:?}, for which nothing stands, also not encoded. Use another in its place"
        ),
        None if text == "." || text == ".." => {
            format!("{WHY}, and not be . or .., which paths have a use for")
        }
        None if text.is_empty() || text.len() > caps::RESOURCE_NAME_LEN_MAX => {
            format!("{WHY}: it has {}", text.len())
        }
        None if LEVEL_MAX < LEVEL_NAMES && !is_of_level_1(text) => {
            format!("{WHY}, and at most as level 1 knows them")
        }
        None => return Ok(()),
    };

    Err(BadName { what: "a resource name", why: why.into() })
}

/// A name that members of a group of level 1 can read: `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`.
fn is_of_level_1(name: &str) -> bool {
    let mut chars = name.bytes();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b':' | b'-'));
    first && rest && name.len() <= caps::RESOURCE_NAME_LEN_LEVEL_1
}

impl ResourceName {
    /// The feature level that the name needs: members of a group of a lower one could not read it.
    #[must_use]
    pub fn level(&self) -> u32 {
        if is_of_level_1(self.as_str()) { LEVEL_FIRST } else { LEVEL_NAMES }
    }
}

/// Checks a name that is made. `queue` stands for the queue where an answer says what is in the
/// way.
fn check_limit_name(text: &str) -> Result<(), BadName> {
    check(LIMIT_NAME, WHY_LIMIT_NAME, text != "queue")?;
    check_read_limit_name(text)
}

/// Checks a name that is read. The log of an old version may hold a limit that is called `queue`.
fn check_read_limit_name(text: &str) -> Result<(), BadName> {
    let mut chars = text.bytes();
    let first = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    let rest = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    let free = !matches!(text, "one" | "load" | "line");
    check(
        LIMIT_NAME,
        WHY_LIMIT_NAME,
        first && rest && free && text.len() <= caps::LIMIT_NAME_LEN_MAX,
    )
}

fn check_request_id(text: &str) -> Result<(), BadName> {
    const WHY: &str = "must be 1 to 128 visible ASCII characters";
    let visible = text.bytes().all(|c| c.is_ascii_graphic());
    check(
        "a request id",
        WHY,
        visible && !text.is_empty() && text.len() <= caps::REQUEST_ID_LEN_MAX,
    )
}

fn check(what: &'static str, why: &'static str, ok: bool) -> Result<(), BadName> {
    if ok { Ok(()) } else { Err(BadName { what, why: why.into() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_grammar() {
        for good in ["a", "0", "openai-eu", "a.b_c:d-e", &"x".repeat(128)] {
            assert_eq!(ResourceName::new(good).unwrap().level(), 1, "{good}");
        }

        let wide = [
            "azure/gpt-4.1-ptu",
            "user@example.com",
            "a+b=c~[1]",
            "-a",
            ".a",
            "...",
            "/",
            &"x".repeat(256),
        ];

        for good in wide {
            assert_eq!(ResourceName::new(good).unwrap().level(), 2, "{good}");
        }

        for (bad, says) in [
            ("", "it has 0"),
            (".", "not be . or .."),
            ("..", "not be . or .."),
            ("a b", "it has ' '"),
            ("é", "it has 'é'"),
            ("a\0", "it has '\\0'"),
            ("a%2Fb", "encoded twice"),
            ("a?b", "it has '?'"),
            (&"x".repeat(257), "it has 257"),
        ] {
            let said = ResourceName::new(bad).unwrap_err().to_string();
            assert!(said.contains(says) && said.contains("1 to 256"), "{bad}: {said}");
        }

        for good in ["a", "tpm", "input_tokens", "r2", &"x".repeat(32)] {
            assert!(LimitName::new(good).is_ok(), "{good}");
        }

        for bad in ["", "A", "1a", "_a", "a-b", "one", "load", "line", "queue", &"x".repeat(33)] {
            assert!(LimitName::new(bad).is_err(), "{bad}");
        }

        assert_eq!(
            LimitName::try_from("queue".to_owned()).unwrap().as_str(),
            "queue",
            "an old log may hold it"
        );

        assert!(LimitName::try_from("line".to_owned()).is_err());
        for good in ["a", "eu-west-1", "global", &"x".repeat(63)] {
            assert!(Placement::new(good).is_ok(), "{good}");
        }

        for bad in ["", "A", "a.b", "a b", &"x".repeat(64)] {
            assert!(Placement::new(bad).is_err(), "{bad}");
        }

        for good in ["a", "!~", &"x".repeat(128)] {
            assert!(RequestId::new(good).is_ok(), "{good}");
        }

        for bad in ["", "a b", "é", "a\n", &"x".repeat(129)] {
            assert!(RequestId::new(bad).is_err(), "{bad}");
        }
    }
}
