//! Devices: tokens, what they are for, where they came from, and why one was set aside.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Platform;
use super::wire_enum::wire_enum;

/// A device token in its stored form: what identifies the target and, after a space, what else is needed to send to it.
/// Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeviceToken(Box<str>);

/// Says what the tokens of a platform look like, to a caller whose token looks otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadToken(pub &'static str);

impl DeviceToken {
    /// Checks a token as its platform writes it.
    ///
    /// # Errors
    /// [`BadToken`] for what the platform can't have issued.
    pub fn parse(platform: Platform, text: &str) -> Result<Self, BadToken> {
        (platform.facts().parse_token)(text).map(Self::stored)
    }

    /// Wraps a token that was checked when it was stored.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The token itself, for the provider and for keys that may see it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The part that identifies the target: two tokens with the same one are one device.
    pub fn identity(&self) -> &str {
        self.0.split_once(' ').map_or(&*self.0, |(identity, _)| identity)
    }

    /// The last six characters of the identity, which is all that answers, logs and problems show.
    pub fn hint(&self) -> &str {
        let identity = self.identity();
        identity.get(identity.len().saturating_sub(6)..).unwrap_or_default()
    }

    /// What the unique index holds.
    pub fn digest(&self) -> TokenDigest {
        let mut out = [0; 16];
        out.copy_from_slice(&Sha256::digest(self.identity().as_bytes())[..16]);
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
    fn a_token_never_shows_in_debug_or_display() {
        let token = DeviceToken::stored("secret-part-123456".to_owned());
        assert_eq!(format!("{token} {token:?}"), "…123456 …123456");
    }

    #[test]
    fn keys_beside_the_identity_neither_show_nor_make_another_device() {
        let [first, second] = ["https://push.example/c0ffee k1", "https://push.example/c0ffee k2"]
            .map(|text| DeviceToken::stored(text.to_owned()));
        assert_eq!((first.hint(), first.digest()), ("c0ffee", second.digest()));
        assert_ne!(first, second);
    }
}
