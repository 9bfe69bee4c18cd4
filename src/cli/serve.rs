//! `pushpost serve`: runs the service until a signal stops it.

use clap::{Args, ValueEnum};

use super::command_error::CommandError;
use super::config_args::ConfigArgs;
use super::signals::{HangupSignal, StopSignals};
use crate::runtime::{self, Reload, Role, ServiceManager, Shutdown};

/// Run the service: the HTTP API and the workers that send
///
/// Without database.url it starts its own Postgres under database.data_dir.
#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// What this node does
    #[arg(long, value_enum, default_value = "all")]
    role: RoleName,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum RoleName {
    /// Answers requests, and sends to the providers
    All,
    /// Answers requests only
    Api,
    /// Sends to the providers only
    Worker,
}

impl ServeArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        runtime::raise_descriptor_limit();
        let sources = self.config.sources();
        let config = ConfigArgs::read(&sources)?;
        let role = match self.role {
            RoleName::All => Role::All,
            RoleName::Api => Role::Api,
            RoleName::Worker => Role::Worker,
        };
        runtime::announce(&config, &sources, role);
        let (shutdown, manager) = (Shutdown::default(), ServiceManager::default());
        let (reload, reload_now) = Reload::new(sources);
        let (signals, hangup) = (StopSignals::catch()?, HangupSignal::catch()?);
        tokio::select! {
            served = runtime::serve(config, role, shutdown.clone(), reload, &manager) => Ok(served?),
            () = hangup.drive(&reload_now, &manager) => Ok(()),
            () = signals.drive(&shutdown) => Ok(()),
        }
    }
}
