//! Decides which command may create or upgrade a database's schema, and applies migrations.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgConnection;

use crate::store::migrations::{self, BlockingSession, MigrationProgress, Migrations, SchemaState};

/// Between two checks whether another node has finished its migration, or a table is free.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// One check in this many is logged.
const LOG_EVERY: u32 = 5;

/// What a command may do to the schema of its database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchemaAccess {
    /// Create and upgrade it: `serve`, `migrate`, `demo`.
    Upgrade,
    /// Create it where there is none: `keys create`, `devices import`.
    Create,
    /// Neither: all other commands.
    Use,
}

/// Why a command does not work with a database.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SchemaRefused {
    /// There is no schema, and the command may not create it.
    #[error("the database has no schema of pushpost yet; start pushpost serve, or run pushpost migrate")]
    Missing,
    /// The schema is older than the program, and the command may not upgrade it. Has the names of the pending
    /// migrations.
    #[error(
        "the schema of the database is older than this program ({} pending, the first is {}); run pushpost migrate",
        .0.len(), .0.first().map_or("", String::as_str)
    )]
    Older(Vec<String>),
    /// The schema is newer than the program. Has the version of its last migration.
    #[error(
        "the schema of the database is newer than this program (it has migration {0}); use the newer program"
    )]
    Newer(i64),
}

impl SchemaAccess {
    /// Whether pending migrations are to be applied.
    ///
    /// # Errors
    /// The command may not work with such a schema.
    pub fn decide(self, state: &SchemaState) -> Result<bool, SchemaRefused> {
        match (state, self) {
            (SchemaState::Current, _) => Ok(false),
            (SchemaState::Newer(versions), _) => {
                Err(SchemaRefused::Newer(versions.iter().copied().max().unwrap_or_default()))
            }
            (SchemaState::Missing, Self::Upgrade | Self::Create) | (SchemaState::Older(_), Self::Upgrade) => {
                Ok(true)
            }
            (SchemaState::Missing, Self::Use) => Err(SchemaRefused::Missing),
            (SchemaState::Older(pending), Self::Create | Self::Use) => {
                Err(SchemaRefused::Older(pending.clone()))
            }
        }
    }

    /// Whether the command may create a database that does not exist.
    pub(super) fn may_create(self) -> bool {
        self != Self::Use
    }
}

/// Applies the pending migrations, and returns their names. Waits without limit for another node that migrates and for
/// tables in use, and logs which session it waits for.
///
/// # Errors
/// A migration failed, or the connection to Postgres was lost.
pub(super) async fn migrate(conn: &mut PgConnection, migrations: &Migrations) -> anyhow::Result<Vec<String>> {
    let pending = match migrations.state(conn).await? {
        SchemaState::Missing => migrations.names(),
        SchemaState::Older(pending) => pending,
        SchemaState::Current => return Ok(Vec::new()),
        SchemaState::Newer(versions) => {
            SchemaAccess::Upgrade.decide(&SchemaState::Newer(versions))?;
            return Ok(Vec::new());
        }
    };
    let mut round = 0;
    while !migrations::try_lock(conn).await? {
        let holder = migrations::lock_holder(conn).await?;
        log_wait(round, holder.as_ref(), "migration waits for another session that migrates the database");
        tokio::time::sleep(RETRY_INTERVAL).await;
        round += 1;
    }
    let mut round = 0;
    while migrations.apply(conn).await.context("migrations can't be applied")?
        == MigrationProgress::TableInUse
    {
        let oldest = migrations::oldest_transaction(conn).await?;
        log_wait(round, oldest.as_ref(), "migration waits for a table that another transaction uses");
        tokio::time::sleep(RETRY_INTERVAL).await;
        round += 1;
    }
    Ok(pending)
}

fn log_wait(round: u32, session: Option<&BlockingSession>, message: &str) {
    if round.is_multiple_of(LOG_EVERY) {
        let session = session.map_or_else(|| "a session that has just ended".to_owned(), ToString::to_string);
        tracing::warn!(session, "{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_differ_in_what_they_may_do_to_a_schema() {
        let older = SchemaState::Older(vec!["1_create".to_owned()]);
        let refused = |access: SchemaAccess, state: &SchemaState| access.decide(state).unwrap_err();
        for (access, missing, outdated) in [
            (SchemaAccess::Upgrade, Ok(true), Ok(true)),
            (SchemaAccess::Create, Ok(true), Err(SchemaRefused::Older(vec!["1_create".to_owned()]))),
            (
                SchemaAccess::Use,
                Err(SchemaRefused::Missing),
                Err(SchemaRefused::Older(vec!["1_create".to_owned()])),
            ),
        ] {
            assert_eq!(access.decide(&SchemaState::Missing), missing);
            assert_eq!(access.decide(&older), outdated);
            assert_eq!(access.decide(&SchemaState::Current), Ok(false));
            assert_eq!(refused(access, &SchemaState::Newer(vec![7, 9])), SchemaRefused::Newer(9));
        }
    }
}
