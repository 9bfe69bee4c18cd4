//! Applies the migrations in `migrations/`, which are compiled into the program. Used by `serve`, `migrate` and other
//! commands.
//!
//! One connection applies them, under an advisory lock. A migration that waits for a table gives up after
//! [`LOCK_TIMEOUT`] and is tried again, because other statements on that table wait behind it. A migration with the
//! first line `-- no-transaction` is one statement that runs outside a transaction, such as `create index concurrently
//! if not exists`.

use std::fmt;

use sqlx::migrate::{Migrate, MigrateError, Migration, Migrator};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::{Error, error_text};

/// Number of the advisory lock. Nothing else of Pushpost locks it.
const MIGRATION_LOCK: i64 = 0x7075_7368_6d69_6772;
/// How long a migration waits for a table. Other statements wait behind it meanwhile.
pub const LOCK_TIMEOUT: &str = "2s";
/// The SQLSTATE with the name `lock_not_available`.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A list of migrations in the order in which they are applied.
#[derive(Debug)]
pub struct Migrations(Migrator);

/// How a database's schema compares with the program's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SchemaState {
    /// No migration has ever been applied.
    Missing,
    /// These migrations are pending, by name.
    Older(Vec<String>),
    /// The schema is as the program needs it.
    Current,
    /// These versions were applied and are unknown to the program.
    Newer(Vec<i64>),
}

/// The result of an attempt to apply migrations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MigrationProgress {
    /// Nothing is pending any more.
    Done,
    /// A table is in use by another transaction. The migration that waited for it has changed nothing.
    TableInUse,
}

/// Why the schema can't be read or migrated: the server's message, with the migration that failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct MigrationFailure(String);

/// The message has the cause already, so there is no source: a chain of errors would tell it twice.
impl From<MigrateError> for MigrationFailure {
    fn from(error: MigrateError) -> Self {
        Self(match error {
            MigrateError::Execute(error) => error_text(&error),
            MigrateError::ExecuteMigration(error, version) => {
                format!("migration {version}: {}", error_text(&error))
            }
            other => other.to_string(),
        })
    }
}

impl From<sqlx::Error> for MigrationFailure {
    fn from(error: sqlx::Error) -> Self {
        Self(error_text(&error))
    }
}

/// Another session that a migration waits for.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockingSession {
    /// The process id of its server process.
    pub pid: i32,
    /// Its `application_name`, as the client set it.
    pub application: String,
    /// The address of its client; `local` for a Unix socket.
    pub client: String,
    /// Seconds since its session or transaction began.
    pub seconds: f64,
}

impl fmt::Display for BlockingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, application, client, seconds } = self;
        write!(f, "{application:?} from {client}, server process {pid}, for {seconds:.0} s")
    }
}

impl Migrations {
    /// The migrations of this program.
    pub fn of_this_program() -> Self {
        let mut migrator = sqlx::migrate!();
        // The caller takes the lock, and can tell what it waits for.
        migrator.set_locking(false);
        Self(migrator)
    }

    /// Other migrations, for tests.
    pub fn of(migrations: Vec<Migration>) -> Self {
        let mut migrator = Migrator::with_migrations(migrations);
        migrator.set_locking(false);
        Self(migrator)
    }

