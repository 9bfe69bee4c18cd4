//! The body of `POST /v1/notifications`, as the OpenAPI document describes it. It is read by [`super::request`], which reports
//! all faults at once; `api::openapi`'s tests compare both.

#![expect(dead_code, reason = "these types only describe; nothing constructs them")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, OneOfBuilder, Type};
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::schema_enums;

/// A notification and the devices that it is for. A member that is `null` counts as left out.
#[derive(ToSchema, Debug)]
#[schema(example = json!({
    "to": {"users": ["u7", "u8"]},
    "title": "Order shipped", "body": "Your order #789 has been dispatched.", "subtitle": "Two parcels",
    "image": "https://cdn.example.com/789.jpg", "sound": "default", "badge": 1, "category": "ORDER", "thread": "orders",
    "channel": "orders", "url": "myapp://orders/789", "data": {"order_id": "789", "lines": 3}, "silent": false,
    "priority": "high", "ttl": "1h", "collapse_key": "order-789", "label": "order-updates", "metadata": {"order": "789"},
    "on_bad_token": "fail", "idempotency_key": "order-789-shipped",
    "apns": {"headers": {"apns-push-type": "alert"}, "payload": {"aps": {"interruption-level": "time-sensitive"}}},
    "fcm": {"android": {"notification": {"channel_id": "orders"}}}
}))]
pub(in crate::api) struct SendRequest {
    /// The devices that get it.
    to: AudienceBody,
    /// The title, for people.
    title: Option<String>,
    /// The text, for people.
    body: Option<String>,
    /// A line below the title; Android has none.
    subtitle: Option<String>,
    /// An https URL.
    image: Option<String>,
    /// The sound's name; `default` for the system's.
    sound: Option<String>,
    /// The number on the app's icon.
    #[schema(minimum = 0, maximum = 2147483647)]
    badge: Option<u32>,
    /// The category that decides on the notification's actions; Android has none.
    category: Option<String>,
    /// Groups notifications; Android has none.
    thread: Option<String>,
    /// The Android channel.
    channel: Option<String>,
    /// What a tap opens: `url` at the root of APNs's payload, `data.url` for FCM.
    url: Option<String>,
    /// For the app: at the root of APNs's payload; FCM takes strings, so that other values become their JSON text.
    data: Option<BTreeMap<String, Value>>,
    /// Wakes the app without showing anything.
    silent: Option<bool>,
    /// Its place in the queue; `normal` if left out.
    #[schema(value_type = Option<schema_enums::Priority>)]
    priority: Option<String>,
    /// How long a provider may take to deliver it: whole seconds, or digits and one of `s m h d w`; at most 28 days.
    #[schema(value_type = Option<schema_enums::TimeToLive>)]
    ttl: Option<String>,
    /// A later notification with this key replaces an earlier one on the phone.
    #[schema(min_length = 1, max_length = 64)]
    collapse_key: Option<String>,
    /// When to send it: RFC 3339 with `Z` or an offset, at most a year ahead. Up to an hour in the past means at once. It goes
    /// to the devices that the audience has then.
    #[schema(format = DateTime)]
    send_at: Option<String>,
    /// Kept and returned, never sent to a phone; also FCM's `analytics_label`.
    #[schema(value_type = Option<schema_enums::Label>)]
    label: Option<String>,
    /// At most 16 strings, 2 KB together. Kept and returned, never sent to a phone.
    metadata: Option<BTreeMap<String, String>>,
    /// `fail`: a token that can't be read, or is of a service that is not supported, is a fault of the request. `reject`:
    /// it is a target of its own, which ends `rejected`. `fail` if left out.
    #[schema(value_type = Option<schema_enums::OnBadToken>)]
    on_bad_token: Option<String>,
    /// What the header `Idempotency-Key` may say instead: a repeat with the same key is answered as the first time.
    #[schema(pattern = "^[!-~]{1,255}$")]
    idempotency_key: Option<String>,
    /// What only APNs gets, merged last (RFC 7396).
    apns: Option<ApnsOverridesBody>,
    /// What only FCM gets: members of its message, with the types that they have there, merged last (RFC 7396).
    fcm: Option<BTreeMap<String, Value>>,
}

/// The body of `POST /v1/notifications`: only with `dry_run=true` may it be a [`PreviewRequest`].
pub(super) enum SendOrPreview {}

impl PartialSchema for SendOrPreview {
    fn schema() -> RefOr<Schema> {
        let (send, preview) = (SendRequest::name(), PreviewRequest::name());
        let any = AnyOfBuilder::new().item(Ref::from_schema_name(send)).item(Ref::from_schema_name(preview));
        RefOr::T(Schema::AnyOf(any.build()))
    }
}

impl ToSchema for SendOrPreview {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((SendRequest::name().into_owned(), SendRequest::schema()));
        SendRequest::schemas(schemas);
    }
}

/// The body of `POST /v1/notifications/batch`. The most items are a limit of the configuration.
pub(super) enum Batch {}

