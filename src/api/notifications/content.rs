//! Reads the content of a notification: the members of a request that decide what phones get.

use http::Uri;
use serde_json::{Map, Value};

use crate::api::json::{Fields, unknown_choice};
use crate::domain::{
    COLLAPSE_KEY_MAX, Content, ErrorLocation, InputCode, Platform, Priority, ProviderOverrides,
    ValidationError, is_collapse_key,
};
use crate::notifications::rules::Oversize;
use crate::provider::{Provider, Providers};

/// The largest number that both providers take as a badge: FCM's is a signed 32-bit integer (docs/providers.md#fcm-message).
const BADGE_MAX: u64 = i32::MAX as u64;

/// The most bytes of the content as JSON without spaces: several times what any provider takes of all parts together.
/// Larger content is refused before it is built as a tree, which takes many times the bytes of its text.
const BYTES_MAX: usize = 32 << 10;
/// Names in `data` that FCM refuses or overwrites, that APNs reads, or that Pushpost adds.
const RESERVED_NAMES: [&str; 6] = ["aps", "fcm_options", "pushpost", "from", "gcm", "message_type"];
/// Starts of names that FCM keeps for itself (docs/providers.md#fcm-message).
const RESERVED_STARTS: [&str; 2] = ["google", "gcm."];
/// The members of a request that are the content, without those of providers.
const MEMBERS: [&str; 14] = [
    "title",
    "body",
    "subtitle",
    "image",
    "sound",
    "badge",
    "category",
    "thread",
    "channel",
    "url",
    "silent",
    "priority",
    "collapse_key",
    "data",
];

/// Checks the size of the content. The members of content that is too large are not read.
pub(super) fn oversize(
    fields: &mut Fields<'_>,
    body_bytes: usize,
    providers: &Providers,
) -> Option<Oversize> {
    if body_bytes <= BYTES_MAX {
        return None;
    }
    let parts = providers.iter().map(|provider| provider.platform().as_str());
    let members: Vec<_> = MEMBERS.into_iter().chain(parts).collect();
    let size = members.iter().fold(0, |size, name| size + fields.written_bytes(name, body_bytes));
    if size <= BYTES_MAX {
        return None;
    }
    for name in members {
        fields.value(name);
    }
    let limits = providers.iter().map(|provider| limit(fields, provider)).collect();
    Some(Oversize { size, limits })
}

/// The most bytes that a provider takes of the notification.
fn limit(fields: &mut Fields<'_>, provider: &dyn Provider) -> (Platform, usize) {
    let platform = provider.platform();
    let part = fields.value(platform.as_str());
    let text_at = |path: &[&str]| path.iter().try_fold(part?, |value, name| value.get(name))?.as_str();
    (platform, provider.payload_limit(&text_at))
}

/// Reads the content. A faulty member reads as absent.
pub(super) fn read(fields: &mut Fields<'_>, providers: &Providers) -> Content {
    let text = |fields: &mut Fields<'_>, name| fields.string(name).map(str::to_owned);
    let content = Content {
        title: text(fields, "title"),
        body: text(fields, "body"),
        subtitle: text(fields, "subtitle"),
        image: image(fields),
        sound: text(fields, "sound"),
        badge: fields.integer("badge", 0..=BADGE_MAX).and_then(|badge| u32::try_from(badge).ok()),
        category: text(fields, "category"),
        thread: text(fields, "thread"),
        channel: text(fields, "channel"),
        url: text(fields, "url"),
        silent: fields.boolean("silent").unwrap_or_default(),
        priority: priority(fields),
        collapse_key: collapse_key(fields),
        label: None,
        overrides: overrides(fields, providers),
        data: Map::new(),
    };
    let data = data(fields, content.url.is_some());
    if content.silent && content.shows_something() {
        let detail = "a silent notification has no title, body, sound or badge";
        fields.fault("silent", InputCode::SilentWithContent, detail);
    }
    Content { data, ..content }
}

fn image(fields: &mut Fields<'_>) -> Option<String> {
    let image = fields.string("image")?;
    let is_https = image.parse::<Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !is_https {
        fields.fault("image", InputCode::BadValue, "an image is an https URL");
    }
    Some(image.to_owned())
}

fn priority(fields: &mut Fields<'_>) -> Priority {
    let Some(name) = fields.string("priority") else { return Priority::default() };
    Priority::parse(name).unwrap_or_else(|| {
        let names = Priority::DESCENDING.map(Priority::as_str);
        fields.faults().push(unknown_choice(fields.pointer("priority"), name, &names));
        Priority::default()
    })
}

fn collapse_key(fields: &mut Fields<'_>) -> Option<String> {
    let key = fields.string("collapse_key")?;
    if !is_collapse_key(key) {
        let detail = "a collapse key is 1 to 64 printable ASCII characters without spaces at its ends";
        let fault = ValidationError::at(fields.pointer("collapse_key"), InputCode::BadHeader, detail);
        fields.faults().push(fault.with("limit", COLLAPSE_KEY_MAX).with("size", key.len()));
    }
    Some(key.to_owned())
}

/// What they may say is checked later ([`crate::notifications::rules`]).
fn overrides(fields: &mut Fields<'_>, providers: &Providers) -> ProviderOverrides {
    let mut overrides = ProviderOverrides::default();
    for provider in providers.iter() {
        let name = provider.platform().as_str();
        let part = match provider.override_members() {
            None => fields.map(name).unwrap_or_default(),
            Some(members) => objects(fields.fields(name), members),
        };
        overrides.add(name, part);
    }
    overrides
}

/// A part with these members only, each an object. One that is left out is empty.
fn objects(mut part: Option<Fields<'_>>, members: &[&'static str]) -> Map<String, Value> {
    let mut object = |name| part.as_mut().and_then(|part| part.map(name)).unwrap_or_default();
    let read = members.iter().map(|name| ((*name).to_owned(), Value::Object(object(name)))).collect();
    part.into_iter().for_each(Fields::finish);
    read
}

/// Reports names that the providers or Pushpost use themselves.
fn data(fields: &mut Fields<'_>, has_url: bool) -> Map<String, Value> {
    let Some(data) = fields.map("data") else { return Map::new() };
    let at = fields.pointer("data");
    for name in data.keys() {
        let detail = if let Some(reserved) = reserved(name) {
            format!("{reserved} by a provider or by Pushpost; use another name")
        } else if name == "url" && has_url {
            "the field `url` takes this name already".to_owned()
        } else {
            continue;
        };
        fields.faults().push(ValidationError::at(
            ErrorLocation::member(&at, name),
            InputCode::ReservedKey,
            detail,
        ));
    }
    data
}

/// What of a name in `data` is reserved; none if nothing is.
fn reserved(name: &str) -> Option<String> {
    if RESERVED_NAMES.contains(&name) {
        return Some(format!("`{name}` is reserved"));
    }
    let start = RESERVED_STARTS.into_iter().find(|start| name.starts_with(start))?;
    Some(format!("names that begin with `{start}` are reserved"))
}
