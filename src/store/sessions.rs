//! The sessions of a database.

use sqlx::PgConnection;

use super::Error;

/// Ends all sessions of this database but the caller's; says how many.
pub async fn end_others(conn: &mut PgConnection) -> Result<usize, Error> {
    let ended = sqlx::query_scalar!(
        "
        select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
        "
    )
    .fetch_all(conn)
    .await?;
    Ok(ended.into_iter().filter(|ended| *ended == Some(true)).count())
}
