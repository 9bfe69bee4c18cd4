//! Requests to APNs: one body and one set of headers per notification, and the headers of one attempt. Pure.

use std::fmt;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::{Content, DeviceToken, InputCode, NotificationId, ValidationError};
use crate::provider::apns;
use crate::provider::apple::{self, Alert, PushType};
use crate::provider::merge::merge;
use crate::provider::{Attempt, Expiry};

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const EXPIRATION: HeaderName = HeaderName::from_static(apple::EXPIRATION);
const PER_ATTEMPT: [HeaderName; 3] = [AUTHORIZATION, APNS_ID, EXPIRATION];

/// Where a request's topic came from. It decides whether a refused topic concerns the lane, the token or only the
/// request (docs/queue.md#topic-override).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicOrigin {
    /// The configured topic without a suffix: a refusal concerns the lane or the token.
    Configured,
    /// The configured topic with the suffix of a push type that the request named.
    PushType,
    /// A topic that the request named, and that differs from the topic of its push type.
    Override,
}

/// A notification, rendered for all devices of an APNs lane. Cloning shares the body.
#[derive(Clone)]
pub struct ApnsMessage {
    body: Bytes,
    headers: HeaderMap,
    topic: TopicOrigin,
    push_type: PushType,
}

/// Renders the part that all attempts at `content` share. `topic` is the configured topic without a suffix.
pub fn prepare(id: NotificationId, content: &Content, topic: &str) -> ApnsMessage {
    let push_type = apple::push_type(content);
    let derived = format!("{topic}{}", push_type.topic_suffix());
    let overridden = apple::header(content, apple::TOPIC).unwrap_or(&derived);
    let origin = match overridden == derived {
        true if derived == topic => TopicOrigin::Configured,
        true => TopicOrigin::PushType,
        false => TopicOrigin::Override,
    };
    let mut headers = HeaderMap::with_capacity(8);
    // The headers of an attempt get empty values here, so that a copy of the map never has to grow. Growing would cost
    // more than the rest of the head.
    for name in PER_ATTEMPT {
        headers.insert(name, HeaderValue::from_static(""));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(apple::PUSH_TYPE, HeaderValue::from_static(push_type.as_str()));
    set(&mut headers, apple::TOPIC, overridden);
    let priority =
        apple::header(content, apple::PRIORITY).unwrap_or_else(|| apple::priority(content, push_type));
    set(&mut headers, apple::PRIORITY, priority);
    if let Some(collapse_id) = collapse_id(id, content, push_type) {
        set(&mut headers, apple::COLLAPSE_ID, &collapse_id);
    }
    let body = serde_json::to_vec(&payload(id, content)).expect("a JSON value is always writable");
    ApnsMessage { body: body.into(), headers, topic: origin, push_type }
}

/// Faults of a request's `apns` part. `topics` are the configured topics of the app.
pub fn check_overrides(content: &Content, topics: &[String]) -> Vec<ValidationError> {
    apple::check_headers(apple::headers(content), "#/apns/headers", apple::push_type(content), topics)
}

/// The fault of a body that is larger than APNs takes (docs/providers.md#apns-request). Any id gives the size, because
/// all ids have the same length.
pub fn check_size(content: &Content, id: NotificationId) -> Option<ValidationError> {
    let (size, limit) = prepare(id, content, "").size_and_limit();
    (size > limit).then(|| {
        ValidationError::at("#", InputCode::PayloadTooLarge, "larger than APNs takes")
            .with("platform", apns::PLATFORM.as_str())
            .with("size", size)
            .with("limit", limit)
    })
}

/// Whether the `apns` part has an alert, a badge or a sound.
pub fn shows_something(content: &Content) -> bool {
    apple::shows_something(apple::payload(content).get("aps"))
}

/// Whether the `apns` part has content, so that the request's common fields may be empty.
///
/// Content is an alert, badge or sound, `content-available`, or a non-empty payload of another push type. A location
/// query needs none.
pub fn supplies_content(content: &Content) -> bool {
    let aps = apple::payload(content).get("aps");
    match apple::push_type(content) {
        PushType::Alert | PushType::Background => apple::has_effect(aps),
        PushType::Location => true,
        _ => !apple::payload(content).is_empty() || !content.data.is_empty(),
    }
}

/// Whether there is anything to send to an APNs device. Content of the `fcm` part alone does not count, because APNs
/// refuses an alert without `alert`, `badge` or `sound`.
pub fn has_something_to_send(content: &Content) -> bool {
    if apple::is_empty(content) && (content.silent || content.shows_something()) {
        return true;
    }
    // The id has no influence on the result.
    let payload = payload(NotificationId(Uuid::nil()), content);
    match apple::push_type(content) {
        PushType::Alert | PushType::Background => apple::has_effect(payload.get("aps")),
        // A location query needs no content.
        PushType::Location => true,
        _ => payload.iter().any(|(name, value)| match name.as_str() {
            "aps" => value.as_object().is_none_or(|aps| !aps.is_empty()),
            name => name != "pushpost",
        }),
    }
}

impl ApnsMessage {
    /// The JSON body, the same for every device.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The size of the body and APNs's limit for its push type, both in bytes.
    pub fn size_and_limit(&self) -> (usize, usize) {
        (self.body.len(), self.push_type.payload_limit())
    }

    /// The headers that all devices get with this expiry, in no particular order. Used by previews.
    pub fn headers(&self, expiry: Expiry) -> Vec<(String, String)> {
        let shared =
            self.headers.iter().filter(|(name, _)| !PER_ATTEMPT.contains(name)).map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            });
        shared.chain([(apple::EXPIRATION.to_owned(), apple::expiration(expiry).to_string())]).collect()
    }

    /// Where the topic came from, for the classification of the answer.
    pub(in crate::provider) fn topic(&self) -> TopicOrigin {
        self.topic
    }

    /// The request head of one attempt.
    pub fn head(&self, authority: &Authority, attempt: &Attempt<'_>, bearer: HeaderValue) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = uri(authority, attempt.token);
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(AUTHORIZATION, bearer);
        let mut apns_id = [0; uuid::fmt::Hyphenated::LENGTH];
        let apns_id = attempt.message_id.as_hyphenated().encode_lower(&mut apns_id);
        let mut apns_id = HeaderValue::from_str(apns_id).expect("a UUID is a header value");
        // The value never repeats. Sensitive values stay out of the HPACK table, so it evicts no other header
        // (docs/providers.md#apns-http2).
        apns_id.set_sensitive(true);
        headers.insert(APNS_ID, apns_id);
        headers.insert(EXPIRATION, apple::expiration(attempt.expiry()).into());
        request
    }
}

