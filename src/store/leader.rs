//! Who does the periodic duties. Two leaders would be harmless: every duty is idempotent or takes its rows by lock.

use sqlx::PgConnection;

use super::Error;

/// Any number that nothing else of ours locks.
const LEADER: i64 = 0x7075_7368_706f_7374;

/// Tries to lead for as long as this connection lives.
pub async fn try_lead(conn: &mut PgConnection) -> Result<bool, Error> {
    let leads =
        sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "leads!""#, LEADER).fetch_one(conn).await?;
    Ok(leads)
}

/// Lets another node lead.
pub async fn resign(conn: &mut PgConnection) -> Result<(), Error> {
    sqlx::query_scalar!("select pg_advisory_unlock($1)", LEADER).fetch_one(conn).await?;
    Ok(())
}
