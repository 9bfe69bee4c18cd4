//! What a provider said against a token, with all that decides whether it may be believed.

use chrono::{DateTime, Utc};

use super::{Certainty, DeviceId, LaneId, Reason, TokenDigest};

/// A provider's word that a token is dead. It applies only to the token that it was about, and only if nobody has
/// registered that token since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
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
