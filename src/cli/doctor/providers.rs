//! `--live`: one harmless request per lane, by which the provider judges the credential.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::findings::{Finding, Findings};
use super::system::now;
use crate::cli::command_error::CommandError;
use crate::cli::progress;
use crate::config::{AppSettings, Config};
use crate::domain::{LaneCause, LaneKey, MisconfigurationScope, Outcome};
use crate::provider::LaneOptions;
use crate::runtime;

/// How long a request may take, with its connection. As an attempt of the service.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Checks every lane of the configuration, one after the other. `clock` is Postgres's, for the tokens that are signed.
pub(super) async fn check(
    config: &Config,
    clock: Option<DateTime<Utc>>,
    findings: &mut Findings,
) -> Result<(), CommandError> {
    let clock = clock.unwrap_or_else(now);
    for (name, app) in &config.apps {
        for key in app.providers.keys().flat_map(|platform| platform.lanes()) {
            let asked =
                progress::watched("waiting for the provider", check_lane(config, app, key, clock)).await;
            let lane = format!("{name}/{key}");
            findings.add(match asked {
                Ok(outcome) => judge(&lane, outcome),
                Err(error) => Finding::fail("live", format!("{lane} can't be set up: {error:#}")),
            })?;
        }
    }
    Ok(())
}

async fn check_lane(
    config: &Config,
    app: &AppSettings,
    key: LaneKey,
    clock: DateTime<Utc>,
) -> anyhow::Result<Outcome> {
    let proxy = runtime::provider_proxy(&config.network);
    let options = LaneOptions { key, max_in_flight: config.delivery.max_in_flight, proxy };
    let sender = app.providers[&key.platform()].open(options).await?;
    let outcome = sender.try_credential(clock, Instant::now() + TIMEOUT).await;
    sender.shutdown().await;
    Ok(outcome)
}

fn judge(lane: &str, outcome: Outcome) -> Finding {
    const CHECK: &str = "live";
    let ok = |how: &str| Finding::ok(CHECK, format!("{lane}: the provider takes the credential ({how})"));
    match outcome {
        Outcome::Accepted { .. } => ok("it accepted a message that is only validated"),
        // The provider looks at the token, or at the message, after it has accepted the credential.
        Outcome::TokenDead { reason, .. } | Outcome::Rejected { reason } => {
            ok(&format!("it answered {reason}"))
        }
        Outcome::Misconfigured { reason, .. } if reason.as_str().starts_with("BadEnvironmentKey") => {
            Finding::warn(CHECK, format!("{lane}: the key serves the other environment only ({reason})"))
                .hint("nothing is to be done if no device has a token of this environment")
        }
        Outcome::Misconfigured { reason, about: MisconfigurationScope::Topic } => {
            Finding::fail(CHECK, format!("{lane}: the provider refuses the topic: {reason}"))
                .hint("topic is the app's bundle id, and the key must belong to the same team")
        }
        Outcome::Misconfigured { reason, .. } => {
            Finding::fail(CHECK, format!("{lane}: the provider refuses the credential: {reason}"))
                .hint("docs/reasons.md says what the reason means; replace the credential")
        }
        Outcome::RetryLane { reason, cause: LaneCause::Throttled, .. } => {
            Finding::warn(CHECK, format!("{lane}: the provider asks to wait: {reason}"))
                .hint("compare the quota of the project with what is sent; try again in a minute")
        }
        Outcome::RetryLane { reason, .. } => {
            Finding::fail(CHECK, format!("{lane}: the provider is out of reach: {reason}"))
                .hint("look at the firewall, the proxy ([network] proxy) and the provider's status page")
        }
        Outcome::RetryTarget { reason, .. } => {
            Finding::warn(CHECK, format!("{lane}: the provider answered {reason}"))
                .hint("try again in a minute")
        }
        Outcome::Unknown | Outcome::Withdrawn => Finding::fail(
            CHECK,
            format!("{lane}: the provider did not answer within {} s", TIMEOUT.as_secs()),
        )
        .hint("look at the firewall, the proxy ([network] proxy) and the provider's status page"),
    }
}
