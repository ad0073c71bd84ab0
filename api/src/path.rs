//! Names in paths and queries.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is encoded: all but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as one segment of a path, or one value of a query: `azure%2Fgpt-4.1` for `azure/gpt-4.1`.
#[must_use]
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_of_its_own_is_encoded() {
        assert_eq!(segment("openai-eu_1.2~x"), "openai-eu_1.2~x");
        assert_eq!(segment("azure/gpt-4.1"), "azure%2Fgpt-4.1");
        assert_eq!(segment("a+b=c~[1]:@?#&%"), "a%2Bb%3Dc~%5B1%5D%3A%40%3F%23%26%25");
    }
}
