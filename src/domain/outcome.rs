//! What an attempt came to. An outcome is data, not an error: `classify` of each provider makes it from an answer.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Reason;

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
