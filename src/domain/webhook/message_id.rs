//! The ids of messages: derived, so that a message has its id again after a crash without being stored.

use super::super::{EventPlace, InstallationKey, WebhookId};

/// What a message has, besides its events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// Events in their order.
    Ordered,
    /// An event that was set aside.
    Late,
    /// The time of events that the log does not have any more.
    Gap,
}

impl InstallationKey {
    /// The id of a message, `msg_` and 32 hexadecimal digits. `replays` tells the messages of a replay from those before.
    pub fn webhook_message_id(
        &self,
        webhook: WebhookId,
        replays: i32,
        kind: MessageKind,
        (first, last): (EventPlace, EventPlace),
    ) -> String {
        let kind = match kind {
            MessageKind::Ordered => b"ordered".as_slice(),
            MessageKind::Late => b"late",
            MessageKind::Gap => b"gap",
        };
        let mac = self.mac(&[
            b"webhook message ",
            &webhook.0.to_be_bytes(),
            &replays.to_be_bytes(),
            &first.position.to_be_bytes(),
            &first.index.to_be_bytes(),
            &last.position.to_be_bytes(),
            &last.index.to_be_bytes(),
            kind,
        ]);
        format!("msg_{}", hex::encode(&mac[..16]))
    }
}
