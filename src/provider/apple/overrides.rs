//! The field `apns` of a request: overrides of headers and of the payload. The push type follows from it and from the
//! common fields.
//!
//! APNs gets both as they are. They are also in FCM's message, for Apple devices with an FCM token.

use serde_json::{Map, Value};

use super::{PUSH_TYPE, PushType};
use crate::domain::{Content, Kind, as_whole_number};
use crate::provider::apns::PLATFORM;

/// The members of the field, each an object.
pub(in crate::provider) const OVERRIDE_MEMBERS: &[&str] = &[HEADERS, PAYLOAD];
const HEADERS: &str = "headers";
const PAYLOAD: &str = "payload";

/// Where the field has the push type.
pub(in crate::provider) const PUSH_TYPE_PATH: &[&str] = &[HEADERS, PUSH_TYPE];

/// `apns-push-type`, `apns-priority`, `apns-collapse-id`, `apns-topic` as given.
pub(in crate::provider) fn headers(content: &Content) -> &Map<String, Value> {
    content.overrides.object(PLATFORM, HEADERS)
}

/// Overrides of the payload, merged last (RFC 7396).
pub(in crate::provider) fn payload(content: &Content) -> &Map<String, Value> {
    content.overrides.object(PLATFORM, PAYLOAD)
}

/// The value of an overridden header.
pub(in crate::provider) fn header<'a>(content: &'a Content, name: &str) -> Option<&'a str> {
    headers(content).get(name).and_then(Value::as_str)
}

/// Whether the request overrides no header and nothing of the payload.
pub(in crate::provider) fn is_empty(content: &Content) -> bool {
    headers(content).is_empty() && payload(content).is_empty()
}

/// The push type that APNs gets: that of the override, else the one that fields and payload imply.
pub(in crate::provider) fn push_type(content: &Content) -> PushType {
    let named = header(content, PUSH_TYPE).and_then(PushType::parse);
    named.unwrap_or_else(|| implied_push_type(content))
}

/// The push type that follows from the fields and from the override of the payload, without the headers.
fn implied_push_type(content: &Content) -> PushType {
    let own = |given: bool| given && !content.silent;
    let alert = content.title.is_some() || content.subtitle.is_some() || content.body.is_some();
    let patch = payload(content);
    let visible = member_of_aps(patch, "alert").is_present(own(alert))
        || member_of_aps(patch, "badge").is_present(own(content.badge.is_some()))
        || member_of_aps(patch, "sound").is_present(own(content.sound.is_some()));
    let wakes = member_of_aps(patch, "content-available").is_number(1);
    if content.silent || wakes && !visible { PushType::Background } else { PushType::Alert }
}

/// The kind of APNs token that the content needs.
pub(in crate::provider) fn kind(content: &Content) -> Kind {
    let event = payload(content).get("aps").and_then(|aps| aps.get("event"));
    push_type(content).kind(event.and_then(Value::as_str) == Some("start"))
}

/// What an override of the payload does to one member of `aps` (RFC 7396).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::provider) enum AppleMember<'a> {
    /// The member stays as it is.
    Untouched,
    /// The member is removed.
    Removed,
    /// The member gets this value.
    Given(&'a Value),
}

/// What the override of an APNs payload does to the member `name` of its `aps`.
pub(in crate::provider) fn member_of_aps<'a>(patch: &'a Map<String, Value>, name: &str) -> AppleMember<'a> {
    match patch.get("aps") {
        None => AppleMember::Untouched,
        Some(Value::Object(aps)) => match aps.get(name) {
            None => AppleMember::Untouched,
            Some(Value::Null) => AppleMember::Removed,
            Some(value) => AppleMember::Given(value),
        },
        Some(_) => AppleMember::Removed,
    }
}

impl AppleMember<'_> {
    /// Is the member there after the override? `before`: was it there before?
    pub(in crate::provider) fn is_present(self, before: bool) -> bool {
        match self {
            Self::Untouched => before,
            Self::Removed => false,
            Self::Given(_) => true,
        }
    }

    /// Does the override set the member to this number?
    pub(in crate::provider) fn is_number(self, number: i64) -> bool {
        matches!(self, Self::Given(value) if as_whole_number(value) == Some(number))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_payload_that_only_wakes_the_app_is_a_background_push() {
        use PushType::{Alert, Background};
        let wakes = |more: Value| {
            let mut aps = json!({"content-available": 1});
            aps.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            json!({"payload": {"aps": aps}})
        };
        for (json, expected) in [
            (json!({"title": "Hi"}), Alert),
            (json!({"silent": true}), Background),
            (json!({"apns": wakes(json!({}))}), Background),
            (json!({"data": {"k": 1}, "apns": wakes(json!({}))}), Background),
            (json!({"title": "Hi", "apns": wakes(json!({}))}), Alert),
            (json!({"badge": 1, "apns": wakes(json!({}))}), Alert),
            (json!({"apns": wakes(json!({"sound": "default"}))}), Alert),
            // A title that the override removes is not shown.
            (json!({"title": "Hi", "apns": wakes(json!({"alert": null}))}), Background),
            (json!({"apns": {"payload": {"aps": {"content-available": 1.0}}}}), Background),
            (json!({"apns": {"payload": {"aps": {"content-available": 0}}}}), Alert),
            (json!({"apns": {"payload": {"aps": null}}}), Alert),
            (
                json!({"apns": {"headers": {"apns-push-type": "voip"}, "payload": {"aps": {"content-available": 1}}}}),
                PushType::Voip,
            ),
        ] {
            let content: Content = serde_json::from_value(json.clone()).expect("content");
            assert_eq!(push_type(&content), expected, "{json}");
        }
    }
}
