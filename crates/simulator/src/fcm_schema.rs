//! FCM's request schema as tables (docs/providers.md#fcm-message, #fcm-android_v2) and the walk that compares a body
//! with them. Unknown fields, wrong types and wrong values come out as the field violations of a
//! `google.rpc.BadRequest`.

use serde_json::{Map, Value};

/// A field's path and what is wrong with it.
pub(super) type Violation = (String, String);

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Lower-case letters are taken for upper-case ones.
    Enum(&'static [&'static str]),
    Bool,
    Int32,
    /// From 0 to 1.
    Fraction,
    Texts,
    /// Digits, perhaps a fraction, and `s`; at most this many seconds.
    Duration(u64),
    Durations,
    /// RFC 3339 in UTC.
    Timestamp,
    /// A color as `#rrggbb`.
    Color,
    /// Strings by name.
    TextMap,
    /// Strings by name, some names reserved.
    Data,
    /// Any JSON object.
    Struct,
    Object(&'static [Field]),
}

/// A field by its snake_case name; proto3 JSON takes lowerCamelCase too.
pub(super) type Field = (&'static str, Kind);

const FOUR_WEEKS: u64 = 2_419_200;
const ANY_DURATION: u64 = 315_576_000_000;

const REQUEST: &[Field] = &[("message", Kind::Object(MESSAGE)), ("validate_only", Kind::Bool)];

const MESSAGE: &[Field] = &[
    ("data", Kind::Data),
    ("notification", Kind::Object(&[("title", Kind::Text), ("body", Kind::Text), ("image", Kind::Text)])),
    ("android", Kind::Object(ANDROID)),
    ("android_v2", Kind::Object(ANDROID_V2)),
    ("webpush", Kind::Object(WEBPUSH)),
    ("apns", Kind::Object(APNS)),
    ("fcm_options", Kind::Object(LABEL)),
    ("token", Kind::Text),
    ("fid", Kind::Text),
    ("topic", Kind::Text),
    ("condition", Kind::Text),
];

const LABEL: &[Field] = &[("analytics_label", Kind::Text)];

const ANDROID: &[Field] = &[
    ("collapse_key", Kind::Text),
    ("priority", Kind::Enum(&["NORMAL", "HIGH"])),
    ("ttl", Kind::Duration(FOUR_WEEKS)),
    ("restricted_package_name", Kind::Text),
    ("data", Kind::Data),
    ("notification", Kind::Object(ANDROID_NOTIFICATION)),
    ("fcm_options", Kind::Object(LABEL)),
    ("direct_boot_ok", Kind::Bool),
    ("bandwidth_constrained_ok", Kind::Bool),
    ("restricted_satellite_ok", Kind::Bool),
];

const ANDROID_V2: &[Field] = &[
    ("collapse_key", Kind::Text),
    ("ttl", Kind::Duration(FOUR_WEEKS)),
    ("restricted_package_name", Kind::Text),
    ("data", Kind::Data),
    ("fcm_options", Kind::Object(LABEL)),
    ("direct_boot_ok", Kind::Bool),
    ("bandwidth_constrained_ok", Kind::Bool),
    ("restricted_satellite_ok", Kind::Bool),
    ("remote_notification", Kind::Object(REMOTE_NOTIFICATION)),
    ("background_sync", Kind::Object(&[])),
];

const REMOTE_NOTIFICATION: &[Field] = &[
    ("notification", Kind::Object(ANDROID_NOTIFICATION)),
    ("mutable_content", Kind::Bool),
    ("use_as_v1_data_message", Kind::Bool),
];

const ANDROID_NOTIFICATION: &[Field] = &[
    ("title", Kind::Text),
    ("body", Kind::Text),
    ("icon", Kind::Text),
    ("color", Kind::Color),
    ("sound", Kind::Text),
    ("tag", Kind::Text),
    ("click_action", Kind::Text),
    ("channel_id", Kind::Text),
    ("ticker", Kind::Text),
    ("image", Kind::Text),
    ("body_loc_key", Kind::Text),
    ("title_loc_key", Kind::Text),
    ("body_loc_args", Kind::Texts),
    ("title_loc_args", Kind::Texts),
    ("sticky", Kind::Bool),
    ("local_only", Kind::Bool),
    ("default_sound", Kind::Bool),
    ("default_vibrate_timings", Kind::Bool),
    ("default_light_settings", Kind::Bool),
    ("event_time", Kind::Timestamp),
    ("notification_priority", Kind::Enum(NOTIFICATION_PRIORITY)),
    ("vibrate_timings", Kind::Durations),
    ("visibility", Kind::Enum(&["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"])),
    ("notification_count", Kind::Int32),
    ("proxy", Kind::Enum(&["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"])),
    ("light_settings", Kind::Object(LIGHT_SETTINGS)),
    ("bypass_proxy_notification", Kind::Bool),
];

const NOTIFICATION_PRIORITY: &[&str] = &[
    "PRIORITY_UNSPECIFIED",
    "PRIORITY_MIN",
    "PRIORITY_LOW",
    "PRIORITY_DEFAULT",
    "PRIORITY_HIGH",
    "PRIORITY_MAX",
];

const LIGHT_SETTINGS: &[Field] = &[
    ("color", Kind::Object(LIGHT_COLOR)),
    ("light_on_duration", Kind::Duration(ANY_DURATION)),
    ("light_off_duration", Kind::Duration(ANY_DURATION)),
];

const LIGHT_COLOR: &[Field] = &[
    ("red", Kind::Fraction),
    ("green", Kind::Fraction),
    ("blue", Kind::Fraction),
    ("alpha", Kind::Fraction),
];

const APNS: &[Field] = &[
    ("headers", Kind::TextMap),
    ("payload", Kind::Struct),
    ("fcm_options", Kind::Object(&[("analytics_label", Kind::Text), ("image", Kind::Text)])),
    ("live_activity_token", Kind::Text),
];

const WEBPUSH: &[Field] = &[
    ("headers", Kind::TextMap),
    ("data", Kind::TextMap),
    ("notification", Kind::Struct),
    ("fcm_options", Kind::Object(&[("link", Kind::Text), ("analytics_label", Kind::Text)])),
];

/// All violations of a request body.
pub(super) fn check(request: &Map<String, Value>) -> Vec<Violation> {
    let mut found = Vec::new();
    walk(request, REQUEST, "", &mut found);
    found
}

/// A member by its snake_case name, spelt either way.
pub(super) fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| object.iter().find(|(key, _)| is_camel_of(key, name)).map(|(_, value)| value))
}

