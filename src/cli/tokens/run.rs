//! `pushpost tokens list`, `show`, `restore` and `cancel`: runs that were started before.

use clap::Args;

use super::carry_out::carry_out;
use super::cleanup::refusal;
use super::output::{RunOutput, failure, restoration_failure};
use crate::cli::command_error::CommandError;
use crate::cli::config_args::ConfigArgs;
use crate::cli::signals::StopSignals;
use crate::cli::{audit, database, output};
use crate::config::Config;
use crate::domain::{App, CleanupRunId};
use crate::pruning::cleanups;
use crate::runtime::{Database, SchemaAccess};
use crate::store::cleanups::CleanupRun;

/// List clean-up runs, the newest first
#[derive(Args, Debug)]
pub(super) struct List {
    /// The app, by its name in the configuration; all apps without it
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Runs of each app at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Print one JSON document per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Show a clean-up run
#[derive(Args, Debug)]
pub(super) struct Show {
    #[command(flatten)]
    run: RunArgs,
    /// Wait for its end, and carry it out where no node lives; exit code 2 if it failed or was stopped
    #[arg(long)]
    wait: bool,
}

/// Restore what a clean-up run quarantined, and wait for the end of it; exit code 2 if it was stopped
#[derive(Args, Debug)]
pub(super) struct Restore {
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// Stop a clean-up run, or its restoration; what it quarantined stays so
#[derive(Args, Debug)]
pub(super) struct Cancel {
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The run's id (run_…)
    #[arg(value_name = "RUN")]
    pub(super) id: String,
    /// Print the run as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Work that the audit names.
struct AuditedWork {
    action: &'static str,
    /// How it has failed although it was carried out.
    failure: fn(&CleanupRun) -> Option<CommandError>,
}

/// A run that a command is about.
struct Named {
    output: RunOutput,
    app: std::sync::Arc<App>,
    id: CleanupRunId,
}

impl List {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let config = self.config.load()?;
        if let Some(app) = &self.app {
            database::require_app(&config, app)?;
        }
        let database = database::open(&config, SchemaAccess::Use).await?;
        let listed = self.list(&database, &config).await;
        database.close().await?;
        let listed = listed?;
        if self.json {
            for (of, run) in &listed {
                of.print(run, true)?;
            }
            return Ok(());
        }
        let rows: Vec<_> = listed.iter().map(|(of, run)| of.row(run)).collect();
        let titles = ["ID", "APP", "STATUS", "STARTED", "MATCHED", "QUARANTINED", "RESTORED", "SCHEDULE"];
        Ok(output::line(&output::table(titles, &rows))?)
    }

    async fn list(
        &self,
        database: &Database,
        config: &Config,
    ) -> Result<Vec<(RunOutput, CleanupRun)>, CommandError> {
        let key = database.installation_key().await?;
        let mut listed = Vec::new();
        for app in database.apps(config).await?.into_values() {
            if self.app.as_ref().is_some_and(|named| *named != app.name) {
                continue;
            }
            let newest = CleanupRunId(i64::MAX);
            let runs = cleanups::list(database.pool(), app.id, &[], newest, self.limit.into()).await;
            let runs = runs.map_err(anyhow::Error::from)?;
            let output = || RunOutput { app: app.name.clone(), key: key.clone() };
            listed.extend(runs.into_iter().map(|run| (output(), run)));
        }
        listed.sort_by_key(|(_, run)| std::cmp::Reverse(run.id));
        Ok(listed)
    }
}

impl RunArgs {
    /// Opens the database and does `work` with the named run. Prints the run that `work` returns. `action`: what `work` is in the
    /// audit, and how it may have failed.
    async fn with_run(
        &self,
        action: Option<AuditedWork>,
        work: impl AsyncFnOnce(&Database, &Config, &Named) -> Result<CleanupRun, CommandError>,
    ) -> Result<CleanupRun, CommandError> {
        let config = self.config.load()?;
        let database = database::open(&config, SchemaAccess::Use).await?;
        let done = async {
            let named = self.find(&database, &config).await?;
            let run = work(&database, &config, &named).await?;
            Ok::<_, CommandError>((named, run))
        };
        let done = done.await;
        if let Some(AuditedWork { action, failure }) = action {
            let app = done.as_ref().ok().map(|(named, _)| named.app.name.as_str());
            let is_done = done.as_ref().is_ok_and(|(_, run)| failure(run).is_none());
            audit::tell(&database, action, app, &self.id, &is_done.then_some(()).ok_or(())).await;
        }
        database.close().await?;
        let (named, run) = done?;
        named.output.print(&run, self.json)?;
        Ok(run)
    }

    /// The id is one of any app of the configuration.
    async fn find(&self, database: &Database, config: &Config) -> Result<Named, CommandError> {
        let key = database.installation_key().await?;
        for app in database.apps(config).await?.into_values() {
            if let Ok(id) = key.parse_cleanup_run_id(app.id, &self.id) {
                return Ok(Named { output: RunOutput { app: app.name.clone(), key }, app, id });
            }
        }
        Err(unknown())
    }
}

fn unknown() -> CommandError {
    let failure = CommandError::failed("no app of the configuration has a clean-up run with this id");
    failure.hint("an id begins with run_; pushpost tokens list shows all runs")
}

impl Show {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let mut signals = StopSignals::catch()?;
        let run = self
            .run
            .with_run(None, async |database, config, named| {
                let found = cleanups::find(database.pool(), named.app.id, named.id).await;
                let run = found.map_err(anyhow::Error::from)?.ok_or_else(unknown)?;
                match self.wait {
                    true => carry_out(database, config, &named.output, run, &mut signals).await,
                    false => Ok(run),
                }
            })
            .await?;
        match self.wait {
            true => failure(&run).map_or(Ok(()), Err),
            false => Ok(()),
        }
    }
}

impl Restore {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let mut signals = StopSignals::catch()?;
        let audited = AuditedWork { action: "cleanup.restore", failure: restoration_failure };
        let run = self
            .run
            .with_run(Some(audited), async |database, config, named| {
                let restoring = cleanups::restore(database.pool(), named.app.id, named.id).await;
                let run = restoring.map_err(|error| refusal(error, &named.app.name))?.ok_or_else(unknown)?;
                carry_out(database, config, &named.output, run, &mut signals).await
            })
            .await?;
        restoration_failure(&run).map_or(Ok(()), Err)
    }
}

impl Cancel {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let audited = AuditedWork { action: "cleanup.cancel", failure: |_| None };
        self.run
            .with_run(Some(audited), async |database, _, named| {
                let cancelled = cleanups::cancel(database.pool(), named.app.id, named.id).await;
                cancelled.map_err(anyhow::Error::from)?.ok_or_else(unknown)
            })
            .await?;
        Ok(())
    }
}
