//! The outcome of an attempt. It is data, not an error: each provider derives it from the answer, and `dispatch` acts
//! on it.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Reason;

/// Whether a verdict about a token can be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Certainty {
    /// The provider says that the token is gone.
    Certain,
    /// The configuration may be the cause instead. Such a verdict is applied only while there are few of them.
    Doubtful,
}

/// What a misconfiguration concerns. That decides whether the lane is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MisconfigurationScope {
    /// Key, certificate, service account or project. The lane is stopped.
    Credential,
    /// The configured topic. The lane is stopped. A topic that the request chose makes [`Outcome::Rejected`] instead.
    Topic,
    /// The Apple or web key that is stored at Firebase. Apple and web tokens of the FCM lane are retried; the attempt
    /// does not count. The lane goes on.
    StoredKey,
    /// Perhaps an override in the request. This device is retried; the attempt does not count. The lane goes on.
    Override,
}

/// Why a lane as a whole should wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaneCause {
    /// The provider, its token endpoint or the connection to it does not work.
    Outage,
    /// A limit of the whole project or connection was reached.
    Throttled,
}

/// What caused the failure of an attempt that is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureDomain {
    /// A limit of this device, or of this message.
    Device,
    /// The connection, which gets no more requests.
    Connection,
    /// The provider, with a 5xx answer.
    Provider,
}

/// The outcome of one attempt for one device.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The provider accepted the notification. That is no proof of delivery.
    Accepted {
        /// The id that the provider gave the message; none for APNs, because its id is derived.
        provider_id: Option<String>,
    },
    /// The attempt is repeated for this device, after the shortest delay and a random part.
    RetryTarget {
        /// The reason that the provider gave.
        reason: Reason,
        /// The shortest delay before the next attempt.
        min_delay: MinDelay,
        /// What caused the failure. Enough failures of the provider in a row are an outage.
        failure_domain: FailureDomain,
    },
    /// The whole lane must wait. Nothing is recorded for the device, and its job is given back unchanged.
    RetryLane {
        /// The reason that the provider gave.
        reason: Reason,
        /// Why the lane must wait.
        cause: LaneCause,
        /// How long the provider asks to wait.
        after: Option<Duration>,
    },
    /// The provider says that the token is dead.
    TokenDead {
        /// The reason that the provider gave.
        reason: Reason,
        /// Since when, by the provider's clock. None: since the start of the attempt.
        since: Option<DateTime<Utc>>,
        /// Whether the configuration could be the cause.
        certainty: Certainty,
    },
    /// The notification was refused for this device. The token stays valid.
    Rejected {
        /// The reason that the provider gave.
        reason: Reason,
    },
    /// The configuration is wrong, not the message or the token. `about` decides: the lane is stopped and nothing is
    /// recorded, or the device is retried and the lane goes on.
    Misconfigured {
        /// The reason that the provider gave.
        reason: Reason,
        /// What the misconfiguration concerns.
        about: MisconfigurationScope,
    },
    /// The request was written and had no answer: the notification may have been sent.
    Unknown,
    /// The request was not written, because the attempt was no longer valid when a connection was free.
    Withdrawn,
}

/// The shortest delay before the next attempt for a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MinDelay {
    /// The delay that the retry policy has after a 5xx.
    ServerError,
    /// The delay that the retry policy has after a 429.
    Throttled,
    /// The delay that the provider asked for.
    Exactly(Duration),
    /// No delay, because the connection was the cause.
    None,
}
