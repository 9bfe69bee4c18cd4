//! `pushpost migrate`: applies the pending migrations, or lists them.

use clap::Args;
use serde_json::json;

use super::audit::{self, audited};
use super::command_error::CommandError;
use super::config_args::ConfigArgs;
use super::{output, progress};
use crate::runtime::{Database, SchemaAccess};
use crate::store::migrations::{Migrations, SchemaState};

/// Apply the pending migrations of the database's schema
#[derive(Args, Debug)]
pub(super) struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only list the pending migrations; exit code 0 if there are none, else 1
    #[arg(long)]
    check: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl MigrateArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        if self.check {
            self.carry_out().await
        } else {
            audited("schema.migrate", None, "", self.carry_out()).await
        }
    }

    async fn carry_out(self) -> Result<(), CommandError> {
        let access = if self.check { SchemaAccess::Use } else { SchemaAccess::Upgrade };
        let config = self.config.load()?;
        let database = progress::watched("opening the database", Database::open(&config, access)).await?;
        let names = match self.check {
            true => pending(&database).await,
            false => progress::watched("applying migrations", database.admit(access)).await,
        };
        if !self.check {
            audit::tell(&database, "schema.migrate", None, "", &names).await;
        }
        database.close().await?;
        let names = names?;
        let what = if self.check { "pending" } else { "applied" };
        output::line(&match (self.json, names.as_slice()) {
            (true, _) => json!({ what: names }).to_string(),
            (false, []) => "the schema is up to date".to_owned(),
            (false, names) => format!("{what}: {}", names.join(", ")),
        })?;
        if self.check && !names.is_empty() {
            return Err(CommandError::failed("migrations are pending").hint("run pushpost migrate"));
        }
        Ok(())
    }
}

/// The names of the migrations that are pending.
async fn pending(database: &Database) -> anyhow::Result<Vec<String>> {
    let state = database.schema().await?;
    match state {
        SchemaState::Missing => Ok(Migrations::of_this_program().names()),
        SchemaState::Older(pending) => Ok(pending),
        SchemaState::Current => Ok(Vec::new()),
        SchemaState::Newer(_) => SchemaAccess::Use.decide(&state).map(|_| Vec::new()).map_err(Into::into),
    }
}
