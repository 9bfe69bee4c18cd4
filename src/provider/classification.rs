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

    /// A retry after the delay that the provider asked for, else after `otherwise`. `otherwise` also decides the
    /// failure domain.
    pub(super) fn retry_after(reason: &str, asked: Option<Duration>, otherwise: MinDelay) -> Self {
        let failure_domain = match otherwise {
            MinDelay::ServerError => FailureDomain::Provider,
            MinDelay::Throttled | MinDelay::Exactly(_) => FailureDomain::Device,
            MinDelay::None => FailureDomain::Connection,
        };
        let min_delay = asked.map_or(otherwise, MinDelay::Exactly);
        Self::keep(Outcome::RetryTarget { reason: Reason::of_provider(reason), min_delay, failure_domain })
    }

    #[cfg(test)]
    pub(super) fn retry(reason: &str, min_delay: MinDelay) -> Self {
        Self::retry_after(reason, None, min_delay)
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
