//! What an attempt shows about a token. `pruning` stores it after the outcome is recorded.

use chrono::{DateTime, Utc};

use super::{Certainty, DeviceId, Environment, LaneId, Reason, TokenDigest};

/// A provider's verdict that a token is dead. It applies only to that token, and only if the token was not registered
/// again since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenVerdict {
    /// The device of the token.
    pub device: DeviceId,
    /// The lane of the attempt.
    pub lane: LaneId,
    /// The token that was tried.
    pub digest: TokenDigest,
    /// The provider's time of the token's death, else the start of the attempt, by Postgres's clock.
    pub since: DateTime<Utc>,
    /// The reason that the provider gave.
    pub reason: Reason,
    /// Whether the configuration could be the cause.
    pub certainty: Certainty,
}

/// The proof that a token belongs to another APNs environment than stated: APNs accepted it there. It applies only to
/// the token and the stated environment of the attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvironmentProof {
    /// The device of the token.
    pub device: DeviceId,
    /// The token that was tried.
    pub digest: TokenDigest,
    /// The environment that was stated.
    pub stated: Environment,
    /// The environment that accepted the token.
    pub proven: Environment,
}

/// What an attempt showed about a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The provider says that the token is dead.
    Dead(TokenVerdict),
    /// The token belongs to the other environment.
    EnvironmentConfirmed(EnvironmentProof),
}
