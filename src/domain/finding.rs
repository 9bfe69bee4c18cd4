//! What an attempt showed about a token, with all that decides whether it may be believed.

use chrono::{DateTime, Utc};

use super::{Certainty, DeviceId, Environment, LaneId, Reason, TokenDigest};

/// A provider's word that a token is dead. It applies only to the token that it was about, and only if nobody has
/// registered that token since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenVerdict {
    /// Whose token.
    pub device: DeviceId,
    /// Where it was said.
    pub lane: LaneId,
    /// The token that was tried.
    pub digest: TokenDigest,
    /// The provider's timestamp, else when the attempt began (Postgres's clock).
    pub since: DateTime<Utc>,
    /// Provider's word.
    pub reason: Reason,
    /// Whether configuration could be the cause.
    pub certainty: Certainty,
}

/// APNs took a token in another environment than the one that it was said to belong to. It counts only for the token
/// and the environment that were tried.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvironmentProof {
    /// Whose token.
    pub device: DeviceId,
    /// The token that was tried.
    pub digest: TokenDigest,
    /// What it was said to be.
    pub stated: Environment,
    /// What it is.
    pub proven: Environment,
}

/// What is to be noted about a token after an attempt is on record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The provider calls it dead.
    Dead(TokenVerdict),
    /// It belongs to the other environment.
    EnvironmentConfirmed(EnvironmentProof),
}
