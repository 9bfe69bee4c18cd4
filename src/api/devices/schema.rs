//! The bodies of requests about devices, as the OpenAPI document describes them. They are read by [`super::request`], which
//! reports all faults at once; `api::openapi`'s tests compare both.

#![expect(dead_code, reason = "these types only describe; nothing constructs them")]

use serde_json::Value;
use utoipa::ToSchema;

use crate::api::schema_enums;

/// A device as the app, or a backend on its behalf, registers it. A member left out stays as it is, `null` clears it.
#[derive(ToSchema, Debug)]
#[schema(example = json!({
    "platform": "apns", "token": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "kind": "alert", "environment": "sandbox", "user": "u42", "topics": ["news"], "locale": "de_DE",
    "timezone": "Europe/Berlin", "app_version": "5.2.0",
    "replaces": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
    "registered_at": "2026-11-28T09:00:00Z"
}))]
pub(in crate::api) struct DeviceRegistration {
    /// The service that issued the token. An iPhone with the Firebase SDK is `fcm`.
    #[schema(value_type = schema_enums::Platform)]
    platform: String,
    /// APNs: hex digits in any case, an even number, at most 400. FCM: 1 to 4,096 visible ASCII characters.
    token: String,
    /// What the token is for; `alert` if a new device names none. FCM tokens are always `alert`.
    #[schema(value_type = Option<schema_enums::Kind>)]
    kind: Option<String>,
    /// APNs's environment; the app's default if a new device names none. FCM has none.
    #[schema(value_type = Option<schema_enums::Environment>)]
    environment: Option<String>,
    /// The user to bind the device to: 1 to 128 bytes. A publishable key may only clear it, or name the user of its user
    /// token.
    #[schema(max_length = 128)]
    user: Option<String>,
    /// The whole set of topics; from a publishable key its open part, and what the user token lists.
    #[schema(max_items = 1000)]
    topics: Option<Vec<String>>,
    /// BCP 47, such as `de-DE`. What can't be read is ignored, and the answer says so.
    #[schema(required = false, value_type = Value)]
    locale: Option<Value>,
    /// An IANA name. What can't be read is ignored, and the answer says so.
    #[schema(required = false, value_type = Value)]
    timezone: Option<Value>,
    /// The app's version. What can't be read is ignored, and the answer says so.
    #[schema(required = false, value_type = Value)]
    app_version: Option<Value>,
    /// The token that this one replaces. What can't be read is ignored, and the answer says so.
    #[schema(required = false, value_type = Value)]
    replaces: Option<Value>,
    /// When the app handed over the token; now if left out. Not from a publishable key.
    #[schema(format = DateTime)]
    registered_at: Option<String>,
}

/// What changes about a device. A member left out stays as it is, `null` clears it.
#[derive(ToSchema, Debug)]
#[schema(example = json!({
    "kind": "alert", "environment": "sandbox", "user": null, "topics": ["news"], "locale": "de-DE",
    "timezone": "Europe/Berlin", "app_version": "5.2.0"
}))]
pub(in crate::api) struct DeviceChanges {
    /// What the token is for.
    #[schema(value_type = Option<schema_enums::Kind>)]
    kind: Option<String>,
    /// APNs's environment. FCM has none.
    #[schema(value_type = Option<schema_enums::Environment>)]
    environment: Option<String>,
    /// The user to bind the device to: 1 to 128 bytes.
    #[schema(max_length = 128)]
    user: Option<String>,
    /// The whole set of topics.
    #[schema(max_items = 1000)]
    topics: Option<Vec<String>>,
    /// BCP 47, such as `de-DE`. What can't be read is ignored, and the answer says so.
    #[schema(required = false, value_type = Value)]
    locale: Option<Value>,
    /// An IANA name. What can't be read is ignored, and the answer says so.
    #[schema(required = false, value_type = Value)]
    timezone: Option<Value>,
    /// The app's version. What can't be read is ignored, and the answer says so.
    #[schema(required = false, value_type = Value)]
    app_version: Option<Value>,
}

/// A device by its token.
#[derive(ToSchema, Debug)]
#[schema(example = json!({"platform": "fcm", "token": "fcm-token-7"}))]
pub(in crate::api) struct TokenOfDevice {
    /// The service that issued the token.
    #[schema(value_type = schema_enums::Platform)]
    platform: String,
    /// The token, as `PUT /v1/devices` takes it.
    token: String,
}

/// Tokens that the caller holds, of which it wants to know what Pushpost knows.
#[derive(ToSchema, Debug)]
#[schema(example = json!({"tokens": [{"platform": "fcm", "token": "fcm-token-7"}]}))]
pub(in crate::api) struct LookupRequest {
    /// At most 1,000 tokens.
    #[schema(max_items = 1000)]
    tokens: Vec<TokenOfDevice>,
}
