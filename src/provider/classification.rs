//! The classification of a provider's answer: the recorded outcome, and what happens to the connection and the token.

use std::time::Duration;

use crate::domain::{Certainty, FailureDomain, MinDelay, MisconfigurationScope, Outcome, Reason};

/// A classified answer. Each provider's pure function `classify` returns one.
#[derive(Clone, PartialEq, Debug)]
pub struct Classification {
    /// The outcome that is recorded for the attempt.
    pub outcome: Outcome,
    /// Whether the connection that answered is used further.
    pub connection: ConnectionFate,
    /// The access token was refused as outdated. The request is sent once more with a new token before `outcome`
    /// counts.
    pub renew: bool,
}

/// Whether a connection is used for further requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionFate {
    /// The connection takes further requests.
    Keep,
    /// The connection gets no new requests; later requests use other connections.
    Retire,
}

impl Classification {
    pub(super) fn keep(outcome: Outcome) -> Self {
        Self { outcome, connection: ConnectionFate::Keep, renew: false }
    }

    pub(super) fn accepted(provider_id: Option<String>) -> Self {
        Self::keep(Outcome::Accepted { provider_id })
    }

    pub(super) fn rejected(reason: &str) -> Self {
        Self::keep(Outcome::Rejected { reason: Reason::of_provider(reason) })
    }

    pub(super) fn misconfigured(reason: &str, about: MisconfigurationScope) -> Self {
        Self::keep(Outcome::Misconfigured { reason: Reason::of_provider(reason), about })
    }

    /// A fault of the provider. The retry waits as long as the provider asked, else as after a 5xx.
    pub(super) fn server_error(reason: &str, asked: Option<Duration>) -> Self {
        Self::retry(reason, asked, MinDelay::ServerError, FailureDomain::Provider)
    }

    /// Too many messages to this device. The retry waits as long as the provider asked, else as after a 429.
    pub(super) fn throttled(reason: &str, asked: Option<Duration>) -> Self {
        Self::retry(reason, asked, MinDelay::Throttled, FailureDomain::Device)
    }

    /// The connection is of no more use. The retry waits as long as the provider asked, else not at all.
    pub(super) fn connection_ended(reason: &str, asked: Option<Duration>) -> Self {
        Self::retry(reason, asked, MinDelay::None, FailureDomain::Connection).retire()
    }

    fn retry(
        reason: &str,
        asked: Option<Duration>,
        otherwise: MinDelay,
        failure_domain: FailureDomain,
    ) -> Self {
        let min_delay = asked.map_or(otherwise, MinDelay::Exactly);
        Self::keep(Outcome::RetryTarget { reason: Reason::of_provider(reason), min_delay, failure_domain })
    }

    /// A dead token, without the time since when it is dead.
    pub(super) fn dead(reason: &str, certainty: Certainty) -> Self {
        Self::keep(Outcome::TokenDead { reason: Reason::of_provider(reason), since: None, certainty })
    }

    pub(super) fn retire(self) -> Self {
        Self { connection: ConnectionFate::Retire, ..self }
    }

    pub(super) fn renew(self) -> Self {
        Self { renew: true, ..self }
    }
}
