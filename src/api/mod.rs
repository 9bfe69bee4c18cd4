//! The HTTP API. Handlers read requests into domain types, call the modules below, and answer. A new endpoint is a file with
//! a handler, its `#[utoipa::path]`, and a line in the `routes` of its folder.

mod accept;
pub mod admin;
mod audit;
pub mod auth;
pub mod batch_permits;
pub mod body;
mod cors;
pub mod dashboard;
mod delivery;
pub mod devices;
mod docs;
pub mod error;
pub mod events;
pub mod health;
pub mod json;
mod listener_router;
mod measure;
mod metrics;
pub mod named;
pub mod notifications;
pub mod openapi;
pub mod parse_pool;
pub mod path;
pub mod problem;
pub mod query;
pub mod rates;
mod schema_enums;
mod scrapes;
pub mod serve;
mod time;
mod topics;
mod users;

mod drain_body;
mod request_id;
mod request_layer;
mod request_log;
mod request_trace;
mod trace_layer;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa_axum::router::OpenApiRouter;

use crate::audience::DeviceLookup;
use crate::domain::{InstallationKey, Origin, ServedApps, Ttl};
use crate::events::EventLog;
use crate::events::webhooks::WebhookRegistry;
use crate::notifications::deliveries::StreamPermits;
use crate::provider::Providers;
use crate::queue::accept::Acceptor;
use crate::queue::backlog::Backlog;
use crate::queue::node_lease::NodeLease;
use crate::queue::notifier::Notifier;
use crate::registry::keys::ApiKeys;
use crate::store::SessionPool;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::{TracePage, Tracer};
use batch_permits::BatchPermits;
use dashboard::DashboardLive;
use error::{ApiError, NotFoundKind};
use metrics::MetricsAccess;
use parse_pool::ParsePool;
use rates::RateLimiter;
use request_layer::RequestLayer;

pub use listener_router::ListenerRouter;
pub use serve::serve;

/// What handlers share. Cheap to clone, because each request clones it.
#[derive(Clone, Debug)]
pub struct State(Arc<StateParts>);

/// The parts of a [`State`].
#[derive(Debug)]
pub struct StateParts {
    /// The apps that this node serves. A key of another app is answered 401.
    pub apps: Arc<ServedApps>,
    /// The providers that notifications may go through.
    pub providers: Providers,
    /// The connections of reads and of the registry.
    pub pool: SessionPool,
    /// What explains or shows to operators is read through it, so that requests don't wait for that.
    pub observe: SessionPool,
    /// Finds the devices of audiences.
    pub lookup: DeviceLookup,
    /// Makes public ids.
    pub installation: InstallationKey,
    /// Recognises API keys.
    pub keys: ApiKeys,
    /// Stores accepted notifications.
    pub acceptor: Acceptor,
    /// Limits how many devices of an app may wait.
    pub backlog: Backlog,
    /// Limits the rate of requests.
    pub rates: Arc<RateLimiter>,
    /// Limits of single requests and of the server.
    pub limits: ApiLimits,
    /// Origins of the web pages that may make the calls of a `register` key.
    pub cors_origins: Arc<[Origin]>,
    /// Parses long bodies on threads of their own.
    pub parse_pool: ParsePool,
    /// Batches of notifications that are carried out at the same time.
    pub batch_permits: BatchPermits,
    /// Pages of streams of deliveries that are read at the same time.
    pub stream_permits: StreamPermits,
    /// The event log. None: the configuration keeps none.
    pub events: Option<EventLog>,
    /// What the pages of the dashboard show while they are open.
    pub live: DashboardLive,
    /// The webhooks of the configuration.
    pub webhooks: Arc<WebhookRegistry>,
    /// The time to live of notifications that state none.
    pub default_ttl: Ttl,
    /// What `/readyz` answers.
    pub health: Arc<health::Health>,
    /// Tells other nodes that an operator decided something.
    pub notifier: Notifier,
    /// Has Postgres's time, by which user tokens are judged.
    pub node_lease: Arc<NodeLease>,
    /// What `/metrics` answers.
    pub metrics: Arc<Metrics>,
    /// Takes the spans of requests.
    pub tracer: Tracer,
    /// Where people see traces.
    pub trace_page: TracePage,
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
    /// The routes for clients and operators.
    All,
    /// The routes for clients alone, if operators have a listener of their own.
    Public,
    /// All routes, on the listener for operators: a question about a notification needs no second address.
    Internal,
    /// `/healthz`, `/readyz`, `/metrics` and the pages of `/docs` alone, for a node that only sends.
    Health,
    /// As [`Self::Health`], on the listener for operators.
    InternalHealth,
}

