//! A delivery as the API shows it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::time::rfc3339;
use crate::domain::{App, DeliveryStatus, InstallationKey, LaneKey, NotificationId, Platform, UserId};
use crate::store::deliveries::Delivery;

/// Whose deliveries are shown, and what makes their public ids. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct DeliveryView {
    /// Whose.
    pub(super) app: Arc<App>,
    /// Makes public ids.
    pub(super) key: InstallationKey,
}

impl DeliveryView {
    /// One device of a notification.
    pub(super) fn document(&self, id: NotificationId, delivery: &Delivery) -> Value {
        let lane = self.app.lane_key(delivery.lane);
        json!({
            "device": self.key.device_id(self.app.id, delivery.device),
            "user": delivery.user.as_ref().map(UserId::as_str),
            "ref": delivery.reference,
            "platform": lane.map(|lane| lane.platform().as_str()),
            "environment": lane.and_then(LaneKey::environment).map(|environment| environment.as_str()),
            "status": delivery.status.as_str(),
            "attempts": delivery.attempts,
            "reason": delivery.reason,
            "provider_id": self.provider_id(id, delivery, lane),
            "at": delivery.at.map(rfc3339),
            "next_attempt_at": delivery.next_attempt_at.map(rfc3339),
        })
    }

    /// FCM names its message; APNs keeps the id that we gave, which is derived and not stored.
    fn provider_id(&self, id: NotificationId, delivery: &Delivery, lane: Option<LaneKey>) -> Option<String> {
        let is_apns = lane.is_some_and(|lane| lane.platform() == Platform::Apns);
        if delivery.provider_id.is_some() || !is_apns || delivery.status != DeliveryStatus::Accepted {
            return delivery.provider_id.clone();
        }
        Some(self.key.apns_id(id, delivery.device).hyphenated().to_string())
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::api::tests::app;
    use crate::domain::{DeviceId, LaneId};

    fn shown() -> DeliveryView {
        DeliveryView { app: app(), key: InstallationKey::new([7; 32]) }
    }

    fn shown_as(delivery: &Delivery) -> Value {
        shown().document(NotificationId(Uuid::nil()), delivery)
    }

    fn delivery(lane: i32) -> Delivery {
        Delivery {
            device: DeviceId(42),
            user: UserId::parse("u7"),
            reference: Some("row-1".to_owned()),
            lane: LaneId(lane),
            status: DeliveryStatus::Accepted,
            attempts: 1,
            reason: None,
            provider_id: None,
            at: Some(DateTime::UNIX_EPOCH),
            next_attempt_at: None,
        }
    }

    #[test]
    fn an_accepted_apns_delivery_shows_the_derived_id() {
        let text = shown_as(&delivery(1)).to_string();
        insta::assert_snapshot!(
            text,
            @r#"{"device":"dev_5bf4acbbbcffe5d67fbfee43320f88a6","user":"u7","ref":"row-1","platform":"apns","environment":"production","status":"accepted","attempts":1,"reason":null,"provider_id":"920fd88d-9385-86ff-9e94-b353a8252030","at":"1970-01-01T00:00:00.000Z","next_attempt_at":null}"#
        );
    }

    #[test]
    fn fcm_has_no_environment_and_its_own_message_name() {
        let named = Delivery { provider_id: Some("projects/p/messages/1".to_owned()), ..delivery(3) };
        let document = shown_as(&named);
        assert_eq!(document["platform"], "fcm");
        assert_eq!(document["environment"], Value::Null);
        assert_eq!(document["provider_id"], "projects/p/messages/1");
        assert_eq!(shown_as(&delivery(3))["provider_id"], Value::Null);
    }

    #[test]
    fn what_was_not_accepted_has_no_provider_id() {
        let dead = Delivery { status: DeliveryStatus::TokenDead, ..delivery(1) };
        assert_eq!(shown_as(&dead)["provider_id"], Value::Null);
    }
}
