//! The part of an audience that is too large to be found before the answer. It is found page by page afterwards
//! (docs/queue.md#fan-out).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Condition, DeviceId, Kind, TopicName, UserId};

/// The active devices that were registered or imported and are in at least one of the parts, narrowed by the other fields.
///
/// It is stored as JSON, which a node of another version may read: no field is ever renamed. Serde ignores a field that it
/// does not know, so a new field that narrows the audience raises [`Self::FORMAT`], as a new part does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FanOut {
    /// Only devices of this kind. It does not concern platforms without kinds.
    pub kind: Kind,
    /// Only devices of these platforms. None: of all platforms.
    pub platforms: Option<Vec<String>>,
    /// The audience is the union of these.
    pub parts: Vec<FanOutPart>,
    /// The devices of these users are left out.
    pub except_users: Vec<UserId>,
    /// These devices are left out: they were excepted, or are targets already because they were named.
    pub except_devices: Vec<DeviceId>,
    /// Devices that have one of these topics are left out.
    pub except_topics: Vec<TopicName>,
}

/// A set of devices that is found page by page.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FanOutPart {
    /// Each active device that was registered or imported.
    All,
    /// Devices that have at least one of these topics: by a subscription of their own or of their user.
    Topics(Vec<TopicName>),
    /// Devices for which the condition holds, over their own topics and those of their user.
    Condition(Condition),
}

impl FanOut {
    /// The format that this version writes. A node leaves fan-outs of a higher format to nodes that can read them.
    pub const FORMAT: i16 = 1;

    /// The topics that decide on the audience, ascending, each once.
    pub fn topics(&self) -> Vec<&TopicName> {
        let mut topics: BTreeSet<&TopicName> = self.except_topics.iter().collect();
        for part in &self.parts {
            match part {
                FanOutPart::All => {}
                FanOutPart::Topics(names) => topics.extend(names),
                FanOutPart::Condition(condition) => topics.extend(condition.topics()),
            }
        }
        topics.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_kept() {
        let topic = |name: &str| TopicName::parse(name).expect("a topic");
        let fan_out = FanOut {
            kind: Kind::Alert,
            platforms: Some(vec!["fcm".to_owned()]),
            parts: vec![
                FanOutPart::All,
                FanOutPart::Topics(vec![topic("news"), topic("team:42")]),
                FanOutPart::Condition(Condition::parse("a && !b").expect("a condition")),
            ],
            except_users: vec![UserId::stored("u1".to_owned())],
            except_devices: vec![DeviceId(7)],
            except_topics: vec![topic("quiet")],
        };
        let stored = concat!(
            r#"{"kind":"alert","platforms":["fcm"],"#,
            r#""parts":["all",{"topics":["news","team:42"]},{"condition":"a && !b"}],"#,
            r#""except_users":["u1"],"except_devices":[7],"except_topics":["quiet"]}"#
        );
        assert_eq!(serde_json::to_string(&fan_out).expect("JSON"), stored);
        assert_eq!(serde_json::from_str::<FanOut>(stored).expect("as stored"), fan_out);
        let names: Vec<&str> = fan_out.topics().into_iter().map(TopicName::as_str).collect();
        assert_eq!(names, ["a", "b", "news", "quiet", "team:42"]);
    }
}
