//! `pushpost tokens cleanup`: starts a clean-up run and waits for its end.

use clap::Args;

use super::carry_out::carry_out;
use super::output::{RunOutput, failure};
use crate::cli::command_error::CommandError;
use crate::cli::config_args::ConfigArgs;
use crate::cli::signals::StopSignals;
use crate::cli::{audit, database};
use crate::config::Config;
use crate::domain::{CleanupCriteria, DottedVersion, Environment, Platform, ShareLimit};
use crate::provider::built_in_platforms;
use crate::pruning::cleanups::{self, CleanupError};
use crate::runtime::{Database, SchemaAccess};
use crate::store::cleanups::{CleanupRun, NewCleanupRun};

/// Quarantine devices that were not registered for long; none is deleted, and restore undoes it
///
/// A living node carries the run out; where no node lives, this command does. Ctrl-C ends the command only. The exit code is
/// 2 if the run failed or was stopped.
#[derive(Args, Debug)]
pub(super) struct Cleanup {
    /// Only devices that were last registered at least so many days ago, 1 to 3650
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=3650))]
    inactive_days: u16,
    /// The app, by its name in the configuration; may be left out if there is only one
    #[arg(long, value_name = "APP")]
    pub(super) app: Option<String>,
    /// Only devices of this platform, apns or fcm; several by commas or by repetition
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', value_parser = platform)]
    platform: Vec<Platform>,
    /// Only devices of this environment, production or sandbox; FCM devices have none
    #[arg(long, value_name = "ENVIRONMENT", value_delimiter = ',', value_parser = environment)]
    environment: Vec<Environment>,
    /// Only devices with a lower version of the app: whole numbers and dots
    #[arg(long, value_name = "VERSION", value_parser = version)]
    app_version_below: Option<DottedVersion>,
    /// The largest share of the active devices in question that the run may quarantine, 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0.2", value_parser = share)]
    max_share: ShareLimit,
    /// Count the devices that match, and quarantine none
    #[arg(long)]
    dry_run: bool,
    /// Print the run as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Cleanup {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        if self.criteria().is_contradictory(&built_in_platforms()) {
            let failure = CommandError::usage("no device of these platforms has one of these environments");
            return Err(failure.hint("FCM devices have no environment"));
        }
        let config = self.config.load()?;
        let app = database::resolve_app(&config, self.app.as_deref())?;
        let mut signals = StopSignals::catch()?;
        let database = database::open(&config, SchemaAccess::Use).await?;
        let ended = self.start_and_wait(&database, &config, app, &mut signals).await;
        let is_done = ended.as_ref().is_ok_and(|(_, run)| failure(run).is_none());
        audit::tell(&database, "cleanup.start", Some(app), "", &is_done.then_some(()).ok_or(())).await;
        database.close().await?;
        let (output, run) = ended?;
        output.print(&run, self.json)?;
        failure(&run).map_or(Ok(()), Err)
    }

    async fn start_and_wait(
        &self,
        database: &Database,
        config: &Config,
        name: &str,
        signals: &mut StopSignals,
    ) -> Result<(RunOutput, CleanupRun), CommandError> {
        let app = database::app(database, config, name).await?;
        let output = RunOutput { app: name.to_owned(), key: database.installation_key().await? };
        let criteria = self.criteria();
        let new =
            NewCleanupRun { app: app.id, criteria: &criteria, is_dry_run: self.dry_run, schedule: None };
        let run = match cleanups::start(database.pool(), new).await {
            Ok(run) => run,
            Err(error) => return Err(refusal(error, name)),
        };
        eprintln!("{} is started", output.id(&run));
        let ended = carry_out(database, config, &output, run, signals).await?;
        Ok((output, ended))
    }

    fn criteria(&self) -> CleanupCriteria {
        let some = |is_empty: bool| (!is_empty).then_some(());
        CleanupCriteria {
            inactive_days: self.inactive_days,
            platforms: some(self.platform.is_empty()).map(|()| self.platform.clone()),
            environments: some(self.environment.is_empty()).map(|()| self.environment.clone()),
            app_version_below: self.app_version_below.clone(),
            max_share: self.max_share,
        }
    }
}

/// The error of a run that was not started or not restored.
pub(super) fn refusal(error: CleanupError, app: &str) -> CommandError {
    match error {
        CleanupError::Running => {
            let failure = CommandError::failed(format_args!("a clean-up run of {app} is under way"));
            failure.hint("pushpost tokens list shows it, pushpost tokens cancel stops it")
        }
        CleanupError::NotRestorable => {
            CommandError::failed("the run quarantined nothing: it was a dry run, or it was refused")
        }
        CleanupError::Store(error) => CommandError::from(anyhow::Error::from(error)),
    }
}

fn platform(name: &str) -> Result<Platform, String> {
    let known = built_in_platforms();
    known.parse(name).ok_or_else(|| format!("it must be one of {}", known.names().join(", ")))
}

fn environment(name: &str) -> Result<Environment, String> {
    let known = built_in_platforms().stated_environments();
    let names: Vec<_> = known.iter().map(|environment| environment.as_str()).collect();
    let found = known.iter().find(|environment| environment.as_str() == name);
    found.copied().ok_or_else(|| format!("it must be one of {}", names.join(", ")))
}

fn version(text: &str) -> Result<DottedVersion, &'static str> {
    DottedVersion::parse(text).ok_or("a version is whole numbers and dots, such as 5.2.0")
}

fn share(text: &str) -> Result<ShareLimit, &'static str> {
    let share = text.parse().ok().and_then(ShareLimit::from_fraction);
    share.ok_or("a share is a number from 0 to 1")
}
