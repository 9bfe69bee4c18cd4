//! Parts of a registration that were ignored because they could not be read or carried out. The rest of the
//! registration is carried out, and the answer lists the ignored parts (`docs/errors.md`).

use crate::domain::ErrorLocation;

/// A part of a registration that was ignored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IgnoredPart {
    /// Its place in the request, as a JSON pointer: `#/locale`.
    pub pointer: String,
    /// Why it was ignored.
    pub reason: IgnoredReason,
}

/// Why a part was ignored. The texts are public API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IgnoredReason {
    /// The value could not be read. The stored value stays.
    BadValue,
    /// `replaces` is no token of the platform.
    BadToken,
    /// `replaces` is a token of no device.
    UnknownToken,
    /// `replaces` is the token that is registered.
    SameToken,
    /// The device or the app would have too many topics.
    TooManyTopics,
}

impl IgnoredReason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 5] =
        [Self::BadValue, Self::BadToken, Self::UnknownToken, Self::SameToken, Self::TooManyTopics];
}

impl IgnoredPart {
    /// The topic at position `index` of `topics` in the request.
    pub fn topic(index: usize) -> Self {
        Self { pointer: ErrorLocation::member("#/topics", index), reason: IgnoredReason::TooManyTopics }
    }

    /// The member `name` of the request.
    pub fn member(name: &str, reason: IgnoredReason) -> Self {
        Self { pointer: ErrorLocation::member("#", name), reason }
    }
}

impl IgnoredReason {
    /// The text in answers.
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
