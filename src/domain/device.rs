//! Devices: tokens, what they are for, where they came from, and why one was set aside.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Platform;
use super::wire_enum::wire_enum;

/// Most characters of an FCM token.
pub const FCM_TOKEN_MAX: usize = 4096;
/// Most hexadecimal digits of an APNs token: 200 bytes, generous, since its length is not fixed
/// (docs/providers.md#apns-request).
const APNS_TOKEN_MAX: usize = 400;

/// A device token in its stored form. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeviceToken(Box<str>);

/// Why a token can't be one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadToken {
    /// An APNs token is hexadecimal with an even number of digits, 2 to 400.
    #[error("an APNs token is an even number of hexadecimal digits, at most {APNS_TOKEN_MAX}")]
    Apns,
    /// An FCM token is 1 to 4,096 visible ASCII characters.
    #[error("an FCM token is 1 to {FCM_TOKEN_MAX} visible ASCII characters")]
    Fcm,
}

impl DeviceToken {
    /// Checks a token as its platform writes them; APNs's are kept in lower case.
    pub fn parse(platform: Platform, text: &str) -> Result<Self, BadToken> {
        match platform {
            Platform::Apns => {
                let fits = (2..=APNS_TOKEN_MAX).contains(&text.len()) && text.len().is_multiple_of(2);
                if fits && text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    Ok(Self(text.to_ascii_lowercase().into()))
                } else {
                    Err(BadToken::Apns)
                }
            }
            Platform::Fcm => {
                let fits = (1..=FCM_TOKEN_MAX).contains(&text.len());
                if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
                    Ok(Self(text.into()))
                } else {
                    Err(BadToken::Fcm)
                }
            }
        }
    }

    /// Wraps a token that was checked when it was stored.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The token itself, for the provider and for keys that may see it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last six characters, which is all that answers, logs and problems show.
    pub fn hint(&self) -> &str {
        self.0.get(self.0.len().saturating_sub(6)..).unwrap_or_default()
    }

    /// What the unique index holds.
    pub fn digest(&self) -> TokenDigest {
        let mut out = [0; 16];
        out.copy_from_slice(&Sha256::digest(self.0.as_bytes())[..16]);
        TokenDigest(out)
    }
}

impl fmt::Display for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{}", self.hint())
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first 16 bytes of a token's SHA-256: tokens may exceed what an index row takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenDigest(pub [u8; 16]);

/// A user, as the backend names them: 1 to 128 bytes without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Box<str>);

impl UserId {
    /// Longest id, in bytes.
    pub const MAX: usize = 128;

    /// Checks the form.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }

    /// Wraps one that was checked when it was stored.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(…)")
    }
}

wire_enum! {
    /// What a token is for. A notification reaches only APNs devices of the kind that its push type needs; FCM devices
    /// have no kind but `alert`.
    Kind {
        /// Visible and background pushes.
        Alert = 0 "alert",
        /// PushKit calls.
        Voip = 1 "voip",
        /// Updates and ends of one Live Activity.
        LiveActivity = 2 "liveactivity",
        /// Starts of Live Activities.
        LiveActivityStart = 3 "liveactivity-start",
        /// Location queries.
        Location = 4 "location",
        /// Watch complications.
        Complication = 5 "complication",
        /// File providers.
        FileProvider = 6 "fileprovider",
        /// Push to Talk.
        PushToTalk = 7 "pushtotalk",
        /// Widgets.
        Widgets = 8 "widgets",
        /// Controls.
        Controls = 9 "controls",
    }
}

wire_enum! {
    /// How a device came to be known.
    Source {
        /// By `PUT /v1/devices`.
        Registered = 0 "registered",
        /// Through the tokens of a send; nobody has registered it.
        Send = 1 "send",
        /// By an import.
        Import = 2 "import",
    }
}

/// Why a device was set aside: the provider's word, or one of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuarantineReason(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apns_tokens_are_even_hexadecimal_of_any_case_kept_in_lower_case() {
        let token = DeviceToken::parse(Platform::Apns, "AAbb01").expect("hexadecimal");
        assert_eq!(token.expose(), "aabb01");
        let longest = "a".repeat(400);
        assert!(DeviceToken::parse(Platform::Apns, &longest).is_ok());
        for wrong in ["", "abc", "zz", "aa bb", &"a".repeat(402)] {
            assert_eq!(DeviceToken::parse(Platform::Apns, wrong), Err(BadToken::Apns), "{wrong}");
        }
    }

    #[test]
    fn fcm_tokens_are_visible_ascii_with_their_case_kept() {
        let token = DeviceToken::parse(Platform::Fcm, "dQw4:APA91b_-").expect("visible ASCII");
        assert_eq!(token.expose(), "dQw4:APA91b_-");
        for wrong in ["", "a b", "é", "a\n", &"a".repeat(4097)] {
            assert_eq!(DeviceToken::parse(Platform::Fcm, wrong), Err(BadToken::Fcm));
        }
    }

    #[test]
    fn a_token_never_shows_in_debug_or_display() {
        let token = DeviceToken::parse(Platform::Fcm, "secret-part-123456").expect("visible ASCII");
        assert_eq!(format!("{token} {token:?}"), "…123456 …123456");
    }
}
