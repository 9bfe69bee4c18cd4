//! Whether the process turns (`/healthz`) and whether it should be given requests (`/readyz`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::routing::get;
use axum::{Router, extract};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::error::ApiError;

/// Longer silent, and Postgres counts as out of reach.
const POSTGRES_SILENT: Duration = Duration::from_secs(10);
/// Writes that have failed for longer count: a retry has had its time.
const WRITES_FAIL: Duration = Duration::from_secs(15);

/// What readiness depends on, told by the runtime. Lanes never count: a rejected credential must not take the API away.
#[derive(Debug, Default)]
pub struct Health {
    draining: AtomicBool,
    migrated: AtomicBool,
    postgres: Mutex<Option<Instant>>,
    writes_fail_since: Mutex<Option<Instant>>,
}

impl Health {
    /// Every migration is applied.
    pub fn migrations_applied(&self) {
        self.migrated.store(true, Ordering::Relaxed);
    }

    /// Postgres has just answered.
    pub fn postgres_answered(&self) {
        *self.postgres.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    /// Since when every statement that accepts or records has failed; none if the last one succeeded.
    pub fn writes_fail_since(&self, since: Option<Instant>) {
        *self.writes_fail_since.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = since;
    }

    /// From now on not ready, while requests are still served.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Is the node on its way out?
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Should the node be given requests?
    ///
    /// # Errors
    /// `ShuttingDown` while draining, `Starting` before the schema is there, else `Unavailable`.
    pub fn ready(&self) -> Result<(), ApiError> {
        self.ready_at(Instant::now())
    }

    fn ready_at(&self, now: Instant) -> Result<(), ApiError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(ApiError::ShuttingDown);
        }
        if !self.migrated.load(Ordering::Relaxed) {
            return Err(ApiError::Starting);
        }
        let answered = *self.postgres.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let in_reach = answered.is_some_and(|at| now.duration_since(at) < POSTGRES_SILENT);
        let failing = *self.writes_fail_since.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let writes = failing.is_none_or(|since| now.duration_since(since) < WRITES_FAIL);
        if in_reach && writes { Ok(()) } else { Err(ApiError::Unavailable(None)) }
    }
}

/// The routes, for a router of any state.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(health: Arc<Health>) -> Router<S> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(health)
}

/// `GET /healthz`.
async fn healthz() -> axum::Json<Value> {
    axum::Json(json!({"status": "ok"}))
}

/// `GET /readyz`.
async fn readyz(extract::State(health): extract::State<Arc<Health>>) -> Result<axum::Json<Value>, ApiError> {
    health.ready()?;
    Ok(axum::Json(json!({"status": "ready"})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_fail_for_15_s_make_a_node_not_ready_until_one_succeeds() {
        let health = Health::default();
        health.migrations_applied();
        health.postgres_answered();
        let now = Instant::now();
        health.writes_fail_since(Some(now));
        assert!(health.ready_at(now + Duration::from_secs(9)).is_ok());
        health.writes_fail_since(now.checked_sub(Duration::from_secs(16)));
        assert!(health.ready_at(now).is_err());
        health.writes_fail_since(None);
        assert!(health.ready_at(now).is_ok());
    }

    #[test]
    fn ready_means_migrated_and_answered_lately_and_not_draining() {
        let health = Health::default();
        assert!(matches!(health.ready(), Err(ApiError::Starting)));
        health.postgres_answered();
        assert!(matches!(health.ready(), Err(ApiError::Starting)));
        health.migrations_applied();
        assert!(health.ready().is_ok());
        assert!(matches!(health.ready_at(Instant::now() + POSTGRES_SILENT), Err(ApiError::Unavailable(_))));
        health.postgres_answered();
        health.start_draining();
        assert!(matches!(health.ready(), Err(ApiError::ShuttingDown)));
    }
}
