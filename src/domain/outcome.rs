//! What an attempt came to. An outcome is data, not an error: `classify` of each provider makes it from an answer.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// The provider's own word, or one of ours: at most 64 printable ASCII characters, of a transport fault 200, so that no
/// statement can fail on what a provider wrote (docs/queue.md#poisoned-values).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reason(String);

/// In place of a word that can't be kept.
const UNSPECIFIED: &str = "unspecified";

impl Reason {
    /// Longest reason kept of what is said of a device.
    pub const MAX: usize = 64;
    /// Longest reason kept of what is said of a lane: the cause of a transport fault stands at its end, after the host
    /// or the proxy.
    pub const OF_LANE_MAX: usize = 200;
    /// Most digits of a provider's word.
    const DIGITS_MAX: usize = 4;

    /// Keeps what is printable ASCII, cut at 64 characters.
    pub fn new(text: &str) -> Self {
        Self::cut(text, Self::MAX)
    }

    /// The same for why a lane stops, in our own words: cut at 200 characters. No delivery stores it.
    pub fn of_lane(text: &str) -> Self {
        Self::cut(text, Self::OF_LANE_MAX)
    }

    fn cut(text: &str, max: usize) -> Self {
        let kept: String = text.chars().filter(|c| matches!(c, ' '..='~')).take(max).collect();
        Self(if kept.is_empty() { UNSPECIFIED.to_owned() } else { kept })
    }

    /// The same for what a provider wrote. A word is letters, `_` and few digits; all else may repeat a token, or what a
    /// notification says, which must not be logged.
    pub fn of_provider(text: &str) -> Self {
        let reason = Self::new(text);
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let digits = reason.0.bytes().filter(u8::is_ascii_digit).count();
        match reason.0.bytes().all(is_word) && digits <= Self::DIGITS_MAX {
            true => reason,
            false => Self(UNSPECIFIED.to_owned()),
        }
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
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

/// How far a verdict about a token can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Certainty {
    /// The provider says that the token is gone.
    Certain,
    /// It may as well be our configuration: applied only while such verdicts are few.
    Doubtful,
}

/// What a misconfiguration is about, which decides whom it stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MisconfigurationScope {
    /// Key, certificate, service account or project: the lane.
    Credential,
    /// The topic: the lane if it is the configured one, else this notification only.
    Topic,
    /// The Apple or web key stored at Firebase: Apple and web tokens of an FCM lane only.
    StoredKey,
    /// What the request's own overrides asked for, perhaps: this device only.
    Override,
}

/// Why a lane as a whole should wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaneCause {
    /// The provider, its token endpoint or the way there is out of order.
    Outage,
    /// A limit of the whole project or connection was hit.
    Throttled,
}

/// Where the failure lies that a device must be tried again for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureDomain {
    /// A limit of this device, or of this message.
    Device,
    /// The connection's, which gets no more requests.
    Connection,
    /// The provider's: a 5xx.
    Provider,
}

/// What one attempt for one device came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The provider took it. Never proof of delivery.
    Accepted {
        /// FCM's message name; none for APNs, whose id is derived.
        provider_id: Option<String>,
    },
    /// This device's turn comes again, after its shortest delay and a random part.
    RetryTarget {
        /// Provider's word.
        reason: Reason,
        /// Least wait.
        min_delay: MinDelay,
        /// Where the failure lies: enough failures of the provider in a row are an outage.
        failure_domain: FailureDomain,
    },
    /// Not this device's fault: nothing is recorded, the job goes back as it was, the lane waits.
    RetryLane {
        /// Provider's word.
        reason: Reason,
        /// What for.
        cause: LaneCause,
        /// The provider's own wish.
        after: Option<Duration>,
    },
    /// The provider calls the token dead.
    TokenDead {
        /// Provider's word.
        reason: Reason,
        /// Since when, by the provider's clock; none: the start of the attempt counts.
        since: Option<DateTime<Utc>>,
        /// Whether configuration could be the cause.
        certainty: Certainty,
    },
    /// Refused for this device; the token stays.
    Rejected {
        /// Provider's word.
        reason: Reason,
    },
    /// Nothing wrong with message or token: nothing is recorded, and what `about` names is stopped.
    Misconfigured {
        /// Provider's word.
        reason: Reason,
        /// What it is about.
        about: MisconfigurationScope,
    },
    /// Written to a provider that never answered: it may have been sent.
    Unknown,
    /// Not written at all: it was no longer to be made when its turn on a connection came.
    Withdrawn,
}

/// Least wait before a device's next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MinDelay {
    /// The policy's, after a 5xx.
    ServerError,
    /// The policy's, after a 429.
    Throttled,
    /// The provider said how long.
    Exactly(Duration),
    /// None: the connection was at fault.
    None,
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
}
