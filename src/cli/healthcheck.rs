//! `pushpost healthcheck`: asks a running service for its health, for probes of containers.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::command_error::CommandError;
use super::config_args::ConfigArgs;

/// A service that does not answer within this time counts as unhealthy.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Ask the service on this machine whether it is alive; exit code 0 if it is, else 1
#[derive(Args, Debug)]
pub(super) struct HealthcheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Ask /readyz, whether the service can take work, instead of /healthz, whether it is alive
    #[arg(long)]
    ready: bool,
    /// Base URL of the service; the configuration is not read
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl HealthcheckArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let base = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.config.load()?.server.health_address()),
        };
        let url = format!("{base}/{}", if self.ready { "readyz" } else { "healthz" });
        let client = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        let answer = client.context("cannot make an HTTP client")?.get(&url).send().await;
        let status =
            answer.map_err(|error| anyhow::Error::from(error.without_url()).context(url.clone()))?.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(CommandError::failed(format_args!("{url} answers {status}")))
        }
    }
}
