//! Transactions whose callers may go away.
//!
//! sqlx 0.9 forgets a `BEGIN` whose future is dropped before its answer: the connection goes back to its pool inside a
//! transaction that nobody knows of. What others then do on it is acknowledged and never committed, or fails because
//! that transaction was read-only. Requests are dropped whenever a client hangs up, so they begin here.

use sqlx::{PgPool, Postgres, Transaction};

use super::Error;

/// Begins a transaction. The future may be dropped at any time.
pub async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, Error> {
    begin_with(pool, "begin").await
}

/// As [`begin`], with a statement of its own.
pub(super) async fn begin_with(
    pool: &PgPool,
    statement: &'static str,
) -> Result<Transaction<'static, Postgres>, Error> {
    let pool = pool.clone();
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the pool's own time-out for connections or with one answer of Postgres; a transaction \
                  that nobody takes any more is dropped whole, which rolls it back"
    )]
    let beginning = tokio::spawn(async move { pool.begin_with(statement).await });
    match beginning.await {
        Ok(begun) => Ok(begun?),
        // The runtime is on its way out.
        Err(_) => Err(sqlx::Error::WorkerCrashed.into()),
    }
}
