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
    since: String,
    last: LastAttempt<'a>,
    event: Option<String>,
}

#[derive(Serialize, Default)]
struct LastAttempt<'a> {
    status: Option<u16>,
    error: Option<&'a str>,
}

/// Tells that a webhook works again, and which events it has set aside.
pub(super) async fn append_success(
    conn: &mut Session,
    services: &WebhookServices,
    held: &LeasedWebhook,
    change: Option<WebhookChange>,
    set_aside: &[EventPlace],
) -> Result<(), store::Error> {
    let now = services.node_lease.clock().now();
    for event in set_aside {
        let event = Some(services.installation.event_id(held.app, *event));
        tell(conn, services, held, FactKind::WebhookSetAside, (now, LastAttempt::default(), event)).await?;
    }
    if change == Some(WebhookChange::Recovered) {
        tell(conn, services, held, FactKind::WebhookRecovered, (now, LastAttempt::default(), None)).await?;
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
    tell(conn, services, held, kind, (since, last, None)).await
}

async fn tell(
    conn: &mut Session,
    services: &WebhookServices,
    held: &LeasedWebhook,
    kind: FactKind,
    (since, last, event): (DateTime<Utc>, LastAttempt<'_>, Option<String>),
) -> Result<(), store::Error> {
    let fact = WebhookFact {
        endpoint: services.installation.webhook_id(held.app, held.id),
        name: &held.name,
        since: since.to_rfc3339_opts(SecondsFormat::Millis, true),
        last,
        event,
    };
    append(conn, NewFact { app: held.app, kind, devices: &[], fact }).await
}
