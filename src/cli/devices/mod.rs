//! `pushpost devices`: whole tables of devices, in and out.

mod csv;
mod export;
mod import;
mod progress;
mod source;

use clap::{Args, Subcommand};

use super::failure::Failure;

/// Import and export devices
#[derive(Args, Debug)]
pub(super) struct Devices {
    #[command(subcommand)]
    command: DevicesCommand,
}

#[derive(Subcommand, Debug)]
enum DevicesCommand {
    Import(import::Import),
    Export(export::Export),
}

impl Devices {
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self.command {
            DevicesCommand::Import(import) => import.run().await,
            DevicesCommand::Export(export) => export.run().await,
        }
    }
}
