//! What APNs states about its device tokens and lanes (docs/providers.md#apns-hosts-and-tls).

use std::collections::BTreeMap;

use crate::domain::{
    BadToken, Environment, Environments, Kind, LaneKey, OperatorAdvice, Platform, PlatformFacts,
    ProviderDefaults,
};

/// Devices with builds from the App Store or TestFlight.
pub const PRODUCTION: Environment = Environment::new(1, "production");
/// Devices with development builds.
pub const SANDBOX: Environment = Environment::new(2, "sandbox");

/// Most hexadecimal digits of a token. 200 bytes are generous; Apple does not fix the length
/// (docs/providers.md#apns-request).
const TOKEN_MAX: usize = 400;

const FACTS: &PlatformFacts = &PlatformFacts {
    name: "apns",
    title: "APNs",
    token_title: "an APNs token",
    code: 1,
    environments: Environments::Stated(&[PRODUCTION, SANDBOX]),
    kinds: Kind::ALL,
    parse_token,
    has_object_tokens: false,
    names_messages: false,
    other_environment_reason: Some("BadDeviceToken"),
    advice: OperatorAdvice {
        rejected: rejected_settings,
        // Apple documents no limit for a whole app.
        throttled: "Look for a change in what the backend sends, and at Apple's status page",
        tokens: "topic and environment",
    },
};

/// The settings that one of APNs' words about a credential is about.
fn rejected_settings(reason: &str) -> &'static str {
    match reason {
        "BadTopic" | "MissingTopic" | "TopicDisallowed" => "topic, or the rights of the key for it",
        "ExpiredProviderToken" => "the clock of Postgres, or key_file, key_id and team_id",
        _ => "key_file, key_id and team_id",
    }
}

/// Apple Push Notification service.
pub const PLATFORM: Platform = Platform::new(FACTS);

/// The lane key of an environment.
pub const fn lane(environment: Environment) -> LaneKey {
    LaneKey::new(PLATFORM, Some(environment))
}

/// The key of the app's topics in [`ProviderDefaults`]. A request's `apns-topic` may name these topics only.
pub const TOPICS: &str = "topics";

/// The app's settings that checks of requests and devices need.
pub fn defaults(environment: Environment, topic: &str) -> ProviderDefaults {
    let values = BTreeMap::from([(TOPICS, vec![topic.to_owned()])]);
    ProviderDefaults { environment: Some(environment), values }
}

/// Checks a token and returns it in lower case.
fn parse_token(text: &str) -> Result<String, BadToken> {
    let fits = (2..=TOKEN_MAX).contains(&text.len()) && text.len().is_multiple_of(2);
    if fits && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(BadToken("an APNs token is an even number of hexadecimal digits, at most 400"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeviceToken;

    #[test]
    fn tokens_are_even_hexadecimal_of_any_case_kept_in_lower_case() {
        let token = DeviceToken::parse(PLATFORM, "AAbb01").expect("hexadecimal");
        assert_eq!(token.expose(), "aabb01");
        let longest = "a".repeat(400);
        assert!(DeviceToken::parse(PLATFORM, &longest).is_ok());
        for wrong in ["", "abc", "zz", "aa bb", &"a".repeat(402)] {
            let bad = DeviceToken::parse(PLATFORM, wrong).expect_err(wrong);
            assert_eq!(bad.to_string(), "an APNs token is an even number of hexadecimal digits, at most 400");
        }
    }
}
