//! What the log tells of webhooks themselves.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::client::Attempted;
use super::services::WebhookServices;
use crate::domain::{EventPlace, FactKind, WebhookChange};
use crate::store::events::{NewFact, append};
use crate::store::webhooks::LeasedWebhook;
use crate::store::{self, Session};

/// The fact as events show it.
#[derive(Serialize)]
struct WebhookFact<'a> {
    endpoint: String,
    name: &'a str,
    /// None: it works.
    since: Option<String>,
    last: Option<LastAttempt<'a>>,
    event: Option<String>,
}

#[derive(Serialize)]
struct LastAttempt<'a> {
    status: Option<u16>,
    error: Option<&'a str>,
}

/// Tells that a webhook works again.
pub(super) async fn append_recovery(
    conn: &mut Session,
    services: &WebhookServices,
    held: &LeasedWebhook,
    change: Option<WebhookChange>,
) -> Result<(), store::Error> {
    if change != Some(WebhookChange::Recovered) {
        return Ok(());
    }
    tell(conn, services, held, FactKind::WebhookRecovered, (None, None, None)).await
}

/// Tells which events a webhook has set aside, and status and error of the last attempt that failed.
pub(super) async fn append_set_aside(
    conn: &mut Session,
    services: &WebhookServices,
    held: &LeasedWebhook,
    set_aside: &[EventPlace],
    (status, error): (Option<i16>, Option<&str>),
) -> Result<(), store::Error> {
    let status = status.map(i16::cast_unsigned);
    for event in set_aside {
        let event = Some(services.installation.event_id(held.app, *event));
        let last = LastAttempt { status, error };
        tell(conn, services, held, FactKind::WebhookSetAside, (None, Some(last), event)).await?;
    }
    Ok(())
}

/// Tells that a webhook fails or is disabled.
pub(super) async fn append_failure(
    conn: &mut Session,
    services: &WebhookServices,
    held: &LeasedWebhook,
    change: Option<WebhookChange>,
    failing_since: Option<DateTime<Utc>>,
    attempted: &Attempted,
) -> Result<(), store::Error> {
    let kind = match change {
        Some(WebhookChange::Failing) => FactKind::WebhookFailing,
        Some(WebhookChange::Disabled) => FactKind::WebhookDisabled,
        Some(WebhookChange::Recovered) | None => return Ok(()),
    };
    let last = LastAttempt { status: attempted.status, error: attempted.error.as_deref() };
    let since = failing_since.unwrap_or_else(|| services.node_lease.clock().now());
    tell(conn, services, held, kind, (Some(since), Some(last), None)).await
}

async fn tell(
    conn: &mut Session,
    services: &WebhookServices,
    held: &LeasedWebhook,
    kind: FactKind,
    (since, last, event): (Option<DateTime<Utc>>, Option<LastAttempt<'_>>, Option<String>),
) -> Result<(), store::Error> {
    let fact = WebhookFact {
        endpoint: services.installation.webhook_id(held.app, held.id),
        name: &held.name,
        since: since.map(|since| since.to_rfc3339_opts(SecondsFormat::Millis, true)),
        last,
        event,
    };
    append(conn, NewFact { app: held.app, kind, devices: &[], fact }).await
}
