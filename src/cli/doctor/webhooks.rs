//! Webhooks, of the configuration and of the API: whether their hosts may be reached, whether one is disabled, and with `--live`
//! whether their receivers take a test.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::findings::{Finding, Findings};
use super::postgres::DatabaseFacts;
use super::system::now;
use crate::cli::command_error::CommandError;
use crate::cli::progress;
use crate::config::Config;
use crate::domain::{AddressGuard, AppId};
use crate::events::webhooks::{
    DeclaredWebhooks, WebhookMessage, WebhookRegistry, WebhookSettings, stored_settings,
};
use crate::store::webhooks::{StoredWebhook, WebhookSource};

/// How long a name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// `is_live`: send one test to each webhook.
pub(super) async fn check(
    config: &Config,
    facts: &DatabaseFacts,
    is_live: bool,
    findings: &mut Findings,
) -> Result<(), CommandError> {
    let guard = AddressGuard::new(config.webhooks.allow_networks.clone());
    let registry = WebhookRegistry::new(guard.clone(), config.webhooks.retry.clone());
    for (app, settings) in &config.apps {
        let stored: Vec<_> =
            facts.webhooks.iter().filter(|(of, _)| of == app).map(|(_, stored)| stored).collect();
        let declared = &settings.webhooks;
        let of_api = stored.iter().filter(|stored| stored.source == WebhookSource::Api);
        let (made, refused) =
            of_api.map(|stored| settings_of(app, declared, stored)).partition::<Vec<_>, _>(Result::is_ok);
        for webhook in declared.webhooks.iter().chain(made.iter().flatten()) {
            let name = format!("{app}/{}", webhook.name);
            findings.add(reach(&name, webhook, &guard).await)?;
            if is_live {
                let tested = test(&name, app, webhook, &registry, facts.clock.unwrap_or_else(now));
                findings.add(progress::watched("testing webhooks", tested).await)?;
            }
        }
        refused.into_iter().filter_map(Result::err).try_for_each(|finding| findings.add(finding))?;
        let is_known = |stored: &&&StoredWebhook| {
            let is_declared = || declared.webhooks.iter().any(|webhook| webhook.name.as_str() == stored.name);
            stored.source == WebhookSource::Api || is_declared()
        };
        let disabled = stored.iter().filter(is_known).filter(|stored| stored.is_disabled);
        disabled.map(|stored| disabled_finding(app, stored)).try_for_each(|finding| findings.add(finding))?;
    }
    Ok(())
}

/// The settings of a webhook that the API made.
///
/// # Errors
/// Why no node with this configuration serves it.
fn settings_of(
    app: &str,
    declared: &DeclaredWebhooks,
    stored: &StoredWebhook,
) -> Result<WebhookSettings, Finding> {
    let name = format!("{app}/{}", stored.name);
    let Some(settings) = stored_settings(stored) else {
        let message = format!("{name} is not served: a later version has stored its settings");
        return Err(Finding::warn("webhook", message));
    };
    let host = settings.url.host();
    if declared.hosts.contains(&host) {
        return Ok(settings);
    }
    let message = format!("{name} is not served: its host {host} is not in apps.{app}.webhook_hosts");
    Err(Finding::warn("webhook", message).hint("add the host, or delete the webhook by the API"))
}

fn disabled_finding(app: &str, stored: &StoredWebhook) -> Finding {
    let name = &stored.name;
    let at = stored.state_since.format("%Y-%m-%dT%H:%M:%SZ");
    let why = stored.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    Finding::warn("webhook", format!("{app}/{name} is disabled since {at}{why}"))
        .hint(format!("mend the receiver, then run pushpost webhooks resume {name}"))
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
