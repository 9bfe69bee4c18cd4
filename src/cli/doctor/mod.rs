//! `pushpost doctor`: whether this machine, the configuration, the database and the providers are as the service needs them.
//!
//! Each part is a file of checks. Nothing is changed: neither a file nor a row.

mod certificates;
mod configuration;
mod findings;
mod postgres;
mod providers;
mod system;
mod webhooks;

use clap::Args;

use super::command_error::CommandError;
use super::config_args::ConfigArgs;
use super::{environment, progress};
use crate::config::Config;
use crate::runtime::{Database, SchemaAccess};
use findings::{Finding, Findings};
use postgres::DatabaseFacts;

/// Check configuration, files, Postgres, clock and limits, and with --live the providers; exit code 2 if a check fails
///
/// Each line is ok, warn or fail, with a hint where something is to be done. Nothing is changed. An embedded Postgres that
/// does not run is started, and stopped again.
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Send one harmless request per lane: to FCM a message that is only validated, to APNs one to a token that no device has; and one test per
    /// webhook
    #[arg(long)]
    live: bool,
    /// Print the lines as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl DoctorArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let sources = self.config.sources();
        let mut findings = Findings::new(self.json);
        if let Some(config) = configuration::check(&sources, &mut findings).await? {
            if config.database.url.is_none() {
                environment::drop_libpq_options()?;
            }
            system::check_descriptors(&config, &mut findings)?;
            let facts = check_database(&config, &mut findings).await?;
            webhooks::check(&config, &facts, self.live, &mut findings).await?;
            if self.live {
                providers::check(&config, facts.clock, &mut findings).await?;
            }
        }
        findings.judge()
    }
}

/// Returns what the database says; nothing if Postgres can't be asked.
async fn check_database(config: &Config, findings: &mut Findings) -> Result<DatabaseFacts, CommandError> {
    let opening = Database::open(config, SchemaAccess::Use);
    let database = match progress::watched("opening the database", opening).await {
        Ok(database) => database,
        Err(error) => {
            let hint =
                "start the server, or correct database.url; an embedded database begins with pushpost serve";
            findings.add(Finding::fail("postgres", format!("{error:#}")).hint(hint))?;
            return Ok(DatabaseFacts::default());
        }
    };
    let facts = progress::watched("asking Postgres", postgres::check(&database, findings)).await;
    database.close().await?;
    facts
}
