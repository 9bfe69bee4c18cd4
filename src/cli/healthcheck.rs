//! `pushpost healthcheck`: asks a running service for its health, for probes of containers.

use std::io::{self, ErrorKind};
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

/// Says in one line what most often goes wrong.
fn in_words(error: reqwest::Error, url: &str) -> CommandError {
    let address = error.url().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    match address {
        Some((host, port)) if is_refused(&error) => {
            CommandError::failed(format_args!("connection refused: nothing listens on {host}:{port}"))
        }
        _ if error.is_timeout() => {
            CommandError::failed(format_args!("{url} does not answer within {} s", TIMEOUT.as_secs()))
        }
        _ => anyhow::Error::from(error.without_url()).context(url.to_owned()).into(),
    }
}

fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_this =
        error.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == ErrorKind::ConnectionRefused);
    is_this || error.source().is_some_and(is_refused)
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
        let status = answer.map_err(|error| in_words(error, &url))?.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(CommandError::failed(format_args!("{url} answers {status}")))
        }
    }
}