    /// Compares the database's schema with the program's, and changes nothing.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn state(&self, conn: &mut PgConnection) -> Result<SchemaState, MigrationFailure> {
        let table = sqlx::query_scalar!("select to_regclass('_sqlx_migrations') is not null")
            .fetch_one(&mut *conn)
            .await?;
        if table != Some(true) {
            return Ok(SchemaState::Missing);
        }
        let applied = conn.list_applied_migrations(&self.0.table_name).await?;
        let applied: Vec<_> = applied.into_iter().map(|migration| migration.version).collect();
        let newer: Vec<_> =
            applied.iter().copied().filter(|version| !self.0.version_exists(*version)).collect();
        let pending = self.0.iter().filter(|migration| {
            migration.migration_type.is_up_migration() && !applied.contains(&migration.version)
        });
        let pending: Vec<_> = pending.map(name).collect();
        Ok(match (applied.is_empty(), newer.is_empty(), pending.is_empty()) {
            (true, ..) => SchemaState::Missing,
            (_, false, _) => SchemaState::Newer(newer),
            (_, _, false) => SchemaState::Older(pending),
            _ => SchemaState::Current,
        })
    }

    /// The names of all migrations.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(name).collect()
    }

    /// Applies pending migrations. The caller has the lock: see [`try_lock`].
    ///
    /// # Errors
    /// A migration failed, an applied one has changed since, or an unknown one was applied.
    pub async fn apply(&self, conn: &mut PgConnection) -> Result<MigrationProgress, MigrationFailure> {
        conn.execute(AssertSqlSafe(format!("set lock_timeout = '{LOCK_TIMEOUT}'"))).await?;
        if self.0.iter().any(|migration| migration.no_tx) {
            drop_invalid_indexes(conn).await?;
        }
        match self.0.run_direct(None, conn, false).await {
            Ok(()) => Ok(MigrationProgress::Done),
            Err(MigrateError::ExecuteMigration(error, _)) if is_lock_timeout(&error) => {
                Ok(MigrationProgress::TableInUse)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Takes the lock of migrations for this database, until the connection ends. False: another session has it.
pub async fn try_lock(conn: &mut PgConnection) -> Result<bool, Error> {
    let locked = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "locked!""#, MIGRATION_LOCK)
        .fetch_one(conn)
        .await?;
    Ok(locked)
}

/// The session that has the lock of migrations, if any.
pub async fn lock_holder(conn: &mut PgConnection) -> Result<Option<BlockingSession>, Error> {
    let holder = sqlx::query_as!(
        BlockingSession,
        r#"
        select a.pid as "pid!", a.application_name as "application!",
               coalesce(host(a.client_addr), 'local') as "client!",
               extract(epoch from now() - a.backend_start)::float8 as "seconds!"
        from pg_locks l join pg_stat_activity a on a.pid = l.pid
        where l.locktype = 'advisory' and l.granted and l.objsubid = 1
          and l.database = (select oid from pg_database where datname = current_database())
          and l.classid::bigint = $1::bigint >> 32 and l.objid::bigint = $1::bigint & 4294967295
        "#,
        MIGRATION_LOCK
    )
    .fetch_optional(conn)
    .await?;
    Ok(holder)
}

/// The other session with the oldest open transaction in this database: what a migration most likely waits for.
pub async fn oldest_transaction(conn: &mut PgConnection) -> Result<Option<BlockingSession>, Error> {
    let oldest = sqlx::query_as!(
        BlockingSession,
        r#"
        select pid as "pid!", application_name as "application!",
               coalesce(host(client_addr), 'local') as "client!",
               extract(epoch from now() - xact_start)::float8 as "seconds!"
        from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null
        order by xact_start limit 1
        "#
    )
    .fetch_optional(conn)
    .await?;
    Ok(oldest)
}

/// Drops indexes that an interrupted concurrent build left behind, because `if not exists` would take them for finished
/// ones. An index that a session builds at this moment stays.
async fn drop_invalid_indexes(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let invalid = sqlx::query_scalar!(
        r#"
        select format('%I.%I', n.nspname, c.relname) as "index!"
        from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
        where not i.indisvalid and c.relkind = 'i' and n.nspname = current_schema()
          and not exists (select from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)
        "#
    )
    .fetch_all(&mut *conn)
    .await?;
    for index in invalid {
        conn.execute(AssertSqlSafe(format!("drop index concurrently if exists {index}"))).await?;
    }
    Ok(())
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

fn name(migration: &Migration) -> String {
    format!("{}_{}", migration.version, migration.description)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Postgres wraps several statements of one message in a transaction, where no index can be built concurrently; and
    /// a process may die between such a statement and its entry in the table of migrations.
    #[test]
    fn what_runs_outside_a_transaction_is_one_statement_that_may_be_repeated() {
        for migration in Migrations::of_this_program().0.iter() {
            let sql = migration.sql.as_str();
            let code: Vec<_> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
            let code = code.join("\n").to_lowercase();
            assert_eq!(code.contains("index concurrently"), migration.no_tx, "{}", name(migration));
            if migration.no_tx {
                assert_eq!(code.matches(';').count(), 1, "{}", name(migration));
                assert!(code.contains("exists"), "{}", name(migration));
            }
        }
    }
}
