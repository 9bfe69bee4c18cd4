//! `GET /healthz`: is the process alive? `GET /readyz`: should the node be given requests?

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::{Json, extract};
use serde::Serialize;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, NoKeyProblems, ReadyProblems};

/// Postgres counts as out of reach when it has not answered for this long.
const POSTGRES_SILENCE_MAX: Duration = Duration::from_secs(10);
/// Writes that have failed for longer make the node unready: a retry has had its time.
const WRITE_FAILURE_MAX: Duration = Duration::from_secs(15);

/// What readiness depends on. The runtime reports it. Lanes never count: a rejected credential must not take the API away.
#[derive(Debug, Default)]
pub struct Health {
    draining: CancellationToken,
    migrated: AtomicBool,
    postgres: Mutex<Option<Instant>>,
    writes_fail_since: Mutex<Option<Instant>>,
}

impl Health {
    /// Notes that every migration is applied.
    pub fn migrations_applied(&self) {
        self.migrated.store(true, Ordering::Relaxed);
    }

    /// Notes that Postgres has just answered.
    pub fn postgres_answered(&self) {
        *self.postgres.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
    }

    /// Notes since when every statement that accepts or records has failed; none if the last one succeeded.
    pub fn writes_fail_since(&self, since: Option<Instant>) {
        *self.writes_fail_since.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = since;
    }

    /// Makes the node unready, while requests are still served.
    pub fn start_draining(&self) {
        self.draining.cancel();
    }

    /// Is the node being shut down?
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Waits until the shutdown begins.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Cancelled when the shutdown begins.
    pub fn drain_signal(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Should the node be given requests?
    ///
    /// # Errors
    /// `ShuttingDown` while draining, `Starting` before the schema is there, else `Unavailable`.
    pub fn ready(&self) -> Result<(), ApiError> {
        self.ready_at(Instant::now())
    }

    fn ready_at(&self, now: Instant) -> Result<(), ApiError> {
        if self.draining.is_cancelled() {
            return Err(ApiError::ShuttingDown);
        }
        if !self.migrated.load(Ordering::Relaxed) {
            return Err(ApiError::Starting);
        }
        let answered = *self.postgres.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let in_reach = answered.is_some_and(|at| now.duration_since(at) < POSTGRES_SILENCE_MAX);
        let failing = *self.writes_fail_since.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let writes = failing.is_none_or(|since| now.duration_since(since) < WRITE_FAILURE_MAX);
        if in_reach && writes { Ok(()) } else { Err(ApiError::Unavailable(None)) }
    }
}

/// A node's own view of itself.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({"status": "ok"}))]
pub(super) struct HealthAnswer {
    /// `ok` or `ready`.
    status: &'static str,
}

/// The routes, for a router of any state.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(health: Arc<Health>) -> OpenApiRouter<S> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).with_state(health)
}

/// Is the process alive?
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "operation", security(()),
    responses((status = 200, description = "The process is alive.", body = HealthAnswer), NoKeyProblems)
)]
async fn healthz() -> Json<HealthAnswer> {
    Json(HealthAnswer { status: "ok" })
}

/// Should the node be given requests?
///
/// 503 while the node starts, is shut down, or can't reach its database.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operation", security(()),
    responses((status = 200, description = "The node takes requests.", body = HealthAnswer), ReadyProblems)
)]
async fn readyz(extract::State(health): extract::State<Arc<Health>>) -> Result<Json<HealthAnswer>, ApiError> {
    health.ready()?;
    Ok(Json(HealthAnswer { status: "ready" }))
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
        assert!(matches!(
            health.ready_at(Instant::now() + POSTGRES_SILENCE_MAX),
            Err(ApiError::Unavailable(_))
        ));
        health.postgres_answered();
        health.start_draining();
        assert!(matches!(health.ready(), Err(ApiError::ShuttingDown)));
    }
}
