//! For unit tests only: a platform that differs from the built-in ones. Its token is an object of two parts, and the
//! environment is found in the token.

use serde_json::Value;

use super::{BadToken, Environment, Environments, Kind, OperatorAdvice, Platform, PlatformFacts};

/// Devices with endpoints at `east.example`.
pub(crate) const EAST: Environment = Environment::new(1, "east");
/// Devices with other endpoints.
pub(crate) const WEST: Environment = Environment::new(2, "west");

/// The platform. A token is `{"endpoint": "…", "key": "…"}`.
pub(crate) const STRUCTURED: Platform = Platform::new(&PlatformFacts {
    name: "structured",
    title: "Structured",
    token_title: "a structured token",
    code: 7,
    environments: Environments::InToken {
        all: &[EAST, WEST],
        of: |token| if token.expose().starts_with("east.example") { EAST } else { WEST },
    },
    kinds: &[Kind::Alert],
    parse_token: |text| {
        let parts: Option<Value> = serde_json::from_str(text).ok();
        let part = |name: &str| parts.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let stored = || text.split_once(' ').map(|(endpoint, key)| (endpoint.to_owned(), key.to_owned()));
        let both = part("endpoint").zip(part("key")).or_else(stored);
        both.map(|(endpoint, key)| format!("{endpoint} {key}")).ok_or(BadToken("no endpoint and key"))
    },
    has_object_tokens: true,
    names_messages: true,
    other_environment_reason: None,
    advice: OperatorAdvice::GENERAL,
});
