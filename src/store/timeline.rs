//! Notices that the database is on another server or timeline than before: after the promotion of a standby, or a
//! recovery to a point in time (docs/queue.md#failover).
//!
//! The new server may lack the last moments of the old one. Then its identities begin at numbers that the old server
//! gave out already, to callers and to nodes that still use them. They are skipped ahead before anything is stored.

use sqlx::{Connection, PgConnection};

/// Compares the server and timeline of a new connection with the stored ones, and skips the identities ahead if they
/// differ. Before the first migration there is nothing to compare.
///
/// # Errors
/// Postgres is out of reach, or is a standby. The connection must not be used then.
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
        detail =
            "what the old server had not replicated is lost; its identity numbers are not given out again",
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

/// True if the table, its column or the function is missing: the migrations that make them are not applied yet.
fn is_older_schema(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42P01" | "42703" | "42883"))
}
