//! The members of FCM's `Message`. Overrides are checked against them and brought into one spelling
//! (docs/providers.md#fcm-message, #fcm-android_v2).
//!
//! FCM reads `snake_case` and `lowerCamelCase`, and refuses a member that is given in both. The rendered message uses
//! `snake_case`, so overrides are converted to it before they are merged.

use serde_json::{Map, Value};

use crate::domain::{ErrorLocation, InputCode, ValidationError, as_whole_number, nearest, shown_name};

/// The type of a member's value.
enum Kind {
    Text,
    Flag,
    /// A signed integer of 32 bits.
    Whole,
    Number,
    /// A duration in seconds, such as `3.5s`.
    Span,
    /// A time in the form of RFC 3339.
    Time,
    Word(&'static [&'static str]),
    Texts,
    Spans,
    /// An object with any member names and string values.
    TextMap,
    /// An object with any content, which FCM passes on.
    Free,
    Object(&'static [Field]),
    /// A member that Pushpost sets or that FCM returns only. Requests can't override it.
    Reserved,
}

type Field = (&'static str, Kind);

use Kind::{Flag, Free, Number, Object, Reserved, Span, Spans, Text, TextMap, Texts, Time, Whole, Word};

const MESSAGE: &[Field] = &[
    ("name", Reserved),
    ("token", Reserved),
    ("fid", Reserved),
    ("topic", Reserved),
    ("condition", Reserved),
    ("validate_only", Reserved),
    ("data", TextMap),
    ("notification", Object(&[("title", Text), ("body", Text), ("image", Text)])),
    ("android", Object(ANDROID)),
    ("android_v2", Object(ANDROID_V2)),
    ("webpush", Object(WEBPUSH)),
    ("apns", Object(APNS)),
    ("fcm_options", Object(LABEL)),
];

const LABEL: &[Field] = &[("analytics_label", Text)];

const ANDROID: &[Field] = &[
    ("collapse_key", Text),
    ("priority", Word(&["NORMAL", "HIGH", "normal", "high"])),
    ("ttl", Reserved),
    ("restricted_package_name", Text),
    ("data", TextMap),
    ("notification", Object(ANDROID_NOTIFICATION)),
    ("fcm_options", Object(LABEL)),
    ("direct_boot_ok", Flag),
    ("bandwidth_constrained_ok", Flag),
    ("restricted_satellite_ok", Flag),
];

const ANDROID_V2: &[Field] = &[
    ("collapse_key", Text),
    ("ttl", Reserved),
    ("restricted_package_name", Text),
    ("data", TextMap),
    ("fcm_options", Object(LABEL)),
    ("direct_boot_ok", Flag),
    ("bandwidth_constrained_ok", Flag),
    ("restricted_satellite_ok", Flag),
    (
        "remote_notification",
        Object(&[
            ("notification", Object(ANDROID_NOTIFICATION)),
            ("mutable_content", Flag),
            ("use_as_v1_data_message", Flag),
        ]),
    ),
    ("background_sync", Object(&[])),
];

const ANDROID_NOTIFICATION: &[Field] = &[
    ("title", Text),
    ("body", Text),
    ("icon", Text),
    ("color", Text),
    ("sound", Text),
    ("tag", Text),
    ("click_action", Text),
    ("channel_id", Text),
    ("ticker", Text),
    ("image", Text),
    ("body_loc_key", Text),
    ("title_loc_key", Text),
    ("body_loc_args", Texts),
    ("title_loc_args", Texts),
    ("sticky", Flag),
    ("local_only", Flag),
    ("default_sound", Flag),
    ("default_vibrate_timings", Flag),
    ("default_light_settings", Flag),
    ("event_time", Time),
    (
        "notification_priority",
        Word(&[
            "PRIORITY_UNSPECIFIED",
            "PRIORITY_MIN",
            "PRIORITY_LOW",
            "PRIORITY_DEFAULT",
            "PRIORITY_HIGH",
            "PRIORITY_MAX",
        ]),
    ),
    ("vibrate_timings", Spans),
    ("visibility", Word(&["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"])),
    ("notification_count", Whole),
    ("proxy", Word(&["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"])),
    ("light_settings", Object(LIGHT_SETTINGS)),
    ("bypass_proxy_notification", Flag),
];

const LIGHT_SETTINGS: &[Field] = &[
    ("color", Object(&[("red", Number), ("green", Number), ("blue", Number), ("alpha", Number)])),
    ("light_on_duration", Span),
    ("light_off_duration", Span),
];

const WEBPUSH: &[Field] = &[
    ("headers", TextMap),
    ("data", TextMap),
    ("notification", Free),
    ("fcm_options", Object(&[("link", Text), ("analytics_label", Text)])),
];

const APNS: &[Field] = &[
    // `apple::check_headers` checks the headers.
    ("headers", Free),
    ("payload", Free),
    ("fcm_options", Object(&[("analytics_label", Text), ("image", Text)])),
    ("live_activity_token", Text),
];

/// The faults of a request's `fcm` part: unknown members, wrong types, and members that can't be overridden. `null`
/// counts as absent.
pub(super) fn check(overrides: &Map<String, Value>) -> Vec<ValidationError> {
    let mut faults = Vec::new();
    check_object(overrides, MESSAGE, "#/fcm", &mut faults);
    faults
}

/// Most faults that are collected. A request could have a million, and an answer lists no more than this.
const FAULTS_MAX: usize = 1_000;

/// The overrides with all known names in `snake_case`, and whole numbers without a fraction.
pub(super) fn canonical(overrides: &Map<String, Value>) -> Map<String, Value> {
    respell(overrides, MESSAGE)
}

fn respell(object: &Map<String, Value>, fields: &[Field]) -> Map<String, Value> {
    let respelt = object.iter().map(|(name, value)| match (find(fields, name), value) {
        (Some((name, Object(fields))), Value::Object(object)) => {
            ((*name).to_owned(), Value::Object(respell(object, fields)))
        }
        // FCM is sent `7` for `7.0`.
        (Some((name, Whole)), Value::Number(_)) => {
            ((*name).to_owned(), as_whole_number(value).map_or_else(|| value.clone(), Value::from))
        }
        (Some((name, _)), value) => ((*name).to_owned(), value.clone()),
        (None, value) => (name.clone(), value.clone()),
    });
    respelt.collect()
}

fn check_object(
    object: &Map<String, Value>,
    fields: &[Field],
    pointer: &str,
    faults: &mut Vec<ValidationError>,
) {
    for (name, value) in object {
        if faults.len() >= FAULTS_MAX {
            return;
        }
        let pointer = ErrorLocation::member(pointer, name);
        match find(fields, name) {
            None => faults.push(unknown(fields, name, pointer)),
            Some((_, Reserved)) => {
                faults.push(ValidationError::at(
                    pointer,
                    InputCode::NotOverridable,
                    "this member can't be overridden",
                ));
            }
            Some(_) if value.is_null() => {}
            Some((_, kind)) => check_value(value, kind, &pointer, faults),
        }
    }
}

fn check_value(value: &Value, kind: &Kind, pointer: &str, faults: &mut Vec<ValidationError>) {
    let mut wrong =
        |pointer: &str, code, detail: &str| faults.push(ValidationError::at(pointer, code, detail));
    match (kind, value) {
        (Object(fields), Value::Object(object)) => check_object(object, fields, pointer, faults),
        (TextMap, Value::Object(object)) => {
            for (name, value) in
                object.iter().filter(|(_, value)| !value.is_string() && !value.is_null()).take(FAULTS_MAX)
            {
                let detail = format!("a string, not {}", type_name(value));
                wrong(&ErrorLocation::member(pointer, name), InputCode::WrongType, &detail);
            }
        }
        (Texts, Value::Array(items)) => {
            for (index, _) in items.iter().enumerate().filter(|(_, item)| !item.is_string()).take(FAULTS_MAX)
            {
                wrong(&ErrorLocation::member(pointer, index), InputCode::WrongType, "a string");
            }
        }
        (Spans, Value::Array(items)) => {
            for (index, _) in items.iter().enumerate().filter(|(_, item)| !is_span(item)).take(FAULTS_MAX) {
                wrong(
                    &ErrorLocation::member(pointer, index),
                    InputCode::BadValue,
                    "seconds with an s, such as 3.5s",
                );
            }
        }
        (Free, Value::Object(_))
        | (Text, Value::String(_))
        | (Flag, Value::Bool(_))
        | (Number, Value::Number(_)) => {}
        (Span, Value::String(_)) if is_span(value) => {}
        (Span, Value::String(_)) => wrong(pointer, InputCode::BadValue, "seconds with an s, such as 3.5s"),
        (Time, Value::String(text)) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => {}
        (Time, Value::String(_)) => wrong(pointer, InputCode::BadValue, "a time as RFC 3339 has it"),
        (Whole, Value::Number(_)) if as_whole_number(value).is_some_and(|n| i32::try_from(n).is_ok()) => {}
        (Whole, Value::Number(_)) => wrong(pointer, InputCode::BadValue, "a whole number of 32 bits"),
        (Word(words), Value::String(text)) if words.contains(&text.as_str()) => {}
        (Word(words), Value::String(_)) => faults.push(
            ValidationError::at(pointer, InputCode::BadValue, "not one of the words that FCM knows")
                .with("supported", words.to_vec()),
        ),
        (kind, value) => {
            let detail = format!("{}, not {}", expected(kind), type_name(value));
            wrong(pointer, InputCode::WrongType, &detail);
        }
    }
}

fn unknown(fields: &[Field], name: &str, pointer: String) -> ValidationError {
    let mut detail = format!("unknown field {:?} in FCM's message", shown_name(name));
    let nearest = nearest(name, fields.iter().map(|(known, _)| *known));
    nearest.into_iter().for_each(|known| detail.push_str(&format!("; did you mean {known:?}?")));
    let fault = ValidationError::at(pointer, InputCode::UnknownFcmField, detail);
    nearest.into_iter().fold(fault, |fault, known| fault.with("suggestion", known))
}

fn find<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|(known, _)| *known == name || is_camel_case_of(known, name))
}

/// Whether `name` is the `lowerCamelCase` form of `snake`.
fn is_camel_case_of(snake: &str, name: &str) -> bool {
    let mut up = false;
    let mut given = name.chars();
    for letter in snake.chars() {
        if letter == '_' {
            up = true;
            continue;
        }
        let expected = if up { letter.to_ascii_uppercase() } else { letter };
        up = false;
        if given.next() != Some(expected) {
            return false;
        }
    }
    given.next().is_none()
}

fn is_span(value: &Value) -> bool {
    let seconds = value.as_str().and_then(|text| text.strip_suffix('s'));
    seconds.is_some_and(|s| s.starts_with(|c: char| c.is_ascii_digit()) && s.parse::<f64>().is_ok())
}

fn expected(kind: &Kind) -> &'static str {
    match kind {
        Text | Span | Time | Word(_) => "a string",
        Flag => "true or false",
        Whole | Number => "a number",
        Texts | Spans => "an array",
        TextMap | Free | Object(_) | Reserved => "an object",
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