impl Surface {
    /// Are the pages of the dashboard, and what they ask, answered? They are where operators are.
    fn has_dashboard(self) -> bool {
        match self {
            Self::All | Self::Internal => true,
            Self::Public | Self::Health | Self::InternalHealth => false,
        }
    }

    /// The key of the configuration that has the listener's address.
    fn listener(self) -> &'static str {
        match self {
            Self::All | Self::Public | Self::Health => "listen",
            Self::Internal | Self::InternalHealth => "internal_listen",
        }
    }

    /// The routes that a node answers before it works.
    fn own_routes<S: Clone + Send + Sync + 'static>(
        self,
        health: Arc<health::Health>,
        metrics: Arc<Metrics>,
    ) -> OpenApiRouter<S> {
        let health = health::routes(health);
        match self {
            Self::Public => health,
            Self::All | Self::Health => health.merge(metrics::routes(metrics, MetricsAccess::Loopback)),
            Self::Internal | Self::InternalHealth => {
                health.merge(metrics::routes(metrics, MetricsAccess::Network))
            }
        }
    }
}

/// Limits of requests and of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiLimits {
    /// The most bytes of a body.
    pub body_bytes: usize,
    /// The most devices, users and tokens together in one `to`.
    pub targets: usize,
    /// The most notifications of a batch.
    pub batch_items: usize,
    /// How long requests may take to end at shutdown.
    pub drain: Duration,
    /// How long a connection without a request is kept after its last answer.
    pub keep_alive: Duration,
}

/// The router of a surface, with its outer layers.
pub fn router(state: State, surface: Surface) -> Router {
    measure::show_refusals(&state.metrics.http);
    let routes = documented_routes(Arc::clone(&state.health), Arc::clone(&state.metrics), surface);
    let routes = Router::from(routes).merge(pages(surface));
    let routes = if surface.has_dashboard() { routes.merge(dashboard::routes()) } else { routes };
    let origins = Arc::clone(&state.cors_origins);
    let events = state.events.is_some().then(|| state.pool.clone());
    let layer = RequestLayer { metrics: Arc::clone(&state.metrics), events };
    let routes = routes.fallback(|| async { ApiError::NotFound(NotFoundKind::Path) });
    let tracer = state.tracer.clone();
    trace_layer::wrap(with_outer_layers(routes.with_state(state), origins, layer), &tracer)
}

/// The pages for people, which are not in the OpenAPI document. On a node with a listener for operators they are only there.
fn pages<S: Clone + Send + Sync + 'static>(surface: Surface) -> Router<S> {
    match surface {
        Surface::Public => Router::new(),
        Surface::All | Surface::Internal => docs::routes().merge(dashboard::pages()),
        Surface::Health | Surface::InternalHealth => docs::routes(),
    }
}

/// Adds the layers that every answer passes, also the answers of a node that is starting.
fn with_outer_layers(routes: Router, origins: cors::Origins, layer: RequestLayer) -> Router {
    if origins.is_empty() {
        return request_layer::wrap(routes, layer);
    }
    let preflight = from_fn_with_state(Arc::clone(&origins), cors::preflight);
    request_layer::wrap(routes.layer(preflight), layer).layer(from_fn_with_state(origins, cors::mark))
}

/// The one list of routes: the router and the OpenAPI document are made of it.
fn documented_routes(
    health: Arc<health::Health>,
    metrics: Arc<Metrics>,
    surface: Surface,
) -> OpenApiRouter<State> {
    let health = surface.own_routes(health, metrics);
    let public = || {
        notifications::routes()
            .merge(devices::routes())
            .merge(topics::routes())
            .merge(users::routes())
            .merge(events::routes())
    };
    let internal = || admin::routes().merge(openapi::routes());
    match surface {
        Surface::Public => health.merge(public()),
        Surface::All | Surface::Internal => health.merge(public()).merge(internal()),
        Surface::Health | Surface::InternalHealth => health,
    }
}

#[cfg(test)]
mod tests;
