//! The schema's migrations, which come with the program.

use sqlx::PgConnection;
use sqlx::migrate::{Migrate, MigrateError, Migrator};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The names of the migrations that are pending.
///
/// # Errors
/// Postgres is out of reach.
pub async fn pending(conn: &mut PgConnection) -> Result<Vec<String>, MigrateError> {
    conn.ensure_migrations_table(&MIGRATIONS.table_name).await?;
    let applied = conn.list_applied_migrations(&MIGRATIONS.table_name).await?;
    let pending = MIGRATIONS.iter().filter(|migration| {
        migration.migration_type.is_up_migration()
            && !applied.iter().any(|applied| applied.version == migration.version)
    });
    Ok(pending.map(|migration| format!("{}_{}", migration.version, migration.description)).collect())
}

/// Applies what is pending, under a lock that several nodes at once respect.
///
/// # Errors
/// A migration failed, or one that was applied has changed since.
pub async fn apply(conn: &mut PgConnection) -> Result<(), MigrateError> {
    MIGRATIONS.run(conn).await
}
