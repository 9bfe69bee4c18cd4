//! `pushpost tokens`: clean-up runs, directly in the database.

mod carry_out;
mod cleanup;
mod output;
mod run;

use clap::{Args, Subcommand};

use super::audit::audited;
use super::command_error::CommandError;

/// Clean up tokens: quarantine devices of apps that were not opened for long, and undo it
#[derive(Args, Debug)]
pub(super) struct TokensArgs {
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Subcommand, Debug)]
enum TokensCommand {
    Cleanup(cleanup::Cleanup),
    List(run::List),
    Show(run::Show),
    Restore(run::Restore),
    Cancel(run::Cancel),
}

impl TokensArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self.command {
            TokensCommand::Cleanup(cleanup) => {
                let app = cleanup.app.clone();
                audited("cleanup.start", app.as_deref(), "", cleanup.run()).await
            }
            TokensCommand::List(list) => list.run().await,
            TokensCommand::Show(show) => show.run().await,
            TokensCommand::Restore(restore) => {
                let id = restore.run.id.clone();
                audited("cleanup.restore", None, &id, restore.run()).await
            }
            TokensCommand::Cancel(cancel) => {
                let id = cancel.run.id.clone();
                audited("cleanup.cancel", None, &id, cancel.run()).await
            }
        }
    }
}
