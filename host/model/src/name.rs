//! Names that operators and authors give, with the rules that make them safe as file, tag and column names.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Long enough for a DNS label, short enough for a tag.
pub const MAX_NAME: usize = 63;

/// The plugin, and the check, by which the agent looks at itself. There is no file of this name.
pub const BUILT_IN: &str = "roundsman";
/// Stands for a plugin where results are pushed. There is no file of this name.
pub const PUSHED: &str = "push";
/// Measurements of the agent itself: no plugin's series and no pushed one may be named so.
pub const RESERVED_SERIES: [&str; 7] =
    ["agent", "agent_destination", "board", "check", "finding", "peer", "transition"];

/// Why a word cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{value}` must be 1 to {MAX_NAME} characters of a-z, 0-9 and '-', beginning with a letter or digit")]
pub struct NameError {
    what: &'static str,
    value: String,
}

macro_rules! name {
    ($type:ident, $what:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the rules and takes the name.
            pub fn new(value: &str) -> Result<Self, NameError> {
                if is_name(value) {
                    Ok(Self(value.into()))
                } else {
                    Err(NameError { what: $what, value: excerpt(value) })
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(&value)
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

name!(CheckName, "check name", "The name of a check, unique on the node.");
name!(PluginName, "plugin name", "The name of a plugin: the stem of its file.");

fn is_name(value: &str) -> bool {
    let bytes = value.as_bytes();
    let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    !bytes.is_empty() && bytes.len() <= MAX_NAME && bytes.iter().all(allowed) && bytes[0] != b'-'
}

/// Whether a word may be the name of a series, a field or a tag: the subset that every InfluxDB and Chronograf takes.
pub fn is_series_name(value: &str) -> bool {
    let bytes = value.as_bytes();
    let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
    !bytes.is_empty() && bytes.len() <= MAX_NAME && bytes[0].is_ascii_lowercase() && bytes.iter().all(allowed)
}

/// The beginning of a text that somebody else wrote, fit for an error message.
pub fn excerpt(value: &str) -> String {
    let mut short: String = value.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(64);
        for (value, good) in [
            ("shop", true),
            ("0-9", true),
            ("a", true),
            (&long[..63], true),
            (&long[..], false),
            ("", false),
            ("-a", false),
            ("Shop", false),
            ("a b", false),
            ("a/b", false),
            ("ä", false),
        ] {
            assert_eq!(CheckName::new(value).is_ok(), good, "{value:?}");
        }
    }

    #[test]
    fn series_names() {
        for (value, good) in
            [("http", true), ("http_2", true), ("2http", false), ("_x", false), ("a-b", false), ("", false)]
        {
            assert_eq!(is_series_name(value), good, "{value:?}");
        }
    }

    #[test]
    fn excerpts_are_short_and_clean() {
        assert_eq!(excerpt("a\u{1b}[31mb"), "a[31mb…");
        assert_eq!(excerpt("plain"), "plain");
    }
}
