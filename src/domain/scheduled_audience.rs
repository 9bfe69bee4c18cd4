//! The audience of a notification that is sent later. It is stored as the request names it, and its devices are found when
//! the notification is due: it goes to those that are there then (docs/queue.md#scheduled-notifications).

use serde::{Deserialize, Serialize};

use super::{DeviceId, FanOutPart, Kind, TopicName, UserId};

/// A request's audience. It is a union, narrowed by the other fields.
///
/// It is stored as JSON, which a node of another version may read: see [`super::FanOut`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScheduledAudience {
    /// The kind of token that the content needs, where a platform has several kinds.
    pub kind: Kind,
    /// Devices by their ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<ScheduledDevice>,
    /// The devices of these users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserId>,
    /// Devices by their tokens. They were found when the request was accepted: no token is stored here, because it would
    /// outlive its device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<ScheduledToken>,
    /// What is found page by page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<FanOutPart>,
    /// Only devices of these platforms. None: of all platforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platforms: Option<Vec<String>>,
    /// The devices of these users are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except_users: Vec<UserId>,
    /// These devices are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except_devices: Vec<DeviceId>,
    /// Devices are left out if they, or their users, have any of these topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except_topics: Vec<TopicName>,
}

/// A device that a request names by its id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScheduledDevice {
    /// As written, for the answer.
    pub public_id: String,
    /// The device; none: the id can't be one of this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
}

/// A device that a request names by tokens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScheduledToken {
    /// The device that had the token when the request was accepted.
    pub device: DeviceId,
    /// Its lane then. If the device is deleted before the notification is due, its delivery belongs to this lane.
    pub lane: String,
    /// The sender's own names for the tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
}

impl ScheduledAudience {
    /// The format of these audiences. Nodes that know none above 1 can't read them.
    pub const FORMAT: i16 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Condition;

    #[test]
    fn the_stored_form_is_kept() {
        let topic = |name: &str| TopicName::parse(name).expect("a topic");
        let audience = ScheduledAudience {
            kind: Kind::Alert,
            devices: vec![
                ScheduledDevice { public_id: "dev_1".to_owned(), device: Some(DeviceId(1)) },
                ScheduledDevice { public_id: "dev_x".to_owned(), device: None },
            ],
            users: vec![UserId::stored("u1".to_owned())],
            tokens: vec![ScheduledToken {
                device: DeviceId(2),
                lane: "fcm".to_owned(),
                references: vec!["row 2".to_owned()],
            }],
            parts: vec![FanOutPart::Condition(Condition::parse("a && !b").expect("a condition"))],
            platforms: Some(vec!["fcm".to_owned()]),
            except_users: vec![UserId::stored("u2".to_owned())],
            except_devices: vec![DeviceId(7)],
            except_topics: vec![topic("quiet")],
        };
        let stored = concat!(
            r#"{"kind":"alert","devices":[{"public_id":"dev_1","device":1},{"public_id":"dev_x"}],"users":["u1"],"#,
            r#""tokens":[{"device":2,"lane":"fcm","references":["row 2"]}],"parts":[{"condition":"a && !b"}],"#,
            r#""platforms":["fcm"],"except_users":["u2"],"except_devices":[7],"except_topics":["quiet"]}"#
        );
        assert_eq!(serde_json::to_string(&audience).expect("JSON"), stored);
        assert_eq!(serde_json::from_str::<ScheduledAudience>(stored).expect("as stored"), audience);
    }
}
