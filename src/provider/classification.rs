//! What a provider's answer means, beyond the outcome that is recorded.

use std::time::Duration;

use crate::domain::{Certainty, FailureDomain, MinDelay, MisconfigurationScope, Outcome, Reason};

/// An answer, judged. Made by each provider's pure `classify`.
#[derive(Clone, PartialEq, Debug)]
pub struct Classification {
    /// What is recorded of the attempt.
    pub outcome: Outcome,
    /// What becomes of the connection that answered.
    pub connection: ConnectionFate,
    /// The credential was refused as outdated: one resend with a new one before `outcome` holds.
    pub renew: bool,
}

/// What becomes of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionFate {
    /// It goes on.
    Keep,
    /// It gets no new requests; the next ones go elsewhere.
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

    /// A retry after what the provider asked for, else after `otherwise`, which tells where the failure lies.
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

    /// A verdict on the token without a time of its own.
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
