//! The server's line of history, which changes with each promotion of a standby and each recovery to a point in time.
//!
//! The new server may lack the last moments of the old one. Its identities then begin at numbers that the old one gave
//! out already, to callers and to nodes that are still at work with them. They are skipped ahead before anything is
//! stored.

use sqlx::{Connection, PgConnection};

/// Compares a new connection's server with the one for which identities have been skipped ahead, and skips them where
/// that is another one. Before the first migration there is nothing to compare.
///
/// # Errors
/// Postgres is out of reach, or a standby. Nothing may be done over the connection then.
pub async fn follow(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    match has_changed(conn).await {
        Ok(false) => return Ok(()),
        Ok(true) => {}
        Err(error) if is_older_schema(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    let mut tx = conn.begin().await?;
    // Many connections begin at once after a failover: one skips, the others wait for it.
    sqlx::query!("select key from installation for update").fetch_all(&mut *tx).await?;
    if !has_changed(&mut tx).await? {
        return tx.rollback().await;
    }
    let identities =
        sqlx::query_scalar!(r#"select skip_identities() as "identities!""#).fetch_one(&mut *tx).await?;
    sqlx::query!("update installation set timeline = server_timeline()").execute(&mut *tx).await?;
    tx.commit().await?;
    tracing::warn!(
        identities,
        detail = "what the server before had not replicated yet is lost; numbers that it gave out are not given out again",
        hint = "synchronous replication loses nothing in a failover",
        "the database is on a new timeline, and its identities were skipped ahead"
    );
    Ok(())
}

async fn has_changed(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query_scalar!(
        r#"
        select s is not null and timeline is distinct from s as "changed!"
        from (select server_timeline() as s offset 0) s cross join installation
        "#
    )
    .fetch_optional(conn)
    .await?;
    Ok(changed.unwrap_or(false))
}

/// The table, its column or the function is not there yet: the migrations that make them are still to be applied.
fn is_older_schema(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42P01" | "42703" | "42883"))
}
