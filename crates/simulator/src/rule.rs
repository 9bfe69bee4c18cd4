//! A rule of a script: which requests it matches, when and how often, and what the provider does to them. Rust callers and
//! the control port use the same JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Environment, FcmFault, Provider};

/// One line of a script.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Shown in the ledger's entries that this rule decided.
    pub name: Option<String>,
    /// Only this server's requests.
    pub provider: Option<Provider>,
    /// Only requests at this APNs port.
    pub environment: Option<Environment>,
    /// Only this device token.
    pub token: Option<String>,
    /// Only device tokens that begin so.
    pub token_prefix: Option<String>,
    /// Only this share (0 to 1), drawn from the simulator's seed.
    pub share: Option<f64>,
    /// What `share` is a share of.
    pub share_of: ShareOf,
    /// Not before so many milliseconds after the simulator's start.
    pub from_ms: u64,
    /// Not from so many milliseconds after the simulator's start on.
    pub until_ms: Option<u64>,
    /// Only requests that show a credential, and none of these, named as the ledger's entries name them.
    pub other_credentials_than: Vec<String>,
    /// At most so often.
    pub times: Option<u64>,
    /// At most so often for each device token.
    pub times_per_token: Option<u64>,
    /// The answer waits so many milliseconds.
    pub delay_ms: u64,
    /// And a part of so many more, drawn from the seed.
    pub delay_spread_ms: u64,
    /// What happens to a request that matches.
    pub action: Action,
}

/// Whether a rule's share is drawn per request or once per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareOf {
    /// Each request is drawn.
    #[default]
    Requests,
    /// Each device token is drawn once and stays in or out.
    Tokens,
}

/// What a rule does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Nothing special: accepted (after the rule's delay).
    #[default]
    Accept,
    /// Answer with this response.
    Answer(Box<Answer>),
    /// One of FCM's error bodies, whole (docs/providers.md#fcm-errors, #fcm-invalid_argument).
    FcmFault {
        /// The error that is answered.
        fault: FcmFault,
        /// The header `Retry-After`, verbatim.
        #[serde(default)]
        retry_after: Option<String>,
        /// `Retry-After` as an HTTP date so many seconds ahead.
        #[serde(default)]
        retry_after_date_seconds: Option<u64>,
    },
    /// The token is dead: 410 `Unregistered` or 404 `UNREGISTERED`.
    Dead {
        /// APNs' `timestamp`, milliseconds since 1970; the moment of the answer where neither is given.
        #[serde(default)]
        timestamp_ms: Option<i64>,
        /// The same as an age in milliseconds (negative: in the future).
        #[serde(default)]
        timestamp_ago_ms: Option<i64>,
    },
    /// The token belongs to this environment: at the other port it is `BadDeviceToken`.
    Environment {
        /// Where it is good.
        environment: Environment,
    },
    /// RST_STREAM instead of an answer.
    Reset {
        /// Name of the HTTP/2 error, such as `REFUSED_STREAM`.
        code: H2Code,
        /// The notification was taken all the same.
        #[serde(default)]
        accepted: bool,
    },
    /// GOAWAY; the connection ends once what it spares is answered.
    GoAway {
        /// Name of the HTTP/2 error.
        #[serde(default)]
        code: H2Code,
        /// Which streams it spares.
        #[serde(default)]
        last: LastStream,
        /// Debug data, JSON or plain text.
        #[serde(default)]
        debug: String,
    },
    /// The connection is dropped without a word.
    Close {
        /// The notification was taken all the same.
        #[serde(default)]
        accepted: bool,
    },
    /// This request is never answered.
    NoAnswer {
        /// The notification was taken all the same.
        #[serde(default)]
        accepted: bool,
    },
    /// The connection stays open and never reads or writes again, not even a PING's acknowledgement.
    Stall {
        /// The notification was taken all the same.
        #[serde(default)]
        accepted: bool,
    },
    /// The connection itself is at fault, before any request: of the rule's conditions, those about tokens can't
    /// hold. At the FCM port it concerns the token endpoint's connections too.
    Connection {
        /// How the connection fails.
        fault: ConnectionFault,
    },
}