impl PartialSchema for Batch {
    fn schema() -> RefOr<Schema> {
        let item = Ref::from_schema_name(SendRequest::name());
        ArrayBuilder::new().items(item).min_items(Some(1)).build().into()
    }
}

impl ToSchema for Batch {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((SendRequest::name().into_owned(), SendRequest::schema()));
        SendRequest::schemas(schemas);
    }
}

/// As [`SendRequest`], but `to` may be left out.
pub(in crate::api) enum PreviewRequest {}

impl PartialSchema for PreviewRequest {
    fn schema() -> RefOr<Schema> {
        let mut schema = SendRequest::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.required.retain(|name| name != "to");
            if let Some(to) = object.properties.shift_remove("to") {
                let nothing = ObjectBuilder::new().schema_type(Type::Null);
                let to = OneOfBuilder::new().item(to).item(nothing).build();
                object.properties.insert("to".to_owned(), RefOr::T(Schema::OneOf(to)));
            }
            object.description = Some(
                "A notification to be previewed. A member that is `null` counts as left out.".to_owned(),
            );
        }
        schema
    }
}

impl ToSchema for PreviewRequest {
    fn name() -> Cow<'static, str> {
        "PreviewRequest".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        SendRequest::schemas(schemas);
    }
}

/// The devices that a notification is for: the union of all that is named, each device once.
#[derive(ToSchema, Debug)]
#[schema(as = Audience, min_properties = 1)]
#[schema(example = json!({
    "devices": ["dev_5bf4acbbbcffe5d67fbfee43320f88a6"], "users": ["u7"],
    "tokens": [{"platform": "fcm", "token": "fcm-token-7", "ref": "row-1"}], "topics": ["news", "team:42"],
    "condition": "news && (sport || !finance)", "all": false, "platforms": ["apns", "fcm"],
    "except": {"users": ["u9"], "devices": ["dev_00000000000000000000000000000000"], "topics": ["quiet"]}
}))]
pub(in crate::api) struct AudienceBody {
    /// Ids of devices.
    devices: Option<Vec<String>>,
    /// Users: all of their devices.
    users: Option<Vec<String>>,
    /// Tokens, known to Pushpost or not.
    tokens: Option<Vec<AddressedTokenBody>>,
    /// Devices with any of these topics, by a subscription of their own or of their user. Unknown topics match nothing.
    topics: Option<Vec<String>>,
    /// Devices for which this holds over their own topics and those of their user: names, `!`, `&&`, `||` and parentheses; at
    /// most 20 names. FCM's `'news' in topics` is understood.
    #[schema(example = "news && (sport || !finance)")]
    condition: Option<String>,
    /// Every active device that was registered or imported.
    all: Option<bool>,
    /// Only devices of these services.
    #[schema(value_type = Option<Vec<schema_enums::Platform>>, min_items = 1)]
    platforms: Option<Vec<String>>,
    /// Devices that do not get it.
    except: Option<AudienceExceptBody>,
}

/// A token that the sender holds.
#[derive(ToSchema, Debug)]
#[schema(as = AddressedToken)]
#[schema(example = json!({
    "platform": "apns", "token": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "environment": "production", "kind": "alert", "ref": "row-1"
}))]
pub(in crate::api) struct AddressedTokenBody {
    /// The service that issued the token.
    #[schema(value_type = schema_enums::Platform)]
    platform: String,
    /// The token, as `PUT /v1/devices` takes it.
    token: String,
    /// APNs's environment, if Pushpost does not know the token yet; the app's default if left out.
    #[schema(value_type = Option<schema_enums::Environment>)]
    environment: Option<String>,
    /// What the token is for, if Pushpost does not know it yet.
    #[schema(value_type = Option<schema_enums::Kind>)]
    kind: Option<String>,
    /// The sender's own word for the token, which its delivery repeats: at most 128 bytes.
    #[schema(max_length = 128)]
    r#ref: Option<String>,
}

/// Devices that do not get a notification.
#[derive(ToSchema, Debug)]
#[schema(as = AudienceExcept)]
#[schema(example = json!({
    "users": ["u9"], "devices": ["dev_00000000000000000000000000000000"], "topics": ["quiet"]
}))]
pub(in crate::api) struct AudienceExceptBody {
    /// Ids of devices.
    devices: Option<Vec<String>>,
    /// Users: all of their devices.
    users: Option<Vec<String>>,
    /// Topics: devices that have any of them, by a subscription of their own or of their user.
    topics: Option<Vec<String>>,
}

/// What only APNs gets.
#[derive(ToSchema, Debug)]
#[schema(as = ApnsOverrides)]
#[schema(example = json!({
    "headers": {"apns-push-type": "alert"}, "payload": {"aps": {"interruption-level": "time-sensitive"}}
}))]
pub(in crate::api) struct ApnsOverridesBody {
    /// `apns-push-type`, `apns-priority`, `apns-collapse-id`, `apns-topic`.
    headers: Option<BTreeMap<String, Option<String>>>,
    /// Members of the payload.
    payload: Option<BTreeMap<String, Value>>,
}
