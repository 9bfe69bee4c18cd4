//! HTTP in, domain out; the only place that chooses a reply status.

mod admin;
pub mod auth;
pub mod body;
mod cors;
mod delivery;
pub mod devices;
pub mod error;
pub mod health;
pub mod json;
mod listener_router;
pub mod notifications;
pub mod parse_pool;
pub mod path;
pub mod problem;
pub mod query;
pub mod rates;
pub mod serve;
pub mod time;

mod drain_body;
mod request;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::audience::AudienceResolver;
use crate::domain::{InstallationKey, Origin, ServedApps, Ttl};
use crate::queue::accept::Acceptor;
use crate::queue::backlog::Backlog;
use crate::queue::notifier::Notifier;
use crate::registry::keys::ApiKeys;
use crate::store::SessionPool;
use error::ApiError;
use parse_pool::ParsePool;
use rates::RateLimiter;

pub use listener_router::ListenerRouter;
pub use serve::serve;

/// What handlers share. Cheap to clone: each request does so, on all cores.
#[derive(Clone, Debug)]
pub struct State(Arc<StateParts>);

/// What is in a [`State`].
#[derive(Debug)]
pub struct StateParts {
    /// The apps that this node serves. A key of another app is 401.
    pub apps: Arc<ServedApps>,
    /// For reads and the registry.
    pub pool: SessionPool,
    /// Looks up audiences.
    pub resolver: AudienceResolver,
    /// Makes public ids.
    pub installation: InstallationKey,
    /// Who may ask.
    pub keys: ApiKeys,
    /// Where notifications go.
    pub acceptor: Acceptor,
    /// How much waits already.
    pub backlog: Backlog,
    /// How often may be asked.
    pub rates: Arc<RateLimiter>,
    /// How much may be asked.
    pub limits: ApiLimits,
    /// Origins of the pages that may make the calls of a `register` key.
    pub cors_origins: Arc<[Origin]>,
    /// Where long bodies are read.
    pub parse_pool: ParsePool,
    /// How long a notification lives that does not say.
    pub default_ttl: Ttl,
    /// What `/readyz` says.
    pub health: Arc<health::Health>,
    /// Tells nodes what operators decided.
    pub notifier: Notifier,
}

impl From<StateParts> for State {
    fn from(shared: StateParts) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for State {
    type Target = StateParts;

    fn deref(&self) -> &StateParts {
        &self.0
    }
}

/// Which part of the API a listener answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surface {
    /// Everything.
    All,
    /// What clients may reach, where operators have a listener of their own.
    Public,
    /// What only operators may reach.
    Internal,
    /// `/healthz` and `/readyz` alone: a node that only sends.
    Health,
}

/// ApiLimits of requests and of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiLimits {
    /// Most bytes of a body.
    pub body_bytes: usize,
    /// Most devices, users and tokens together in one `to`.
    pub targets: usize,
    /// How long requests under way may take to end at shutdown.
    pub drain: Duration,
    /// How long a connection without a request is kept after its last answer.
    pub keep_alive: Duration,
}

/// The routes of a surface.
pub fn router(state: State, surface: Surface) -> Router {
    let health = health::routes(Arc::clone(&state.health));
    let public = || notifications::routes().merge(devices::routes());
    let routes = match surface {
        Surface::All => health.merge(public()).merge(admin::routes()),
        Surface::Public => health.merge(public()),
        Surface::Internal => health.merge(admin::routes()),
        Surface::Health => health,
    };
    let origins = Arc::clone(&state.cors_origins);
    let routes = routes.fallback(|| async { ApiError::NotFound }).with_state(state);
    if origins.is_empty() {
        return request::surrounded(routes);
    }
    let preflight = from_fn_with_state(Arc::clone(&origins), cors::preflight);
    request::surrounded(routes.layer(preflight)).layer(from_fn_with_state(origins, cors::mark))
}

#[cfg(test)]
mod tests;
