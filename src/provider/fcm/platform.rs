//! What FCM states about its device tokens and its lane.

use crate::domain::{
    BadToken, Environments, Kind, LaneKey, OperatorAdvice, Platform, PlatformFacts, ProviderDefaults,
};

/// Most characters of a token.
const TOKEN_MAX: usize = 4096;

const FACTS: &PlatformFacts = &PlatformFacts {
    name: "fcm",
    title: "FCM",
    token_title: "an FCM token",
    code: 2,
    environments: Environments::None,
    kinds: &[Kind::Alert],
    parse_token,
    has_object_tokens: false,
    names_messages: true,
    other_environment_reason: None,
    advice: OperatorAdvice {
        rejected: |_| "the service account, its rights in the Firebase project, or the project's id",
        throttled: "Compare messages_per_minute with the project's quota, or ask for a higher quota",
        tokens: "the Firebase project of the service account",
    },
};

/// Firebase Cloud Messaging.
pub const PLATFORM: Platform = Platform::new(FACTS);

/// The only lane of FCM, because FCM has no environments.
pub const LANE: LaneKey = LaneKey::new(PLATFORM, None);

/// The key of the app's Android channel in [`ProviderDefaults`], for notifications that name none.
pub const CHANNEL: &str = "channel";

/// The app's settings that checks of requests and devices need.
pub fn defaults(channel: Option<String>) -> ProviderDefaults {
    let values = channel.map(|channel| (CHANNEL, vec![channel]));
    ProviderDefaults { environment: None, values: values.into_iter().collect() }
}

fn parse_token(text: &str) -> Result<String, BadToken> {
    let fits = (1..=TOKEN_MAX).contains(&text.len());
    if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(BadToken("an FCM token is 1 to 4096 visible ASCII characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DeviceToken;

    #[test]
    fn tokens_are_visible_ascii_with_their_case_kept() {
        let token = DeviceToken::parse(PLATFORM, "dQw4:APA91b_-").expect("visible ASCII");
        assert_eq!(token.expose(), "dQw4:APA91b_-");
        for wrong in ["", "a b", "é", "a\n", &"a".repeat(4097)] {
            let bad = DeviceToken::parse(PLATFORM, wrong).expect_err("no token");
            assert_eq!(bad.to_string(), "an FCM token is 1 to 4096 visible ASCII characters");
        }
    }
}
