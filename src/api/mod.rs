//! HTTP in, domain out; the only place that chooses a reply status.

pub mod auth;
pub mod body;
pub mod devices;
pub mod error;
pub mod health;
pub mod json;
pub mod notifications;
pub mod path;
pub mod problem;
pub mod query;
pub mod rates;
pub mod serve;
pub mod time;

mod leftover;
mod nearest;
mod request;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use sqlx::PgPool;

use crate::domain::{Apps, InstallationKey, Ttl};
use crate::queue::accept::Acceptor;
use crate::queue::backlog::Backlog;
use crate::registry::keys::Keys;
use error::ApiError;
use rates::Rates;

pub use serve::serve;

/// What handlers share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State {
    /// The apps that the configuration names.
    pub apps: Arc<Apps>,
    /// For reads and the registry.
    pub pool: PgPool,
    /// Makes public ids.
    pub installation: InstallationKey,
    /// Who may ask.
    pub keys: Keys,
    /// Where notifications go.
    pub acceptor: Acceptor,
    /// How much waits already.
    pub backlog: Backlog,
    /// How often may be asked.
    pub rates: Arc<Rates>,
    /// How much may be asked.
    pub limits: Limits,
    /// How long a notification lives that does not say.
    pub default_ttl: Ttl,
    /// What `/readyz` says.
    pub health: Arc<health::Health>,
}

/// Limits of requests and of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most bytes of a body.
    pub body_bytes: usize,
    /// Most devices, users and tokens together in one `to`.
    pub targets: usize,
    /// How long requests under way may take to end at shutdown.
    pub drain: Duration,
}

/// Every route.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .merge(notifications::routes())
        .merge(devices::routes())
        .fallback(|| async { ApiError::NotFound })
        .layer(axum::middleware::from_fn(request::surround))
        .with_state(state)
}

#[cfg(test)]
mod tests;
