//! What `pushpost doctor` asks of Postgres. Nothing is written.

use chrono::{DateTime, NaiveDate, Utc};

use super::Error;
use super::migrations::BlockingSession;
use crate::domain::Environment;
use crate::store::Session;

/// The server and what this role may do in the database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerCheckup {
    /// `server_version`, such as `17.2`.
    pub version: String,
    /// Postgres's time, read within the statement.
    pub clock: DateTime<Utc>,
    /// The name of the role.
    pub role: String,
    /// `synchronous_commit` as set for the server, the database or the role. Pushpost sets its own value in its sessions.
    pub synchronous_commit: String,
    /// The schema in which tables are created. None: no schema of the search path exists.
    pub schema: Option<String>,
    /// The role may create tables in that schema.
    pub may_create: bool,
    /// Tables of that schema that belong to a role of which this role is no member, in the order of their names. Partitions
    /// can't be added to them.
    pub foreign_tables: Vec<String>,
    /// Tables of that schema that the role may not read and write, in the order of their names.
    pub closed_tables: Vec<String>,
}

/// A lane that is suspended: the provider rejected its credential.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuspendedLane {
    /// The name with the app's, such as `shop/fcm`.
    pub name: String,
    /// The provider's reason.
    pub reason: String,
    /// When the lane was suspended.
    pub since: DateTime<Utc>,
}

/// Reads the description of the server and the rights of this role.
///
/// # Errors
/// Postgres is out of reach.
pub async fn server(conn: &mut Session) -> Result<ServerCheckup, Error> {
    let row = sqlx::query!(
        r#"
        select current_setting('server_version') as "version!", clock_timestamp() as "clock!", current_user::text as "role!",
               coalesce((select reset_val from pg_settings where name = 'synchronous_commit'), 'on') as "synchronous_commit!",
               current_schema()::text as schema,
               coalesce(has_schema_privilege(current_schema(), 'create'), false) as "may_create!",
               array(select relname::text from pg_class c
                     where relnamespace = to_regnamespace(quote_ident(current_schema())) and relkind in ('r', 'p')
                       and not pg_has_role(relowner, 'usage')
                     order by relname) as "foreign_tables!",
               array(select relname::text from pg_class c
                     where relnamespace = to_regnamespace(quote_ident(current_schema())) and relkind in ('r', 'p')
                       and not (has_table_privilege(oid, 'select') and has_table_privilege(oid, 'insert')
                                and has_table_privilege(oid, 'update') and has_table_privilege(oid, 'delete'))
                     order by relname) as "closed_tables!"
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(ServerCheckup {
        version: row.version,
        clock: row.clock,
        role: row.role,
        synchronous_commit: row.synchronous_commit,
        schema: row.schema,
        may_create: row.may_create,
        foreign_tables: row.foreign_tables,
        closed_tables: row.closed_tables,
    })
}

/// The open transaction of a client, or the prepared one, that is the oldest in this database. It keeps dead rows from being
/// removed. Of other roles' sessions only members of `pg_read_all_stats` see the age.
///
/// # Errors
/// Postgres is out of reach.
pub async fn oldest_transaction(conn: &mut Session) -> Result<Option<BlockingSession>, Error> {
    let oldest = sqlx::query_as!(
        BlockingSession,
        r#"
        select pid as "pid!", application as "application!", client as "client!", seconds as "seconds!" from (
          select pid, application_name as application, coalesce(host(client_addr), 'local') as client,
                 extract(epoch from now() - xact_start)::float8 as seconds
          from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
            and xact_start is not null
          union all
          select 0, 'prepared transaction ' || gid, 'local', extract(epoch from now() - prepared)::float8
          from pg_prepared_xacts where database = current_database()) t
        order by seconds desc limit 1
        "#
    )
    .fetch_optional(conn)
    .await?;
    Ok(oldest)
}

/// The first of the next days, today included, that lacks a partition. None: all days have theirs.
///
/// # Errors
/// Postgres is out of reach.
pub async fn first_day_without_partitions(conn: &mut Session) -> Result<Option<NaiveDate>, Error> {
    Ok(super::partitions::missing_days(conn).await?.first().copied())
}

/// The lanes that are suspended, in the order of their apps. Lanes of a provider that this program does not know are left out.
///
/// # Errors
/// Postgres is out of reach.
pub async fn suspended_lanes(conn: &mut Session) -> Result<Vec<SuspendedLane>, Error> {
    let platforms = conn.platforms().clone();
    let rows = sqlx::query!(
        r#"
        select a.name, l.platform, l.environment, coalesce(l.suspended_reason, '') as "reason!", l.suspended_at as "since!"
        from lanes l join apps a using (app_id) where l.suspended_at is not null
        order by a.name, l.platform, l.environment
        "#
    )
    .fetch_all(conn)
    .await?;
    let lanes = rows.into_iter().filter_map(|row| {
        let key = platforms.lanes().find(|key| {
            key.platform().code() == row.platform && Environment::code(key.environment()) == row.environment
        })?;
        Some(SuspendedLane { name: format!("{}/{key}", row.name), reason: row.reason, since: row.since })
    });
    Ok(lanes.collect())
}
