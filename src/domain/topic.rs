//! Topic names.

use std::fmt;

/// A topic: `[A-Za-z0-9_.~:-]{1,100}`, case counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicName(Box<str>);

impl TopicName {
    /// Longest name, in characters.
    pub const MAX: usize = 100;
    /// Most open topics of a device that a publishable key may name: such a key is in strangers' hands.
    pub const OPEN_MAX: usize = 100;

    /// Checks the form.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.~:-".contains(&b);
        let fits = (1..=Self::MAX).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.into()))
    }

    /// Wraps one that was checked when it was stored.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Closed to apps, because of a colon in its name (`team:42`)?
    pub fn is_closed(&self) -> bool {
        self.0.contains(':')
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_1_to_100_of_its_characters() {
        let longest = "x".repeat(100);
        for right in ["news", "team:42", "A_b.c~d-e", &longest] {
            assert!(TopicName::parse(right).is_some(), "{right}");
        }
        for wrong in ["", "a b", "a/b", "é", "a\0", &"x".repeat(101)] {
            assert!(TopicName::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_colon_closes_a_topic_to_apps() {
        let is_closed = |text| TopicName::parse(text).is_some_and(|topic| topic.is_closed());
        assert!(is_closed("team:42"));
        assert!(!is_closed("team-42"));
    }
}