fn walk(object: &Map<String, Value>, fields: &[Field], path: &str, found: &mut Vec<Violation>) {
    let mut seen = Vec::with_capacity(object.len());
    for (key, value) in object {
        let Some((name, kind)) = fields.iter().find(|(name, _)| key == name || is_camel_of(key, name)) else {
            found.push((path.to_owned(), format!("Unknown name \"{key}\": Cannot find field.")));
            continue;
        };
        let place = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
        if seen.contains(name) {
            found.push((place, "Field is given twice.".to_owned()));
            continue;
        }
        seen.push(*name);
        // proto3 JSON reads null as absent.
        if !value.is_null() {
            check_value(value, *kind, place, found);
        }
    }
}

fn check_value(value: &Value, kind: Kind, place: String, found: &mut Vec<Violation>) {
    if let (Kind::Object(fields), Value::Object(object)) = (kind, value) {
        return walk(object, fields, &place, found);
    }
    if let (Kind::Data, Value::Object(data)) = (kind, value) {
        let reserved = data.keys().filter(|key| is_reserved(key));
        found.extend(
            reserved.map(|key| (format!("{place}[{key}]"), format!("Invalid data payload key: {key}"))),
        );
    }
    if let Err(expected) = fits(value, kind) {
        found.push((place, format!("Invalid value ({expected} expected).")));
    }
}

fn fits(value: &Value, kind: Kind) -> Result<(), &'static str> {
    let texts = |value: &Value| value.as_object().is_some_and(|map| map.values().all(Value::is_string));
    let all = |holds: fn(&Value) -> bool| value.as_array().is_some_and(|list| list.iter().all(holds));
    let (holds, expected) = match kind {
        Kind::Text => (value.is_string(), "string"),
        Kind::Enum(names) => {
            (value.as_str().is_some_and(|text| names.contains(&text.to_ascii_uppercase().as_str())), "enum")
        }
        Kind::Bool => (value.is_boolean(), "boolean"),
        Kind::Int32 => (value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()), "int32"),
        Kind::Fraction => {
            (value.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number)), "number from 0 to 1")
        }
        Kind::Texts => (all(Value::is_string), "list of strings"),
        Kind::Duration(most) => (is_duration(value, most), "duration"),
        Kind::Durations => (all(|item| is_duration(item, ANY_DURATION)), "list of durations"),
        Kind::Timestamp => (value.as_str().is_some_and(is_timestamp), "timestamp"),
        Kind::Color => (value.as_str().is_some_and(is_color), "#rrggbb"),
        Kind::TextMap | Kind::Data => (texts(value), "map of strings"),
        Kind::Struct | Kind::Object(_) => (value.is_object(), "object"),
    };
    holds.then_some(()).ok_or(expected)
}

/// The wider of FCM's two wordings (docs/providers.md#fcm-message).
fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "gcm" | "message_type") || key.starts_with("google") || key.starts_with("gcm.")
}

fn is_duration(value: &Value, most: u64) -> bool {
    let Some(number) = value.as_str().and_then(|text| text.strip_suffix('s')) else { return false };
    let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && digits(rest)
        && rest.len() <= 9
        && whole
            .parse::<u64>()
            .is_ok_and(|whole| whole < most || (whole == most && rest.bytes().all(|byte| byte == b'0')))
}

fn is_timestamp(text: &str) -> bool {
    text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok()
}

fn is_color(text: &str) -> bool {
    text.len() == 7 && text.starts_with('#') && text[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Compares `maxSpeed` with `max_speed` without building either.
fn is_camel_of(camel: &str, snake: &str) -> bool {
    let mut camel = camel.bytes();
    let mut upper = false;
    for byte in snake.bytes() {
        if byte == b'_' {
            upper = true;
            continue;
        }
        let expected = if upper { byte.to_ascii_uppercase() } else { byte };
        upper = false;
        if camel.next() != Some(expected) {
            return false;
        }
    }
    camel.next().is_none()
}
