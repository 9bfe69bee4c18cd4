//! `pushpost devices`: imports and exports all devices of an app, directly in the database.

mod check;
mod csv;
mod export;
mod import;
mod source;

use clap::{Args, Subcommand};

use super::command_error::CommandError;

/// Import and export devices
#[derive(Args, Debug)]
pub(super) struct DevicesArgs {
    #[command(subcommand)]
    command: DevicesCommand,
}

#[derive(Subcommand, Debug)]
enum DevicesCommand {
    Import(import::Import),
    Export(export::Export),
}

impl DevicesArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self.command {
            DevicesCommand::Import(import) => import.run().await,
            DevicesCommand::Export(export) => export.run().await,
        }
    }
}
