//! What a listener answers with while its node starts, and then.
//!
//! A listener takes connections from the first moment, so that probes are answered while the database is waited for.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Request;
use tower::{ServiceExt, service_fn};

use super::error::ApiError;
use super::health::{self, Health};
use super::{State, Surface, request, router};

/// The routes of a listener: health at once, the rest as soon as there is a [`State`].
#[derive(Clone, Debug)]
pub struct ListenerRouter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    surface: Surface,
    before: Router,
    after: OnceLock<Router>,
}

impl ListenerRouter {
    /// Health alone, until [`Self::open`]. Other paths are 503 `unavailable` meanwhile, or `shutting_down`; 404 where the
    /// surface never has any.
    pub fn new(health: &Arc<Health>, surface: Surface) -> Self {
        let routes = Router::from(health::routes(Arc::clone(health)));
        let routes = match surface {
            Surface::Health => routes.fallback(|| async { ApiError::NotFound }),
            Surface::All | Surface::Public | Surface::Internal => {
                let health = Arc::clone(health);
                routes.fallback(move || {
                    let draining = health.is_draining();
                    async move { if draining { ApiError::ShuttingDown } else { ApiError::Starting } }
                })
            }
        };
        let before = request::surrounded(routes);
        Self(Arc::new(Inner { surface, before, after: OnceLock::new() }))
    }

    /// All of it, from the start.
    pub fn of(state: State, surface: Surface) -> Self {
        let router = Self::new(&state.health, surface);
        router.open(state);
        router
    }

    /// From now on the routes of the surface are answered. A second call changes nothing.
    pub fn open(&self, state: State) {
        self.0.after.get_or_init(|| router(state, self.0.surface));
    }

    /// Answers each request with the routes of that moment, also on a connection that is older than they are.
    pub(super) fn service(&self) -> Router {
        let router = self.clone();
        Router::new().fallback_service(service_fn(move |request: Request| {
            let routes = router.0.after.get().unwrap_or(&router.0.before);
            routes.clone().oneshot(request)
        }))
    }
}
