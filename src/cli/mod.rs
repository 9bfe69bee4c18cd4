//! The command line: one file per command. Data goes to stdout, everything else to stderr. Exit codes: 64 for wrong
//! usage, 69 if database or service are out of reach, 77 if the service refuses the key, 2 for bad news in an answer, 1 for
//! any other error.

mod audit;
mod client;
mod command_error;
mod completions;
mod config_args;
mod config_check;
mod database;
mod demo;
mod devices;
mod doctor;
mod environment;
mod events;
mod healthcheck;
mod keys;
mod man;
mod migrate;
mod nodes;
mod orphans;
mod output;
mod progress;
mod queue;
mod send;
mod serve;
mod signals;
mod simulate;
#[cfg(test)]
mod tests;
mod tokens;
mod webhooks;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::task::JoinSet;

use crate::telemetry::{self, LogDestination, LogGuard};
use command_error::{CommandError, USAGE};

/// A durable dispatcher for mobile push notifications: one HTTP API in front of APNs and FCM
#[derive(Parser, Debug)]
#[command(name = "pushpost", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::ServeArgs),
    Demo(demo::DemoArgs),
    Simulate(simulate::SimulateArgs),
    Migrate(migrate::MigrateArgs),
    Config(config_check::ConfigCommandArgs),
    Doctor(doctor::DoctorArgs),
    Keys(keys::KeysArgs),
    Devices(devices::DevicesArgs),
    Queue(queue::QueueArgs),
    Nodes(nodes::NodesArgs),
    Events(events::EventsArgs),
    Webhooks(webhooks::WebhooksArgs),
    Tokens(tokens::TokensArgs),
    Send(send::SendArgs),
    Why(why::WhyArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs a command line, which begins with the program's name, and returns the exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe does not change the exit code.
            let _ = error.print();
            let is_help = matches!(
                error.kind(),
                clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
            );
            return if is_help { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let log = match cli.command.start_log() {
        Ok(log) => log,
        Err(error) => {
            eprintln!("{error}");
            return error.code();
        }
    };
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A collector of JSON lines reads no text; a person reads the text.
            if log.is_json() {
                error.log();
            }
            log.print(&error);
            error.code()
        }
    }
}

impl Command {
    fn run(self) -> Result<(), CommandError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.context("cannot start the runtime")?.block_on(async {
            let mut tasks = JoinSet::new();
            if orphans::is_needed() {
                tasks.spawn(orphans::reap());
            }
            match self {
                Self::Serve(serve) => serve.run().await,
                Self::Demo(demo) => demo.run().await,
                Self::Simulate(simulate) => simulate.run().await,
                Self::Migrate(migrate) => migrate.run().await,
                Self::Config(config) => config.run().await,
                Self::Doctor(doctor) => doctor.run().await,
                Self::Keys(keys) => keys.run().await,
                Self::Devices(devices) => devices.run().await,
                Self::Queue(queue) => queue.run().await,
                Self::Nodes(nodes) => nodes.run().await,
                Self::Events(events) => events.run().await,
                Self::Webhooks(webhooks) => webhooks.run().await,
                Self::Tokens(tokens) => tokens.run().await,
                Self::Send(send) => send.run().await,
                Self::Why(why) => why.run().await,
                Self::Healthcheck(healthcheck) => healthcheck.run().await,
                Self::Completions(completions) => completions.run(),
                Self::Man(man) => man.run(),
            }
        })
    }

    fn start_log(&self) -> Result<LogGuard, CommandError> {
        let destination = match self {
            Self::Serve(_) => LogDestination::ServiceStderr,
            // Its screen tells the demo's story, so the service's log goes to a file.
            Self::Demo(_) => LogDestination::File(demo::open_log()?),
            _ => LogDestination::CommandStderr,
        };
        telemetry::start(destination, |name| std::env::var(name).ok()).map_err(CommandError::usage)
    }
}
