//! Devices: their tokens, the kinds of tokens, the sources of devices, and reasons for a quarantine.

use std::fmt;

use sha2::{Digest, Sha256};

use super::Platform;
use super::wire_enum::wire_enum;

/// A device token in its stored form: what identifies the target and, after a space, what else is needed to send to it.
/// Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DeviceToken(Box<str>);

/// The error of a text that is not a token of its platform. The message describes the form of the tokens.
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

    /// Wraps a stored token without checking it again.
    pub fn stored(text: String) -> Self {
        Self(text.into())
    }

    /// The token itself, for the provider and for callers that may see it.
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

    /// The digest that the unique index holds.
    pub fn digest(&self) -> TokenDigest {
        let mut out = [0; 16];
        out.copy_from_slice(&Sha256::digest(self.identity().as_bytes())[..16]);
        TokenDigest(out)
    }
}

/// There is no `Display`, so that no message can name a token.
impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{}", self.hint())
    }
}

/// The first 16 bytes of a token's SHA-256. The index holds digests because tokens may be longer than an index row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TokenDigest(pub [u8; 16]);

wire_enum! {
    /// What a token is for. A notification reaches only APNs devices of the kind that its push type needs; FCM devices
    /// have no kind but `alert`.
    Kind {
        /// Visible and background notifications.
        Alert = 0 "alert",
        /// Calls through PushKit.
        Voip = 1 "voip",
        /// Updates and ends of one Live Activity.
        LiveActivity = 2 "liveactivity",
        /// Starts of Live Activities.
        LiveActivityStart = 3 "liveactivity-start",
        /// Queries of the location.
        Location = 4 "location",
        /// Updates of complications on a watch.
        Complication = 5 "complication",
        /// Changes signalled to file providers.
        FileProvider = 6 "fileprovider",
        /// Calls of Push to Talk.
        PushToTalk = 7 "pushtotalk",
        /// Reloads of widgets.
        Widgets = 8 "widgets",
        /// Reloads of controls.
        Controls = 9 "controls",
    }
}

wire_enum! {
    /// How a device became known.
    Source {
        /// It was registered by `PUT /v1/devices`.
        Registered = 0 "registered",
        /// Its token was in `to.tokens` of a notification. It was never registered.
        Send = 1 "send",
        /// It was imported.
        Import = 2 "import",
    }
}

/// Why a device is quarantined: the provider's reason, or a [`PushpostReason`](super::PushpostReason).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuarantineReason(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_shows_in_debug_or_display() {
        let token = DeviceToken::stored("secret-part-123456".to_owned());
        assert_eq!(format!("{token:?}"), "…123456");
    }

    #[test]
    fn keys_beside_the_identity_neither_show_nor_make_another_device() {
        let [first, second] = ["https://push.example/c0ffee k1", "https://push.example/c0ffee k2"]
            .map(|text| DeviceToken::stored(text.to_owned()));
        assert_eq!((first.hint(), first.digest()), ("c0ffee", second.digest()));
        assert_ne!(first, second);
    }
}
