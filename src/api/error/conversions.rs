//! Which [`ApiError`] the errors of the modules below become.

use std::sync::Arc;

use super::{ApiError, Repeat};
use crate::api::json::NoItems;
use crate::api::rates::RateExceeded;
use crate::domain::{BadUserToken, ValidationError};
use crate::queue::{accept, backlog};
use crate::store;

impl From<Vec<ValidationError>> for ApiError {
    fn from(faults: Vec<ValidationError>) -> Self {
        Self::Invalid(faults)
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        Self::from(Arc::new(error))
    }
}

/// Of an error that several parts of a request share.
impl From<Arc<store::Error>> for ApiError {
    fn from(error: Arc<store::Error>) -> Self {
        match *error {
            store::Error::OutcomeUnknown => Self::OutcomeUnknown(Repeat::Harmless),
            _ if matches!(*error, store::Error::Contended) || error.is_lock_timeout() => {
                Self::Contended(error)
            }
            _ if error.is_unavailable() => Self::Unavailable(Some(error)),
            _ => Self::Internal(error),
        }
    }
}

impl From<NoItems> for ApiError {
    fn from(none: NoItems) -> Self {
        match none {
            NoItems::Fault(fault) => Self::fault(*fault),
            NoItems::TooMany(limit) => Self::TooManyItems(limit),
        }
    }
}

impl From<accept::Error> for ApiError {
    fn from(error: accept::Error) -> Self {
        match error {
            accept::Error::Unavailable => Self::Unavailable(None),
            accept::Error::OutcomeUnknown => Self::OutcomeUnknown(Repeat::MaySendTwice),
            accept::Error::KeyReused => Self::IdempotencyKeyReused,
            accept::Error::KeyInUse => Self::IdempotencyKeyInUse,
            accept::Error::Full => Self::QueueFull(None),
            accept::Error::ShuttingDown => Self::ShuttingDown,
            accept::Error::Poisoned(_) => Self::internal(error),
        }
    }
}

impl From<BadUserToken> for ApiError {
    fn from(bad: BadUserToken) -> Self {
        Self::UserTokenInvalid(bad)
    }
}

impl From<RateExceeded> for ApiError {
    fn from(too_fast: RateExceeded) -> Self {
        Self::RateLimited(too_fast)
    }
}

impl From<backlog::BacklogFull> for ApiError {
    fn from(full: backlog::BacklogFull) -> Self {
        Self::QueueFull(Some(full.limit))
    }
}
