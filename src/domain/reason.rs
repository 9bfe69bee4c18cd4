//! Reasons: why a delivery ended as it did, why a lane waits, why a device is quarantined. Answers of the API show
//! them.
//!
//! A provider's reason is open text, kept as far as it is harmless. Pushpost's own reasons are [`PushpostReason`], a
//! closed list that `docs/reasons.md` explains.

use std::fmt;

/// A reason that may be stored and shown: at most 64 printable ASCII characters, of a transport error 200, so that no
/// statement can fail on what a provider wrote (docs/queue.md#poisoned-values).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reason(String);

macro_rules! pushpost_reasons {
    ($($(#[$doc:meta])* $variant:ident $text:literal,)*) => {
        /// A reason that Pushpost gives itself. The texts are public API: `docs/reasons.md` lists them.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum PushpostReason { $($(#[$doc])* $variant,)* }

        impl PushpostReason {
            /// Every reason, in the order of `docs/reasons.md`.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The text in answers and in the database.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

pushpost_reasons! {
    /// A request was written to a provider that never answered it.
    NoAnswer "no_answer",
    /// The time to live ended before the first attempt.
    Ttl "ttl",
    /// The device waits because its lane is paused.
    LanePaused "lane_paused",
    /// The device waits because its lane is suspended.
    LaneSuspended "lane_suspended",
    /// The device is due, and its provider is out of reach or fails.
    LaneBroken "lane_broken",
    /// The device is due, and its provider asked the lane to wait.
    LaneThrottled "lane_throttled",
    /// The notification was cancelled by a request.
    Requested "requested",
    /// The device was addressed through a user and has another user now.
    UserChanged "user_changed",
    /// The device was deleted.
    DeviceGone "device_gone",
    /// The device was quarantined before the attempt.
    Quarantined "quarantined",
    /// The app has no credentials for the device's lane.
    PlatformNotConfigured "platform_not_configured",
    /// The token can't be read, and the request says `"on_bad_token": "reject"`.
    BadToken "bad_token",
    /// The token is of a service that Pushpost does not send to, and the request says `"on_bad_token": "reject"`.
    UnsupportedPlatform "unsupported_platform",
    /// The device's token is of another kind than the notification needs.
    WrongKind "wrong_kind",
    /// The content has nothing that a device of this platform could show or do.
    NothingToSend "nothing_to_send",
    /// An error in Pushpost itself; the log has it.
    Internal "internal",
    /// The provider gave no reason, or one that must not be repeated.
    Unspecified "unspecified",
    /// The app has a newer token, which took the place of this one.
    Replaced "replaced",
    /// A clean-up run quarantined the device, because its app had not been opened for long.
    Inactive "inactive",
}

impl Reason {
    /// Longest reason of a delivery.
    pub const MAX: usize = 64;
    /// Longest reason of a lane: the cause of a transport error stands at its end, after the host or the proxy.
    pub const OF_LANE_MAX: usize = 200;
    /// A provider's reason has at most this many digits.
    const DIGITS_MAX: usize = 4;

    /// Keeps printable ASCII, cut at [`Self::MAX`] characters.
    pub fn new(text: &str) -> Self {
        Self::cut(text, Self::MAX)
    }

    /// A reason of a lane, in Pushpost's words: cut at [`Self::OF_LANE_MAX`] characters. No delivery stores it.
    pub fn of_lane(text: &str) -> Self {
        Self::cut(text, Self::OF_LANE_MAX)
    }

    fn cut(text: &str, max: usize) -> Self {
        let kept: String = text.chars().filter(|c| matches!(c, ' '..='~')).take(max).collect();
        if kept.is_empty() { PushpostReason::Unspecified.into() } else { Self(kept) }
    }

    /// A reason that a provider wrote. It must be letters, `_` and few digits: anything else may repeat a token or the
    /// content of a notification, which must not be logged.
    pub fn of_provider(text: &str) -> Self {
        let reason = Self::new(text);
        let is_harmless = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let digits = reason.0.bytes().filter(u8::is_ascii_digit).count();
        match reason.0.bytes().all(is_harmless) && digits <= Self::DIGITS_MAX {
            true => reason,
            false => PushpostReason::Unspecified.into(),
        }
    }

    /// The text in answers and in the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PushpostReason> for Reason {
    fn from(reason: PushpostReason) -> Self {
        Self(reason.as_str().to_owned())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_printable_ascii_of_bounded_length() {
        assert_eq!(Reason::new("Bad\u{0}De\u{e9}vice\nToken").as_str(), "BadDeviceToken");
        assert_eq!(Reason::new(&"x".repeat(500)).as_str().len(), Reason::MAX);
        assert_eq!(Reason::of_lane(&"x\u{e9}".repeat(500)).as_str(), "x".repeat(Reason::OF_LANE_MAX));
        assert_eq!(Reason::new("\u{0}").as_str(), "unspecified");
        for word in ["BadDevice\u{0}Token", "SENDER_ID_MISMATCH", "invalid_grant", "503", "Http2Error"] {
            assert_eq!(Reason::of_provider(word), Reason::new(word));
        }
        for other in ["c0ffee15c0ffee15", "Your code is 4938", "fcm:token", "a-b", ""] {
            assert_eq!(Reason::of_provider(other).as_str(), "unspecified", "{other}");
        }
    }

    #[test]
    fn own_reasons_can_be_stored() {
        for reason in PushpostReason::ALL {
            assert_eq!(Reason::from(*reason), Reason::of_provider(reason.as_str()));
        }
    }
}