/// What is wrong with a connection from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionFault {
    /// It is closed as soon as it is accepted.
    HangUp,
    /// It is accepted, and nothing more is ever read or written: TLS's handshake does not end.
    Silence,
    /// The certificate is another host's.
    WrongName,
    /// The certificate is of an authority that no client trusts.
    UnknownAuthority,
    /// The window of each stream is zero and stays so: no body gets through (HTTP/2 only).
    ZeroWindow,
}

/// A scripted response.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// APNs' `reason`, FCM's `errorCode`, OAuth's `error`: the body is made of it.
    pub reason: Option<String>,
    /// FCM's human text, OAuth's `error_description`.
    pub message: Option<String>,
    /// APNs' `timestamp` in milliseconds since 1970; with 410 the moment of the answer where neither is given.
    pub timestamp_ms: Option<i64>,
    /// The same as an age in milliseconds (negative: in the future).
    pub timestamp_ago_ms: Option<i64>,
    /// Leaves `timestamp` out of a 410.
    pub without_timestamp: bool,
    /// The header `Retry-After`, verbatim.
    pub retry_after: Option<String>,
    /// `Retry-After` as an HTTP date so many seconds ahead.
    pub retry_after_date_seconds: Option<u64>,
    /// Further headers of the response.
    pub headers: BTreeMap<String, String>,
    /// The whole body instead of one made from `reason`: a string is sent as it is, anything else as JSON.
    pub body: Option<Value>,
    /// The same as base64, for bytes that are no text.
    pub body_base64: Option<String>,
    /// Instead of `application/json`.
    pub content_type: Option<String>,
    /// A GOAWAY follows, with the body as its debug data; streams already open are still answered (APNs' 503
    /// `Shutdown`).
    pub then_go_away: bool,
}

/// Which streams a GOAWAY spares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastStream {
    /// All that came so far: this request is answered.
    #[default]
    This,
    /// Only those below this request: it and later ones were not processed.
    Before,
    /// The graceful form: first 2^31-1, then the true number (RFC 9113, 6.8). Code and debug data are void.
    Graceful,
    /// Exactly this number.
    Stream(u32),
}

/// An HTTP/2 error code by its name in RFC 9113.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2Code {
    /// The HTTP/2 error code 0.
    #[default]
    NoError,
    /// The HTTP/2 error code 1.
    ProtocolError,
    /// The HTTP/2 error code 2.
    InternalError,
    /// The HTTP/2 error code 7.
    RefusedStream,
    /// The HTTP/2 error code 8.
    Cancel,
    /// The HTTP/2 error code 11.
    EnhanceYourCalm,
}

impl H2Code {
    pub(super) fn reason(self) -> h2::Reason {
        match self {
            Self::NoError => h2::Reason::NO_ERROR,
            Self::ProtocolError => h2::Reason::PROTOCOL_ERROR,
            Self::InternalError => h2::Reason::INTERNAL_ERROR,
            Self::RefusedStream => h2::Reason::REFUSED_STREAM,
            Self::Cancel => h2::Reason::CANCEL,
            Self::EnhanceYourCalm => h2::Reason::ENHANCE_YOUR_CALM,
        }
    }
}

impl Rule {
    /// A rule for one device token.
    pub fn token(token: impl Into<String>, action: Action) -> Self {
        Self { token: Some(token.into()), action, ..Self::default() }
    }

    /// A rule for every token that begins with `prefix`.
    pub fn prefix(prefix: impl Into<String>, action: Action) -> Self {
        Self { token_prefix: Some(prefix.into()), action, ..Self::default() }
    }

    /// A rule for every request to one server.
    pub fn provider(provider: Provider, action: Action) -> Self {
        Self { provider: Some(provider), action, ..Self::default() }
    }

    /// The same rule, at most so often.
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The same rule, at most so often for each token.
    pub fn times_per_token(self, times: u64) -> Self {
        Self { times_per_token: Some(times), ..self }
    }

    /// The same rule, with the answer held back.
    pub fn delayed(self, delay: Duration) -> Self {
        Self { delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), ..self }
    }
}

impl Action {
    /// A response made of a status and a reason.
    pub fn answer(status: u16, reason: &str) -> Self {
        Self::Answer(Box::new(Answer { status, reason: Some(reason.to_owned()), ..Answer::default() }))
    }

    /// One of FCM's error bodies.
    pub fn fcm(fault: FcmFault) -> Self {
        Self::FcmFault { fault, retry_after: None, retry_after_date_seconds: None }
    }
}
