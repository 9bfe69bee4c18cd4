//! Describes the server that a connection leads to. Used when the service starts.

use sqlx::PgConnection;

use super::Error;

/// What a server tells about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerInfo {
    /// `server_version_num`: 150004 is 15.4.
    pub version: u32,
    /// `server_encoding` of the database.
    pub encoding: String,
    /// The server is a standby.
    pub is_standby: bool,
    /// New transactions are read-only.
    pub is_read_only: bool,
    /// `synchronous_commit` as set for the server, the database or the role.
    pub synchronous_commit: String,
}

/// Reads the description of the server.
///
/// # Errors
/// Postgres is out of reach.
pub async fn describe(conn: &mut PgConnection) -> Result<ServerInfo, Error> {
    let row = sqlx::query!(
        r#"
        select current_setting('server_version_num')::int as "version!", current_setting('server_encoding') as "encoding!",
               pg_is_in_recovery() as "is_standby!",
               current_setting('default_transaction_read_only') = 'on' as "is_read_only!",
               current_setting('synchronous_commit') as "synchronous_commit!"
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(ServerInfo {
        version: row.version.unsigned_abs(),
        encoding: row.encoding,
        is_standby: row.is_standby,
        is_read_only: row.is_read_only,
        synchronous_commit: row.synchronous_commit,
    })
}