impl fmt::Debug for ApnsMessage {
    /// Shows the size only, because the content is private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApnsMessage").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

fn uri(authority: &Authority, token: &DeviceToken) -> Uri {
    let path = Bytes::from(["/3/device/", token.expose()].concat());
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(PathAndQuery::from_maybe_shared(path).expect("an APNs token is hexadecimal"));
    Uri::from_parts(parts).expect("scheme, authority and path are all there")
}

/// Sets a header. Skips an invalid value, which `check_overrides` and the API refuse before anything is stored.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// The `apns-collapse-id`. A `null` override removes the derived one too.
fn collapse_id(id: NotificationId, content: &Content, push_type: PushType) -> Option<String> {
    match apple::headers(content).get(apple::COLLAPSE_ID) {
        Some(Value::String(chosen)) => Some(chosen.clone()),
        Some(Value::Null) => None,
        _ => apple::collapse_id(content, push_type, id),
    }
}

fn payload(id: NotificationId, content: &Content) -> Map<String, Value> {
    let mut payload = Map::new();
    payload.insert("aps".to_owned(), Value::Object(apple::aps(content, Alert::Written)));
    for (name, value) in &content.data {
        payload.insert(name.clone(), value.clone());
    }
    apple::put(&mut payload, "url", content.url.as_deref());
    if let Some(image) = content.image.as_deref().filter(|_| !content.silent) {
        payload.insert("fcm_options".to_owned(), json!({ "image": image }));
    }
    payload.insert("pushpost".to_owned(), id.to_string().into());
    merge(&mut payload, apple::payload(content));
    payload
}

#[cfg(test)]
mod tests;
