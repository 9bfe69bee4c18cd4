//! The webhooks of the configuration: whether their hosts may be reached, and with `--live` whether their receivers take a test.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::findings::{Finding, Findings};
use super::system::now;
use crate::cli::command_error::CommandError;
use crate::cli::progress;
use crate::config::Config;
use crate::domain::{AddressGuard, AppId};
use crate::events::webhooks::{WebhookMessage, WebhookRegistry, WebhookSettings};

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// `clock`: Postgres's time, if it is known. `is_live`: send one test to each webhook.
pub(super) async fn check(
    config: &Config,
    clock: Option<DateTime<Utc>>,
    is_live: bool,
    findings: &mut Findings,
) -> Result<(), CommandError> {
    let guard = AddressGuard::new(config.webhooks.allow_networks.clone());
    let registry = WebhookRegistry::new(guard.clone(), config.webhooks.retry.clone());
    for (app, settings) in &config.apps {
        for webhook in &settings.webhooks.webhooks {
            let name = format!("{app}/{}", webhook.name);
            findings.add(reach(&name, webhook, &guard).await)?;
            if is_live {
                let tested = test(&name, app, webhook, &registry, clock.unwrap_or_else(now));
                findings.add(progress::watched("testing webhooks", tested).await)?;
            }
        }
    }
    Ok(())
}

/// Whether every address of the host may be connected to.
async fn reach(name: &str, webhook: &WebhookSettings, guard: &AddressGuard) -> Finding {
    let host = webhook.url.host();
    let found = match timeout(RESOLVE_TIMEOUT, lookup_host((host.as_str(), 0))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            return Finding::fail("webhook", format!("{name}: {host} can't be resolved: {error}"));
        }
        Err(_) => return Finding::fail("webhook", format!("{name}: {host} is not resolved within 5 s")),
    };
    let judged: Vec<_> = found.map(|address| guard.judge(address.ip(), webhook.url.is_https())).collect();
    match judged.iter().find_map(|judged| judged.err()) {
        Some(refused) if judged.iter().all(Result::is_err) => {
            Finding::fail("webhook", format!("{name} is not reached: {refused}"))
        }
        Some(refused) => Finding::warn("webhook", format!("{name}: one address is left out: {refused}")),
        None => Finding::ok("webhook", format!("{name} may be reached at {}", webhook.url.origin())),
    }
}

async fn test(
    name: &str,
    app: &str,
    webhook: &WebhookSettings,
    registry: &WebhookRegistry,
    now: DateTime<Utc>,
) -> Finding {
    // The registry tells webhooks apart by app and name; here each is asked for once.
    let client = match registry.client(AppId(0), webhook) {
        Ok(client) => client,
        Err(error) => return Finding::fail("webhook", format!("{name}: {error}")),
    };
    let message = WebhookMessage::of_test(app, webhook.name.as_str(), now);
    let attempted = client.post(&message.signed(&webhook.secrets, now, None), now).await;
    match (attempted.error, attempted.status) {
        (None, Some(status)) => Finding::ok("webhook", format!("{name} took a test: status {status}")),
        (error, _) => {
            let error = error.unwrap_or_default();
            Finding::fail("webhook", format!("{name} did not take a test: {error}"))
                .hint("the receiver must verify the signature and answer 2xx within 15 s")
        }
    }
}
