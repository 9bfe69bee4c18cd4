//! The names of topics, and which of them apps may set.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a topic: `[A-Za-z0-9_.~:-]{1,100}`. It is case-sensitive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicName(Box<str>);

/// How long a device's subscription lasts, if nothing else ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubscriptionTerm {
    /// As long as the device exists.
    Device,
    /// As [`Self::Device`], but from before an app took the device from its user. A device that replaces this one by a user
    /// token does not take it over: the next user may be any person with the token of the device.
    Former,
    /// Until the device leaves its user: a user token opened the topic.
    Binding,
}

impl TopicName {
    /// Longest name, in characters.
    pub const MAX: usize = 100;
    /// Open topics that a publishable key may set on one device. Such a key can be extracted from an app.
    pub const OPEN_MAX: usize = 100;

    /// Parses a name. None: it does not have the form.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.~:-".contains(&b);
        let fits = (1..=Self::MAX).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.into()))
    }

    /// Wraps a stored name without checking it again.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The name as it is shown in the API.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does the name have a colon (`team:42`)? Then an app may set it only if a user token lists it.
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
    fn a_topic_has_1_to_100_of_the_allowed_characters() {
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
