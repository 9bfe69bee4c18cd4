//! What an app tells about itself: its version.

/// An app's version as the app writes it: 1 to 64 bytes without control characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppVersion(Box<str>);

impl AppVersion {
    /// Longest version, in bytes.
    pub const MAX: usize = 64;

    /// Checks the form.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }

    /// Wraps one that was checked when it was stored.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_holds_no_control_character() {
        assert!(AppVersion::parse("5.2.0 (beta)").is_some());
        for wrong in ["", "1\0", "1\n", &"1".repeat(65)] {
            assert!(AppVersion::parse(wrong).is_none(), "{wrong}");
        }
    }
}
