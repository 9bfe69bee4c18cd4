//! The routes of a listener: health, metrics and pages while the node starts, everything after that. Used by `serve`.
//!
//! A listener accepts connections from the beginning, so that probes are answered while the node waits for the
//! database.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use tower::{ServiceExt, service_fn};

use super::dashboard::{self, DashboardAnswer, DashboardCall};
use super::error::{ApiError, NotFoundKind};
use super::health::Health;
use super::request_layer::RequestLayer;
use super::{State, Surface, pages, router, with_outer_layers};
use crate::domain::Origin;
use crate::telemetry::metrics::{Gauge, Metrics};

/// The routes of a listener. Clones share them.
#[derive(Clone, Debug)]
pub struct ListenerRouter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    surface: Surface,
    before: Router,
    after: OnceLock<Router>,
    connections: Gauge,
}

impl ListenerRouter {
    /// With the routes for health until [`Self::open`]. Other paths are answered 503 `unavailable` or `shutting_down`
    /// meanwhile, or 404 on a surface that has no others.
    ///
    /// `cors_origins` are those of the state that comes later: a web page must be able to read these answers too.
    pub fn new(
        health: &Arc<Health>,
        cors_origins: &Arc<[Origin]>,
        metrics: &Arc<Metrics>,
        surface: Surface,
    ) -> Self {
        let routes = Router::from(surface.own_routes(Arc::clone(health), Arc::clone(metrics)));
        let routes = routes.merge(pages(surface));
        let routes = match surface {
            Surface::Health | Surface::InternalHealth => {
                routes.fallback(|| async { ApiError::NotFound(NotFoundKind::Path) })
            }
            Surface::All | Surface::Public | Surface::Internal => {
                let health = Arc::clone(health);
                let not_yet = move || {
                    let draining = health.is_draining();
                    async move { if draining { ApiError::ShuttingDown } else { ApiError::Starting } }
                };
                // The pages of the dashboard are there already, and would answer for its session too.
                let routes = routes.route(dashboard::SESSION, any(not_yet.clone()));
                routes.route(dashboard::LIVE, any(not_yet.clone())).fallback(not_yet)
            }
        };
        let before =
            with_outer_layers(routes, Arc::clone(cors_origins), RequestLayer::new(Arc::clone(metrics)));
        let connections = metrics.http.connections(surface.listener());
        Self(Arc::new(Inner { surface, before, after: OnceLock::new(), connections }))
    }

    /// With all routes of the surface from the start.
    pub fn of(state: State, surface: Surface) -> Self {
        let router = Self::new(&state.health, &state.cors_origins, &state.metrics, surface);
        router.open(state);
        router
    }

    /// From now on all routes of the surface are answered. A second call has no effect.
    pub fn open(&self, state: State) {
        self.0.after.get_or_init(|| router(state, self.0.surface));
    }

    /// Counts the open connections of the listener.
    pub(super) fn connections(&self) -> &Gauge {
        &self.0.connections
    }

    /// The service for a connection. It looks up the routes for each request, so that connections from before
    /// [`Self::open`] get all routes too.
    pub(super) fn service(&self) -> Router {
        let router = self.clone();
        let has_dashboard = self.0.surface.has_dashboard();
        Router::new().fallback_service(service_fn(move |request: Request| {
            let answer = has_dashboard.then(|| DashboardAnswer::to(request.uri()));
            let request = if has_dashboard { DashboardCall::route(request) } else { request };
            let routes = router.0.after.get().unwrap_or(&router.0.before);
            let answered = routes.clone().oneshot(request);
            async move {
                let response = answered.await?;
                Ok(match answer {
                    Some(answer) => answer.mark(response),
                    None => response,
                })
            }
        }))
    }
}
