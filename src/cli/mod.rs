//! The commands, one file each. Data goes to stdout, all else to stderr; wrong usage ends 64, a database that
//! is waited for in vain 69, any other failure 1.

mod command_error;
mod database;
mod demo;
mod devices;
mod environment;
mod healthcheck;
mod keys;
mod migrate;
mod orphans;
mod output;
mod serve;
mod settings;
mod signals;
mod simulate;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::task::JoinSet;

use crate::telemetry::{self, LogReader};
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
    Keys(keys::KeysArgs),
    Devices(devices::DevicesArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs a command line, with the program's name first, and says how to end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that was asked for is data; everything else is wrong usage. A closed pipe changes neither.
            let _ = error.print();
            let asked = matches!(
                error.kind(),
                clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
            );
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    let log = match telemetry::start(cli.command.reader(), |name| std::env::var(name).ok()) {
        Ok(log) => log,
        Err(error) => {
            let failure = CommandError::usage(error);
            eprintln!("{failure}");
            return failure.code();
        }
    };
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log.print(&failure);
            failure.code()
        }
    }
}

impl Command {
    fn run(self) -> Result<(), CommandError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.context("cannot start the runtime")?.block_on(async {
            let mut duties = JoinSet::new();
            if orphans::is_our_duty() {
                duties.spawn(orphans::reap());
            }
            match self {
                Self::Serve(serve) => serve.run().await,
                Self::Demo(demo) => demo.run().await,
                Self::Simulate(simulate) => simulate.run().await,
                Self::Migrate(migrate) => migrate.run().await,
                Self::Keys(keys) => keys.run().await,
                Self::Devices(devices) => devices.run().await,
                Self::Healthcheck(healthcheck) => healthcheck.run().await,
            }
        })
    }

    fn reader(&self) -> LogReader {
        match self {
            Self::Serve(_) => LogReader::Service,
            _ => LogReader::Command,
        }
    }
}
