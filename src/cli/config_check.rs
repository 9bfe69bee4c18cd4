//! `pushpost config check`: the configuration without starting anything, with every fault.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::command_error::CommandError;
use super::config_args::ConfigArgs;
use super::output;
use crate::config::{CheckedConfig, Sources};
use crate::settings::{ConfigFault, SettingPlace};

/// Check the configuration without starting the service
#[derive(Args, Debug)]
pub(super) struct ConfigCommandArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    Check(Check),
}

/// Tell every fault of the configuration with its line or variable; exit code 2 if there is one
///
/// Files that the configuration names are read too, and keys and certificates in them are parsed. Nothing is started, and
/// nothing is asked over the network.
#[derive(Args, Debug)]
struct Check {
    /// The configuration file; without one, defaults and environment variables apply
    #[arg(value_name = "FILE", env = "PUSHPOST_CONFIG", hide_env_values = true)]
    file: Option<PathBuf>,
    /// As for all other commands
    #[arg(long = "config", value_name = "FILE", hide = true)]
    config: Option<PathBuf>,
    /// Print the faults as JSON, one per line
    #[arg(long)]
    json: bool,
}

impl ConfigCommandArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let ConfigCommand::Check(check) = self.command;
        check.run().await
    }
}

impl Check {
    async fn run(self) -> Result<(), CommandError> {
        let sources = ConfigArgs::sources_of(self.config.as_deref().or(self.file.as_deref()));
        let checked = sources.check().await?;
        for fault in &checked.faults {
            let text = if self.json { as_json(fault) } else { fault.to_string() };
            output::line(&text)?;
        }
        if !checked.faults.is_empty() {
            let number = checked.faults.len();
            let plural = if number == 1 { "" } else { "s" };
            let failure =
                CommandError::bad_news(format_args!("the configuration has {number} fault{plural}"));
            return Err(failure.hint("docs/configuration.md describes every key"));
        }
        for warning in warnings(&sources, &checked) {
            eprintln!("warning: {warning}");
        }
        if !self.json {
            output::line(&summary(&checked))?;
        }
        Ok(())
    }
}

/// What is right by its form and probably not meant.
pub(super) fn warnings(sources: &Sources, checked: &CheckedConfig) -> Vec<String> {
    let variables = sources.variables_without_effect(&checked.config).into_iter();
    let variables = variables.map(|(name, meant)| {
        let meant = meant.map(|meant| format!("; is {meant} meant?")).unwrap_or_default();
        format!("the variable {name} has no effect{meant}")
    });
    let without_provider = checked.config.apps.iter().filter(|(_, app)| app.providers.is_empty());
    let apps = without_provider
        .map(|(name, _)| format!("the app {name} has no provider, so nothing is sent for it"));
    let none = checked
        .config
        .apps
        .is_empty()
        .then(|| "no app is configured, so every request is refused".to_owned());
    variables.chain(apps).chain(none).collect()
}

/// The apps with their providers.
pub(super) fn summary(checked: &CheckedConfig) -> String {
    let app = |(name, app): (&String, &crate::config::AppSettings)| {
        let providers: Vec<_> = app.providers.keys().map(|platform| platform.as_str()).collect();
        format!("{name} ({})", providers.join(", "))
    };
    let apps: Vec<_> = checked.config.apps.iter().map(app).collect();
    match apps.as_slice() {
        [] => "the configuration has no fault, and no app".to_owned(),
        apps => format!("the configuration has no fault; apps: {}", apps.join(", ")),
    }
}

fn as_json(fault: &ConfigFault) -> String {
    let (file, line, variable) = match &fault.place {
        Some(SettingPlace::Line { file, line }) => (Some(file.display().to_string()), Some(line), None),
        Some(SettingPlace::Variable(name)) => (None, None, Some(name)),
        None => (None, None, None),
    };
    let fault = json!({
        "file": file, "line": line, "variable": variable, "key": fault.key, "message": fault.message,
        "suggestion": fault.suggestion,
    });
    fault.to_string()
}
