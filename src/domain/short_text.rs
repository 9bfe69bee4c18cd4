//! Short texts that a backend or an app chooses: user ids and app versions. Both have the same form.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Defines a type for texts of 1 to `MAX` bytes without control characters.
macro_rules! short_text {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        pub struct $name(Box<str>);

        impl $name {
            /// Longest text, in bytes.
            pub const MAX: usize = $max;

            /// Parses a text. None: it does not have the form.
            pub fn parse(text: &str) -> Option<Self> {
                let fits = (1..=Self::MAX).contains(&text.len()) && !text.chars().any(char::is_control);
                fits.then(|| Self(text.into()))
            }

            /// Wraps a stored text without checking it again.
            pub fn stored(text: String) -> Self {
                Self(text.into())
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

short_text!(
    /// A user, as the backend names them: 1 to 128 bytes without control characters. `Debug` does not show the id.
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(transparent)]
    UserId,
    128
);

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(…)")
    }
}

short_text!(
    /// The version of an app, as the app writes it: 1 to 64 bytes without control characters.
    #[derive(Clone, PartialEq, Eq, Debug)]
    AppVersion,
    64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_no_control_character() {
        assert!(AppVersion::parse("5.2.0 (beta)").is_some());
        for wrong in ["", "1\0", "1\n", &"1".repeat(65)] {
            assert!(AppVersion::parse(wrong).is_none(), "{wrong}");
        }
    }
}
