//! Errors in the input of a request: places, codes and details. The codes are public API (`docs/errors.md`);
//! `api::error` maps them to reply statuses.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

/// The place of an error in a request.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ErrorLocation {
    /// A JSON pointer as a URI fragment: `#/to/users/0`.
    Pointer(String),
    /// The name of a query parameter.
    Parameter(String),
    /// The name of a header.
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

/// Longest name that a place shows, in bytes. It is longer than any name of the API and shorter than any token or key,
/// so that a token written in the place of a name is not repeated.
const NAME_MAX: usize = 48;
/// Bytes that are shown of a longer name.
const NAME_START: usize = 24;

impl ErrorLocation {
    /// The pointer to the member `name` (or index) of the object or array at `parent`, such as `#/to`. A long name is
    /// cut.
    pub fn member(parent: &str, name: impl fmt::Display) -> String {
        let name = shown_name(name).replace('~', "~0").replace('/', "~1");
        format!("{parent}/{name}")
    }

    /// The place of a query parameter. A long name is cut.
    pub fn parameter(name: &str) -> Self {
        Self::Parameter(shown_name(name))
    }
}

/// A client's name as an answer may show it: a long name is cut.
pub fn shown_name(name: impl fmt::Display) -> String {
    let mut start = Start(String::new());
    // Writing stops with an error when there is enough.
    let _enough = write!(start, "{name}");
    if start.0.len() <= NAME_MAX {
        return start.0;
    }
    format!("{}…", &start.0[..start.0.floor_char_boundary(NAME_START)])
}

/// Collects just enough of a name to see whether it is long: a name may have megabytes and many errors.
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

/// One error in a request. The answer to a request lists all of its errors.
#[derive(Clone, PartialEq, Debug)]
pub struct ValidationError {
    /// The place in the request.
    pub place: ErrorLocation,
    /// The code of the answer.
    pub code: InputCode,
    /// A sentence for people. It never repeats a token, a key or the content of the notification.
    pub detail: String,
    /// Facts for programs: `limit`, `size`, `platform`, `suggestion`, `offset`, `supported`.
    pub facts: Map<String, Value>,
}

impl ValidationError {
    /// Creates an error at a pointer.
    pub fn at(pointer: impl Into<String>, code: InputCode, detail: impl Into<String>) -> Self {
        Self { place: ErrorLocation::Pointer(pointer.into()), code, detail: detail.into(), facts: Map::new() }
    }

    /// Creates an error in a header.
    pub fn in_header(name: &'static str, code: InputCode, detail: impl Into<String>) -> Self {
        Self { place: ErrorLocation::Header(name), code, detail: detail.into(), facts: Map::new() }
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}

macro_rules! input_codes {
    ($($(#[$doc:meta])* $variant:ident $text:literal,)*) => {
        /// The codes of errors in requests. The texts are public API.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum InputCode { $($(#[$doc])* $variant,)* }

        impl InputCode {
            /// All codes, in the order of the declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The text in answers.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

input_codes! {
    /// The body is not JSON. Form.
    MalformedJson "malformed_json",
    /// The line is not CSV. Form.
    MalformedCsv "malformed_csv",
    /// An object has the same member twice. Form.
    DuplicateField "duplicate_field",
    /// A member that does not exist in the API. Form.
    UnknownField "unknown_field",
    /// A query parameter that does not exist in the API. Form.
    UnknownParameter "unknown_parameter",
    /// The value has another JSON type. Form.
    WrongType "wrong_type",
    /// A required member is missing. Form.
    MissingField "missing_field",
    /// The value is not a cursor of this list. Form.
    InvalidCursor "invalid_cursor",
    /// The value is out of range. Form.
    OutOfRange "out_of_range",
    /// The key may not set this field. Permission.
    ForbiddenField "forbidden_field",
    /// Apps may not set this topic. Permission.
    TopicClosed "topic_closed",
    /// The payload is larger than the provider accepts. Meaning.
    PayloadTooLarge "payload_too_large",
    /// The provider or Pushpost uses this key of `data`. Meaning.
    ReservedKey "reserved_key",
    /// The value can't be overridden. Meaning.
    NotOverridable "not_overridable",
    /// The provider refuses this value of a header. Meaning.
    BadHeader "bad_header",
    /// The text is not a topic. Meaning.
    BadTopic "bad_topic",
    /// The text is not a condition. Meaning.
    BadCondition "bad_condition",
    /// The value is not a time to live. Meaning.
    BadTtl "bad_ttl",
    /// The value is not a time at which to send. Meaning.
    BadSendAt "bad_send_at",
    /// The text is not the id of a device. Meaning.
    BadDeviceId "bad_device_id",
    /// The text is not a token of its platform. Meaning.
    BadToken "bad_token",
    /// The text is not a user id. Meaning.
    BadUser "bad_user",
    /// The value is not valid for this field. Meaning.
    BadValue "bad_value",
    /// The content has nothing that a phone could show or do. Meaning.
    NothingToSend "nothing_to_send",
    /// A silent notification has something to see or hear. Meaning.
    SilentWithContent "silent_with_content",
    /// The device or the app would have too many topics. Meaning.
    TooManyTopics "too_many_topics",
    /// Pushpost does not send to this service. Meaning.
    UnsupportedPlatform "unsupported_platform",
    /// FCM's message has no such member. Meaning.
    UnknownFcmField "unknown_fcm_field",
    /// The app has no credentials for this platform. Meaning.
    PlatformNotConfigured "platform_not_configured",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_have_escaped_names_and_long_names_are_cut() {
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
