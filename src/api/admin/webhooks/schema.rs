//! The bodies of requests about webhooks, as the OpenAPI document describes them. They are read by [`super::request`], which
//! reports all faults at once; `api::openapi`'s tests compare both.

#![expect(dead_code, reason = "these types only describe; nothing constructs them")]

use utoipa::ToSchema;

use crate::api::schema_enums;
use crate::api::time::Timestamp;

/// A webhook to make. A member that is `null` counts as left out.
#[derive(ToSchema, Debug)]
#[schema(example = json!({
    "name": "backend", "url": "https://backend.example.com/pushpost", "types": ["notification.*", "delivery.recorded"],
    "devices": "failed", "batch_max": 100
}))]
pub(in crate::api) struct WebhookRequest {
    /// Unique in the app.
    #[schema(max_length = 40, pattern = "^[a-z0-9-]{1,40}$")]
    name: String,
    /// The receiver: `https`, or `http` into `webhooks.allow_networks`. Its host must be in the app's `webhook_hosts`.
    #[schema(max_length = 2000)]
    url: String,
    /// Types of events, or patterns such as `device.*`; what became of notifications and devices if left out.
    #[schema(min_items = 1)]
    types: Option<Vec<String>>,
    /// Which devices the events of deliveries name; `all` if left out.
    #[schema(value_type = Option<schema_enums::DeviceDetail>)]
    devices: Option<String>,
    /// Events of a message at most; 100 if left out.
    #[schema(minimum = 1, maximum = 100)]
    batch_max: Option<u16>,
}

/// What changes of a webhook. A member that is left out or `null` stays as it is.
#[derive(ToSchema, Debug)]
#[schema(example = json!({"types": ["device.*"], "batch_max": 10}))]
pub(in crate::api) struct WebhookChanges {
    /// The receiver. Its host must be in the app's `webhook_hosts`.
    #[schema(max_length = 2000)]
    url: Option<String>,
    /// Types of events, or patterns such as `device.*`.
    #[schema(min_items = 1)]
    types: Option<Vec<String>>,
    /// Which devices the events of deliveries name.
    #[schema(value_type = Option<schema_enums::DeviceDetail>)]
    devices: Option<String>,
    /// Events of a message at most.
    #[schema(minimum = 1, maximum = 100)]
    batch_max: Option<u16>,
}

/// Where a replay begins: one of both.
#[derive(ToSchema, Debug)]
#[schema(example = json!({"since": "2026-11-28T09:00:00.000Z"}))]
pub(in crate::api) struct ReplayRequest {
    /// The id of the first event that is sent again.
    from: Option<String>,
    /// Events that were logged at this time or later are sent again.
    #[schema(value_type = Option<Timestamp>)]
    since: Option<String>,
}

/// How long the old secrets sign beside the new one.
#[derive(ToSchema, Debug)]
#[schema(example = json!({"keep_old": "24h"}))]
pub(in crate::api) struct RotateRequest {
    /// Digits and one of `ms s m h d w`, at most `30d`; `24h` if left out. `0s` ends the old secrets at once.
    keep_old: Option<String>,
    /// If three secrets sign, the oldest ends at once; `false` if left out: then the request is refused.
    drop_oldest: Option<bool>,
}
