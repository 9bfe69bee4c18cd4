//! A webhook as answers show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::domain::{App, FAILING_FAILURES, InstallationKey, WebhookRetryPolicy, WebhookSecret};
use crate::events::webhooks::{WebhookRegistry, WebhookSettings, stored_settings};
use crate::store::webhooks::{StoredWebhook, WebhookSource};

/// A webhook, and how its delivery stands.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = Webhook, example = json!({
    "id": "whk_5bf4acbbbcffe5d67fbfee43320f88a6", "name": "backend", "source": "config",
    "url": "https://backend.example.com/pushpost", "types": ["notification.*", "delivery.recorded", "device.*"],
    "devices": "failed", "batch_max": 100, "state": "failing", "why": "status 503", "since": "2026-11-28T09:00:00.000Z",
    "cursor": "evt_5bf4acbbbcffe5d67fbfee43320f88a65bf4acbbbcffe5d67fbfee43320f", "lag_seconds": 61.2,
    "next_attempt_at": "2026-11-28T09:03:00.000Z", "last_success_at": "2026-11-28T08:59:00.000Z",
    "failing_since": "2026-11-28T08:59:30.000Z", "disables_at": "2026-12-03T08:59:30.000Z", "set_aside": 0,
    "secrets": [{"hint": "LaSw", "expires_at": null}]
}))]
pub(super) struct WebhookAnswer {
    /// The webhook's id.
    id: String,
    /// Unique in the app.
    name: String,
    /// What made it: the configuration or this API.
    #[schema(value_type = schema_enums::WebhookSource)]
    source: &'static str,
    /// The URL that messages are posted to.
    url: String,
    /// Types of its events, or patterns of types.
    types: Vec<String>,
    /// Which devices the events of deliveries name.
    #[schema(value_type = schema_enums::DeviceDetail)]
    devices: &'static str,
    /// Events of a message at most.
    batch_max: u16,
    /// `failing` from the third failure in a row on; `disabled`: it has failed for too long, or the receiver answered 410.
    #[schema(value_type = schema_enums::WebhookState)]
    state: &'static str,
    /// What came of the last attempt; null: it succeeded.
    #[schema(required)]
    why: Option<String>,
    /// Since when it has been in this state.
    since: Timestamp,
    /// All events up to this place are delivered, set aside or not wanted. `GET /v1/events` takes it as `cursor`.
    cursor: String,
    /// Age of the oldest event of the app that is not done with, in seconds; 0: there is none.
    lag_seconds: f64,
    /// When the message that failed is sent again; null: none waits.
    #[schema(required)]
    next_attempt_at: Option<Timestamp>,
    /// When an attempt last succeeded; null: never.
    #[schema(required)]
    last_success_at: Option<Timestamp>,
    /// The first failure after that; null: there was none.
    #[schema(required)]
    failing_since: Option<Timestamp>,
    /// From when on a further failure disables it; null: the last attempt succeeded.
    #[schema(required)]
    disables_at: Option<Timestamp>,
    /// Number of set-aside events.
    set_aside: i64,
    /// The secrets that sign its messages now.
    secrets: Vec<SecretAnswer>,
}

/// A secret, which is shown once, when it is made.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = WebhookSecret)]
pub(super) struct SecretAnswer {
    /// Its last characters, to recognise it by.
    hint: String,
    /// From when on it signs no more; null: it signs on.
    #[schema(required)]
    expires_at: Option<Timestamp>,
}

/// A webhook with its new secret.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = WebhookWithSecret)]
pub(super) struct WebhookWithSecret {
    /// The members of the webhook itself.
    #[serde(flatten)]
    webhook: WebhookAnswer,
    /// The new secret, with which the receiver verifies messages. It is not shown again.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

impl WebhookWithSecret {
    pub(super) fn of(webhook: WebhookAnswer, secret: &WebhookSecret) -> Self {
        Self { webhook, secret: secret.expose() }
    }
}

impl WebhookAnswer {
    /// None: the configuration of this node does not have it, or a later version stored its settings.
    pub(super) fn of(
        key: &InstallationKey,
        registry: &WebhookRegistry,
        app: &App,
        stored: &StoredWebhook,
    ) -> Option<Self> {
        let (settings, secrets) = match stored.source {
            WebhookSource::Config => {
                let settings = registry.find(app.id, &stored.name)?;
                let secrets = settings.secrets.all().map(|secret| SecretAnswer::of(secret, None)).collect();
                (settings, secrets)
            }
            WebhookSource::Api => {
                let secrets = stored.secrets.iter().filter_map(|(bytes, until)| {
                    let secret = WebhookSecret::from_bytes(bytes.clone()).ok()?;
                    Some(SecretAnswer::of(&secret, until.map(Timestamp)))
                });
                (stored_settings(stored)?, secrets.collect())
            }
        };
        Some(Self::with(key, registry.policy(), app, stored, settings, secrets))
    }

    fn with(
        key: &InstallationKey,
        policy: &WebhookRetryPolicy,
        app: &App,
        stored: &StoredWebhook,
        settings: WebhookSettings,
        secrets: Vec<SecretAnswer>,
    ) -> Self {
        Self {
            id: key.webhook_id(app.id, stored.id),
            name: stored.name.clone(),
            source: source(stored.source),
            url: settings.url.expose().to_string(),
            types: settings.types.patterns,
            devices: settings.devices.as_str(),
            batch_max: settings.batch_max,
            state: state(stored),
            why: stored.why.clone(),
            since: Timestamp(stored.state_since),
            cursor: key.event_cursor(app.id, stored.cursor),
            lag_seconds: (stored.lag_seconds * 1000.0).round() / 1000.0,
            next_attempt_at: stored.next_attempt_at.map(Timestamp),
            last_success_at: stored.last_success_at.map(Timestamp),
            failing_since: stored.failing_since.map(Timestamp),
            disables_at: stored
                .failing_since
                .filter(|_| !stored.is_disabled)
                .map(|since| Timestamp(since + policy.disable_after)),
            set_aside: stored.set_aside,
            secrets,
        }
    }
}

impl SecretAnswer {
    fn of(secret: &WebhookSecret, expires_at: Option<Timestamp>) -> Self {
        Self { hint: secret.hint(), expires_at }
    }
}

fn source(source: WebhookSource) -> &'static str {
    match source {
        WebhookSource::Config => "config",
        WebhookSource::Api => "api",
    }
}

fn state(stored: &StoredWebhook) -> &'static str {
    match stored {
        _ if stored.is_disabled => "disabled",
        _ if stored.is_paused => "paused",
        _ if stored.failures >= FAILING_FAILURES => "failing",
        _ => "active",
    }
}
