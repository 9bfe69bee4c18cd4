//! What a notification says and how it is to be sent: the validated request without its audience.
//!
//! Stored as JSON bytes, so nothing in it can fail a statement (docs/queue.md#poisoned-values). Members may be added,
//! never renamed: a job accepted by one version is sent by the next.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Kind, PushType, exact_json};

/// The order of our queue; what the provider is told follows from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// After everything else.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Overtakes a running broadcast of any size.
    High,
}

impl Priority {
    /// Highest first, the order in which they are served.
    pub const DESCENDING: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Reads the name in the API.
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

    /// Reads the number in the database.
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

/// Can it be a collapse key? It becomes the header `apns-collapse-id`, so it is what a header's value can be, and what
/// reaches APNs as it was written: printable ASCII without spaces at its ends.
pub fn is_collapse_key(text: &str) -> bool {
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~')) && text.trim() == text;
    (1..=COLLAPSE_KEY_MAX).contains(&text.len()) && printable
}

/// The content of one notification.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Content {
    /// Headline.
    pub title: Option<String>,
    /// Text.
    pub body: Option<String>,
    /// Second headline (Apple only).
    pub subtitle: Option<String>,
    /// Picture, an https URL.
    pub image: Option<String>,
    /// Name of a sound; `default` is the system's.
    pub sound: Option<String>,
    /// Number on the app's icon; 0 clears it.
    pub badge: Option<u32>,
    /// Registered category (Apple only).
    pub category: Option<String>,
    /// Grouping (Apple only).
    pub thread: Option<String>,
    /// Android channel.
    pub channel: Option<String>,
    /// Where a tap leads.
    pub url: Option<String>,
    /// The sender's own members.
    #[serde(deserialize_with = "exact_json::object")]
    pub data: Map<String, Value>,
    /// No sign to the user; wakes the app.
    pub silent: bool,
    /// Order of our queue.
    pub priority: Priority,
    /// Replaces what carries the same key, at most 64 bytes.
    pub collapse_key: Option<String>,
    /// For the sender's statistics; also FCM's `analytics_label`.
    pub label: Option<String>,
    /// What the request overrides for APNs.
    pub apns: ApnsOverrides,
    /// What the request overrides in FCM's message, merged last (RFC 7396).
    #[serde(deserialize_with = "exact_json::object")]
    pub fcm: Map<String, Value>,
}

/// The request's `apns` part: the headers that may be overridden, and the payload, merged last (RFC 7396).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ApnsOverrides {
    /// `apns-push-type`, `apns-priority`, `apns-collapse-id`, `apns-topic` as given.
    #[serde(deserialize_with = "exact_json::object")]
    pub headers: Map<String, Value>,
    /// Merged into the payload.
    #[serde(deserialize_with = "exact_json::object")]
    pub payload: Map<String, Value>,
}

impl ApnsOverrides {
    /// An overridden header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(Value::as_str)
    }

    /// Nothing overridden?
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.payload.is_empty()
    }
}

impl Content {
    /// Do the fields, without any override, bring something to see or hear?
    pub fn shows_something(&self) -> bool {
        let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        given(&self.title) || given(&self.body) || given(&self.sound) || self.badge.is_some()
    }

    /// The push type that APNs is told: the override's, else the one that fields and payload imply.
    pub fn push_type(&self) -> PushType {
        let named = self.apns.header("apns-push-type").and_then(PushType::parse);
        named.unwrap_or_else(|| self.implied_push_type())
    }

    /// The push type that follows from the fields and from the override of the payload, without any header.
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

    /// The kind of APNs token that this needs.
    pub fn kind(&self) -> Kind {
        let event = self.apns.payload.get("aps").and_then(|aps| aps.get("event"));
        self.push_type().kind(event.and_then(Value::as_str) == Some("start"))
    }
}

/// What an override of the payload says about one member of `aps` (RFC 7396).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum AppleMember<'a> {
    /// Nothing: the member stays as it is.
    Untouched,
    /// The member is taken away.
    Removed,
    /// The member has this value.
    Given(&'a Value),
}

/// Finds what the patch of an APNs payload says about the member `name` of its `aps`.
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
    /// Is the member there after the patch, if it was there before only where `before` says so?
    pub fn is_present(self, before: bool) -> bool {
        match self {
            Self::Untouched => before,
            Self::Removed => false,
            Self::Given(_) => true,
        }
    }

    /// Does the patch set the member to this number?
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
            // What the override takes away is not shown.
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
