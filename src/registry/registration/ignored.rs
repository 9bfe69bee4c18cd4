//! Parts of a registration that are left out because they can't be read or carried out. The rest of it holds.

use crate::domain::ErrorLocation;

/// A part that was left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IgnoredPart {
    /// Where it is in the request, as a JSON pointer: `#/locale`.
    pub pointer: String,
    /// Why.
    pub reason: IgnoredReason,
}

/// Why a part was left out. The words in answers are stable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IgnoredReason {
    /// A hint that can't be read. What is stored of it stays.
    BadValue,
    /// `replaces` is no token of the platform.
    BadToken,
    /// `replaces` is a token of no device.
    UnknownToken,
    /// `replaces` is the token that is registered.
    SameToken,
    /// A topic that would be one too many.
    TooManyTopics,
}

impl IgnoredPart {
    /// The topic at a place of `topics` in a request.
    pub fn topic(index: usize) -> Self {
        Self { pointer: ErrorLocation::member("#/topics", index), reason: IgnoredReason::TooManyTopics }
    }

    /// The member `name` of a request.
    pub fn member(name: &str, reason: IgnoredReason) -> Self {
        Self { pointer: ErrorLocation::member("#", name), reason }
    }
}

impl IgnoredReason {
    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadValue => "bad_value",
            Self::BadToken => "bad_token",
            Self::UnknownToken => "unknown_token",
            Self::SameToken => "same_token",
            Self::TooManyTopics => "too_many_topics",
        }
    }
}
