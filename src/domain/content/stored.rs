//! Reads stored content. A member that is no field of [`Content`] is the part of a provider, so this module names none.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::Content;
use crate::domain::exact_json;

/// The members of stored content.
#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Member {
    Title,
    Body,
    Subtitle,
    Image,
    Sound,
    Badge,
    Category,
    Thread,
    Channel,
    Url,
    Data,
    Silent,
    Priority,
    CollapseKey,
    Label,
    Other(String),
}

#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Object(#[serde(deserialize_with = "exact_json::object")] Map<String, Value>);

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the content of a notification")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Content, A::Error> {
        let mut content = Content::default();
        while let Some(member) = members.next_key()? {
            match member {
                Member::Title => content.title = members.next_value()?,
                Member::Body => content.body = members.next_value()?,
                Member::Subtitle => content.subtitle = members.next_value()?,
                Member::Image => content.image = members.next_value()?,
                Member::Sound => content.sound = members.next_value()?,
                Member::Badge => content.badge = members.next_value()?,
                Member::Category => content.category = members.next_value()?,
                Member::Thread => content.thread = members.next_value()?,
                Member::Channel => content.channel = members.next_value()?,
                Member::Url => content.url = members.next_value()?,
                Member::Data => content.data = members.next_value::<Object>()?.0,
                Member::Silent => content.silent = members.next_value()?,
                Member::Priority => content.priority = members.next_value()?,
                Member::CollapseKey => content.collapse_key = members.next_value()?,
                Member::Label => content.label = members.next_value()?,
                // A newer version may have written another member, which is ignored.
                Member::Other(name) => {
                    if let Value::Object(part) = members.next_value_seed(exact_json::Exact)? {
                        content.overrides.add(name, part);
                    }
                }
            }
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{Priority, ProviderOverrides};

    fn object(json: &str) -> Map<String, Value> {
        exact_json::read(json.as_bytes()).expect("an object")
    }

    /// Jobs that were accepted by one version are sent by the next, so the text must not change.
    #[test]
    fn all_members_are_stored_and_read_as_they_are() {
        let text = |text: &str| Some(text.to_owned());
        let mut overrides = ProviderOverrides::default();
        overrides.add("apns", object(r#"{"headers":{"b":"1","a":null},"payload":{}}"#));
        overrides.add("fcm", object(r#"{"data":{"$serde_json::private::Number":"1","n":1.50,"z":-0}}"#));
        let content = Content {
            title: text("T"),
            body: text("B"),
            subtitle: text("S"),
            image: text("https://i"),
            sound: text("default"),
            badge: Some(1),
            category: text("C"),
            thread: text("t"),
            channel: text("c"),
            url: text("u:"),
            data: object(r#"{"n":18446744073709551616}"#),
            silent: true,
            priority: Priority::High,
            collapse_key: text("k"),
            label: text("l"),
            overrides,
        };
        let stored = serde_json::to_string(&content).expect("JSON");
        insta::assert_snapshot!(
            stored,
            @r#"{"title":"T","body":"B","subtitle":"S","image":"https://i","sound":"default","badge":1,"category":"C","thread":"t","channel":"c","url":"u:","data":{"n":18446744073709551616},"silent":true,"priority":"high","collapse_key":"k","label":"l","apns":{"headers":{"b":"1","a":null},"payload":{}},"fcm":{"data":{"$serde_json::private::Number":"1","n":1.50,"z":-0}}}"#
        );
        assert_eq!(serde_json::from_str::<Content>(&stored).expect("content"), content);
    }

    #[test]
    fn members_may_be_missing_and_unknown_ones_are_ignored() {
        let read: Content = serde_json::from_str(r#"{"title":"T","new":7,"later":null}"#).expect("content");
        assert_eq!(read, Content { title: Some("T".to_owned()), ..Content::default() });
        assert!(serde_json::from_value::<Content>(json!({"title": 7})).is_err());
    }
}
