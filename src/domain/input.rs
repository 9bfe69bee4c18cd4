//! Faults in what a request says. Codes are public API; which reply status each leads to is `api::error`'s to say.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

/// Where in a request a fault is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ErrorLocation {
    /// A JSON pointer as a URI fragment: `#/to/users/0`.
    Pointer(String),
    /// A query parameter.
    Parameter(String),
    /// A header.
    Header(&'static str),
}

impl fmt::Display for ErrorLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(pointer) => write!(f, "at {pointer}"),
            Self::Parameter(parameter) => write!(f, "in the parameter {parameter:?}"),
            Self::Header(header) => write!(f, "in the header {header}"),
        }
    }
}

/// Longest name that a place shows, in bytes: longer than any of ours, shorter than any token or key, so that none that
/// was written where a name belongs comes back.
const NAME_MAX: usize = 48;
/// What is left of a longer one.
const NAME_START: usize = 24;

impl ErrorLocation {
    /// The member `name` (or index) of the object or array at `parent`, a pointer such as `#/to`. A long name is cut.
    pub fn member(parent: &str, name: impl fmt::Display) -> String {
        let name = shown_name(name).replace('~', "~0").replace('/', "~1");
        format!("{parent}/{name}")
    }

    /// A query parameter. A long name is cut.
    pub fn parameter(name: &str) -> Self {
        Self::Parameter(shown_name(name))
    }
}

/// A name that a client chose, as an answer may show it: a long one is cut.
pub fn shown_name(name: impl fmt::Display) -> String {
    let mut start = Start(String::new());
    // It stops where it has enough.
    let _enough = write!(start, "{name}");
    if start.0.len() <= NAME_MAX {
        return start.0;
    }
    format!("{}…", &start.0[..start.0.floor_char_boundary(NAME_START)])
}

/// The start of a name, so much of it that a long one is recognised: a name may have megabytes, and many faults.
struct Start(String);

impl fmt::Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() > NAME_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(&text[..text.floor_char_boundary(2 * NAME_MAX)]);
        Ok(())
    }
}

/// One fault: a request is answered with all of its faults at once.
#[derive(Clone, PartialEq, Debug)]
pub struct ValidationError {
    /// Where.
    pub place: ErrorLocation,
    /// What.
    pub code: InputCode,
    /// In words, for people. Never repeats a token, a key or a text of the notification.
    pub detail: String,
    /// For programs: `limit`, `size`, `platform`, `suggestion`, `offset`, `supported`.
    pub facts: Map<String, Value>,
}

impl ValidationError {
    /// A fault at a pointer.
    pub fn at(pointer: impl Into<String>, code: InputCode, detail: impl Into<String>) -> Self {
        Self { place: ErrorLocation::Pointer(pointer.into()), code, detail: detail.into(), facts: Map::new() }
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}

macro_rules! input_codes {
    ($($(#[$doc:meta])* $variant:ident $text:literal,)*) => {
        /// What is wrong. The words are stable.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum InputCode { $($(#[$doc])* $variant,)* }

        impl InputCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in the answer.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

input_codes! {
    /// Not JSON at all. Form.
    MalformedJson "malformed_json",
    /// Not a line of CSV. Form.
    MalformedCsv "malformed_csv",
    /// The same member twice. Form.
    DuplicateField "duplicate_field",
    /// A member that nothing reads. Form.
    UnknownField "unknown_field",
    /// A query parameter that nothing reads. Form.
    UnknownParameter "unknown_parameter",
    /// Another JSON type. Form.
    WrongType "wrong_type",
    /// A member that must be there. Form.
    MissingField "missing_field",
    /// Not a cursor of this list. Form.
    InvalidCursor "invalid_cursor",
    /// Outside its range. Form.
    OutOfRange "out_of_range",
    /// A field that this key may not set. Forbidden.
    ForbiddenField "forbidden_field",
    /// A topic that apps may not set. Forbidden.
    TopicClosed "topic_closed",
    /// Larger than the provider takes. Meaning.
    PayloadTooLarge "payload_too_large",
    /// A `data` key that the provider or we use. Meaning.
    ReservedKey "reserved_key",
    /// Not to be overridden. Meaning.
    NotOverridable "not_overridable",
    /// A header with a value that the provider refuses. Meaning.
    BadHeader "bad_header",
    /// Not a topic name. Meaning.
    BadTopic "bad_topic",
    /// Not a condition. Meaning.
    BadCondition "bad_condition",
    /// Not a time to live. Meaning.
    BadTtl "bad_ttl",
    /// Not a time to send at. Meaning.
    BadSendAt "bad_send_at",
    /// Not an id of a device. Meaning.
    BadDeviceId "bad_device_id",
    /// Not a token of its platform. Meaning.
    BadToken "bad_token",
    /// Not a user id. Meaning.
    BadUser "bad_user",
    /// A value that can't be what the field is for. Meaning.
    BadValue "bad_value",
    /// Nothing that a phone could show or do. Meaning.
    NothingToSend "nothing_to_send",
    /// Silent, and yet with something to see or hear. Meaning.
    SilentWithContent "silent_with_content",
    /// More topics than a device or an app may have. Meaning.
    TooManyTopics "too_many_topics",
    /// A service that we don't send to. Meaning.
    UnsupportedPlatform "unsupported_platform",
    /// A member of `fcm` that FCM's message has not. Meaning.
    UnknownFcmField "unknown_fcm_field",
    /// A lane without credentials. Meaning.
    PlatformNotConfigured "platform_not_configured",
    /// A field of the API that this version does not serve yet. Meaning.
    NotSupportedYet "not_supported_yet",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_pointer_with_its_names_escaped_and_long_ones_cut() {
        assert_eq!(ErrorLocation::member("#/data", "a/b~c"), "#/data/a~1b~0c");
        assert_eq!(ErrorLocation::member("#/to/users", 7), "#/to/users/7");
        let longest = "x".repeat(48);
        assert_eq!(ErrorLocation::member("#", &longest), format!("#/{longest}"));
        assert_eq!(ErrorLocation::member("#", "é".repeat(24)), format!("#/{}", "é".repeat(24)));
        for long in [25, 32, 100, 1_000_000] {
            assert_eq!(
                ErrorLocation::member("#", "é".repeat(long)),
                format!("#/{}…", "é".repeat(12)),
                "{long}"
            );
        }
        assert_eq!(
            ErrorLocation::parameter(&"aa".repeat(32)),
            ErrorLocation::Parameter(format!("{}…", "aa".repeat(12)))
        );
    }
}
