//! The content of a notification: the validated request without its audience.
//!
//! It is stored as JSON bytes, so no value in it can make a statement fail (docs/queue.md#poisoned-values). Members may
//! be added, never renamed: a job accepted by one version is sent by the next.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Kind, PushType, exact_json};

/// The order of the queue. The priority that the provider gets follows from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Sent after everything else.
    Low,
    /// The default priority.
    #[default]
    Normal,
    /// Sent before the rest of a running broadcast of any size.
    High,
}

impl Priority {
    /// All priorities, in the order in which they are served.
    pub const DESCENDING: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Parses the name in the API.
    pub fn parse(name: &str) -> Option<Self> {
        Self::DESCENDING.into_iter().find(|priority| priority.as_str() == name)
    }

    /// The number in the database.
    pub fn code(self) -> i16 {
        match self {
            Self::High => 10,
            Self::Normal => 5,
            Self::Low => 1,
        }
    }

    /// The priority of a number in the database.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::DESCENDING.into_iter().find(|priority| priority.code() == code)
    }

    /// Position in [`Self::DESCENDING`].
    pub fn rank(self) -> usize {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

/// Longest collapse key, in bytes: APNs's limit (docs/providers.md#apns-request).
pub const COLLAPSE_KEY_MAX: usize = 64;

/// Can the text be a collapse key? The key becomes the header `apns-collapse-id` and must reach APNs unchanged, so it
/// is printable ASCII without spaces at its ends.
pub fn is_collapse_key(text: &str) -> bool {
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~')) && text.trim() == text;
    (1..=COLLAPSE_KEY_MAX).contains(&text.len()) && printable
}

/// The content of one notification.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// The first line, in bold.
    pub title: Option<String>,
    /// The text below the title.
    pub body: Option<String>,
    /// A second title line (Apple only).
    pub subtitle: Option<String>,
    /// An https URL of a picture.
    pub image: Option<String>,
    /// The name of a sound; `default` is the sound of the system.
    pub sound: Option<String>,
    /// The number on the app's icon; 0 removes it.
    pub badge: Option<u32>,
    /// A category that the app has registered (Apple only).
    pub category: Option<String>,
    /// The group in which the notification is shown (Apple only).
    pub thread: Option<String>,
    /// The Android notification channel.
    pub channel: Option<String>,
    /// The URL that a tap opens.
    pub url: Option<String>,
    /// Values for the app itself.
    #[serde(deserialize_with = "exact_json::object")]
    pub data: Map<String, Value>,
    /// The notification shows nothing and wakes the app.
    pub silent: bool,
    /// The order of the queue.
    pub priority: Priority,
    /// A notification replaces an earlier one with the same key. At most 64 bytes.
    pub collapse_key: Option<String>,
    /// A name for the sender's statistics; also FCM's `analytics_label`.
    pub label: Option<String>,
    /// Overrides for APNs.
    pub apns: ApnsOverrides,
    /// Overrides of FCM's message, merged last (RFC 7396).
    #[serde(deserialize_with = "exact_json::object")]
    pub fcm: Map<String, Value>,
}

/// The field `apns` of a request: overrides of headers and of the payload.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ApnsOverrides {
    /// `apns-push-type`, `apns-priority`, `apns-collapse-id`, `apns-topic` as given.
    #[serde(deserialize_with = "exact_json::object")]
    pub headers: Map<String, Value>,
    /// Overrides of the payload, merged last (RFC 7396).
    #[serde(deserialize_with = "exact_json::object")]
    pub payload: Map<String, Value>,
}

impl ApnsOverrides {
    /// The value of an overridden header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(Value::as_str)
    }

    /// Does it override nothing?
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.payload.is_empty()
    }
}

impl Content {
    /// Do the fields show or play something, without regard to overrides?
    pub fn shows_something(&self) -> bool {
        let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        given(&self.title) || given(&self.body) || given(&self.sound) || self.badge.is_some()
    }

    /// The push type that APNs gets: that of the override, else the one that fields and payload imply.
    pub fn push_type(&self) -> PushType {
        let named = self.apns.header("apns-push-type").and_then(PushType::parse);
        named.unwrap_or_else(|| self.implied_push_type())
    }

    /// The push type that follows from the fields and from the override of the payload, without the headers.
    pub fn implied_push_type(&self) -> PushType {
        let own = |given: bool| given && !self.silent;
        let alert = self.title.is_some() || self.subtitle.is_some() || self.body.is_some();
        let patch = &self.apns.payload;
        let visible = member_of_aps(patch, "alert").is_present(own(alert))
            || member_of_aps(patch, "badge").is_present(own(self.badge.is_some()))
            || member_of_aps(patch, "sound").is_present(own(self.sound.is_some()));
        let wakes = member_of_aps(patch, "content-available").is_number(1);
        if self.silent || wakes && !visible { PushType::Background } else { PushType::Alert }
    }

    /// The kind of APNs token that the content needs.
    pub fn kind(&self) -> Kind {
        let event = self.apns.payload.get("aps").and_then(|aps| aps.get("event"));
        self.push_type().kind(event.and_then(Value::as_str) == Some("start"))
    }
}

/// What an override of the payload does to one member of `aps` (RFC 7396).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum AppleMember<'a> {
    /// The member stays as it is.
    Untouched,
    /// The member is removed.
    Removed,
    /// The member gets this value.
    Given(&'a Value),
}

/// What the override of an APNs payload does to the member `name` of its `aps`.
pub fn member_of_aps<'a>(patch: &'a Map<String, Value>, name: &str) -> AppleMember<'a> {
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
    pub fn is_present(self, before: bool) -> bool {
        match self {
            Self::Untouched => before,
            Self::Removed => false,
            Self::Given(_) => true,
        }
    }

    /// Does the override set the member to this number?
    pub fn is_number(self, number: i64) -> bool {
        matches!(self, Self::Given(value) if value.as_i64() == Some(number))
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
            (json!({"apns": {"payload": {"aps": {"content-available": 0}}}}), Alert),
            (json!({"apns": {"payload": {"aps": null}}}), Alert),
            (
                json!({"apns": {"headers": {"apns-push-type": "voip"}, "payload": {"aps": {"content-available": 1}}}}),
                PushType::Voip,
            ),
        ] {
            let content: Content = serde_json::from_value(json.clone()).expect("content");
            assert_eq!(content.push_type(), expected, "{json}");
        }
    }
}
