//! Faults in what a request says. Codes are public API; which reply status each leads to is `api::error`'s to say.

use serde_json::{Map, Value};

/// Where in a request a fault is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// A JSON pointer as a URI fragment: `#/to/users/0`.
    Pointer(String),
    /// A query parameter.
    Parameter(String),
    /// A header.
    Header(&'static str),
}

impl Place {
    /// The member `name` (or index) of the object or array at `parent`, a pointer such as `#/to`.
    pub fn member(parent: &str, name: impl std::fmt::Display) -> String {
        let name = name.to_string().replace('~', "~0").replace('/', "~1");
        format!("{parent}/{name}")
    }
}

/// One fault: a request is answered with all of its faults at once.
#[derive(Clone, PartialEq, Debug)]
pub struct InputFault {
    /// Where.
    pub place: Place,
    /// What.
    pub code: InputCode,
    /// In words, for people. Never repeats a token, a key or a text of the notification.
    pub detail: String,
    /// For programs: `limit`, `size`, `platform`, `suggestion`, `offset`, `supported`.
    pub facts: Map<String, Value>,
}

impl InputFault {
    /// A fault at a pointer.
    pub fn at(pointer: impl Into<String>, code: InputCode, detail: impl Into<String>) -> Self {
        Self { place: Place::Pointer(pointer.into()), code, detail: detail.into(), facts: Map::new() }
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
    /// A service that we don't send to. Meaning.
    UnsupportedPlatform "unsupported_platform",
    /// A lane without credentials. Meaning.
    PlatformNotConfigured "platform_not_configured",
    /// A field of the API that this version does not serve yet. Meaning.
    NotSupportedYet "not_supported_yet",
}
