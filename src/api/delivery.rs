//! A delivery as answers show it: in the list of a notification's deliveries and in the timeline of a device.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::schema_enums;
use super::time::Timestamp;
use crate::domain::{App, InstallationKey, LaneKey, NotificationId, UserId};
use crate::notifications::{deliveries, history};
use crate::store;
use crate::store::deliveries::RecordedAttempts;

/// What became of one device of a notification.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "device": "dev_5bf4acbbbcffe5d67fbfee43320f88a6", "user": "u7", "ref": null, "refs": [], "platform": "apns",
    "environment": "production", "status": "accepted", "attempts": 1, "reason": null,
    "last_reason": null, "provider_id": "920fd88d-9385-86ff-9e94-b353a8252030", "at": "2026-11-28T09:00:00.120Z",
    "next_attempt_at": null
}))]
pub(super) struct Delivery<'a> {
    /// The device's id; null if the device or its user was erased (`DELETE /v1/users/{user}`), or if the token was rejected
    /// (`on_bad_token`).
    #[schema(required)]
    device: Option<String>,
    /// The user through which the device was addressed; null if it was addressed otherwise.
    #[schema(required)]
    user: Option<&'a str>,
    /// The sender's own word for a token in `to.tokens`: the first of `refs`.
    #[serde(rename = "ref")]
    #[schema(required)]
    reference: Option<&'a str>,
    /// The sender's own words for all tokens in `to.tokens` that are this device, in the order given.
    refs: &'a [String],
    /// The service that issued the token; null if the lane is not configured any more. Of a service that is not supported: as
    /// the request wrote it, or null if it can't be shown.
    #[schema(required)]
    platform: Option<&'a str>,
    /// APNs's environment; null for FCM.
    #[schema(required, value_type = Option<schema_enums::Environment>)]
    environment: Option<&'static str>,
    /// `pending` until the outcome is final. `accepted`: the provider took it. `unknown`: it was sent and never answered.
    #[schema(value_type = schema_enums::DeliveryStatus)]
    status: &'static str,
    /// Attempts that ended.
    attempts: u16,
    /// Why it is not accepted: the provider's word, or one of Pushpost's own.
    #[schema(required)]
    reason: Option<&'a str>,
    /// The last reason that an attempt gave; it stays after `accepted`.
    #[schema(required)]
    last_reason: Option<&'a str>,
    /// The provider's id of the message: APNs's `apns-id`, FCM's message name.
    #[schema(required)]
    provider_id: Option<String>,
    /// When it ended.
    #[schema(required)]
    at: Option<Timestamp>,
    /// When the next attempt is due, if there is to be one.
    #[schema(required)]
    next_attempt_at: Option<Timestamp>,
    /// The attempts at the device, in their order, and its end if that was without an attempt; of more than 100 the last ones.
    /// Only with `history=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 100)]
    history: Option<Vec<DeliveryAttempt<'a>>>,
}

/// One attempt at one device, or its end without an attempt.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "attempt": 1, "began_at": "2026-11-28T09:00:00.010Z", "at": "2026-11-28T09:00:00.120Z", "lane": "fcm",
    "outcome": "retry", "reason": "UNAVAILABLE", "waited_ms": 10, "waited_for": "queue"
}))]
pub(super) struct DeliveryAttempt<'a> {
    /// Which attempt it was. A try of a token in the other APNs environment has the number of the attempt before. Null: the
    /// device ended without an attempt.
    #[schema(required)]
    attempt: Option<u16>,
    /// When it began. Devices that were recorded together have the time of the first one. Null without an attempt.
    #[schema(required)]
    began_at: Option<Timestamp>,
    /// When its outcome was recorded.
    at: Timestamp,
    /// The lane that it was made in, or in which the device waited; null if the lane is not configured any more.
    #[schema(required)]
    lane: Option<String>,
    /// What came of it: a final status; `retry`; `unknown` if it was sent and not answered.
    #[schema(value_type = schema_enums::AttemptOutcome)]
    outcome: &'static str,
    /// The provider's word, or one of Pushpost's own.
    #[schema(required)]
    reason: Option<&'a str>,
    /// Milliseconds from when the device was due, or from the attempt before, to the begin of this one, or to the end.
    waited_ms: i64,
    /// What most of that time went to. `queue`: the lane was running, and had no room yet. `backoff`: the pause after an attempt.
    #[schema(value_type = schema_enums::WaitCause)]
    waited_for: &'static str,
}

/// What is needed to show deliveries of an app. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct DeliveryView {
    /// The app of the notifications.
    pub(super) app: Arc<App>,
    /// Makes public ids.
    pub(super) key: InstallationKey,
}

impl DeliveryView {
    /// One delivery of the notification `id`, with its history if the attempts were read.
    pub(super) fn show<'a>(
        &self,
        id: NotificationId,
        delivery: &'a store::deliveries::Delivery,
        attempts: Option<&'a RecordedAttempts>,
    ) -> Delivery<'a> {
        let lane = self.app.lane_key(delivery.lane);
        let is_shown = !delivery.is_erased && delivery.device.is_device();
        let device = is_shown.then(|| self.key.device_id(self.app.id, delivery.device));
        Delivery {
            device,
            user: delivery.user.as_ref().map(UserId::as_str),
            reference: delivery.references.names().first().map(String::as_str),
            refs: delivery.references.names(),
            platform: lane.map(|lane| lane.platform().as_str()).or(delivery.written_platform.as_deref()),
            environment: lane.and_then(LaneKey::environment).map(|environment| environment.as_str()),
            status: delivery.status.as_str(),
            attempts: delivery.attempts,
            reason: delivery.reason.as_deref(),
            last_reason: delivery.last_reason.as_deref(),
            provider_id: deliveries::provider_id(&self.key, id, delivery, lane),
            at: delivery.at.map(Timestamp),
            next_attempt_at: delivery.next_attempt_at.map(Timestamp),
            history: attempts.map(|recorded| {
                history::of_device(recorded, delivery.device)
                    .into_iter()
                    .map(|one| self.attempt(&one))
                    .collect()
            }),
        }
    }

    fn attempt<'a>(&self, attempt: &history::PastAttempt<'a>) -> DeliveryAttempt<'a> {
        let recorded = attempt.recorded;
        DeliveryAttempt {
            attempt: recorded.began_at.map(|_| recorded.attempt),
            began_at: recorded.began_at.map(Timestamp),
            at: Timestamp(recorded.at),
            lane: self.app.lane_key(recorded.lane).map(|key| key.to_string()),
            outcome: attempt.outcome.as_str(),
            reason: recorded.reason.as_deref(),
            waited_ms: attempt.waited.num_milliseconds(),
            waited_for: attempt.waited_for.as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::api::tests::app;
    use crate::domain::{DeliveryStatus, DeviceId, LaneId};

    fn shown() -> DeliveryView {
        DeliveryView { app: app(), key: InstallationKey::new([7; 32]) }
    }

    fn shown_as(delivery: &store::deliveries::Delivery) -> Value {
        json!(shown().show(NotificationId(Uuid::nil()), delivery, None))
    }

    fn delivery(lane: i32) -> store::deliveries::Delivery {
        store::deliveries::Delivery {
            device: DeviceId(42),
            written_platform: None,
            user: UserId::parse("u7"),
            references: Some("row-1".to_owned()).into(),
            lane: LaneId(lane),
            status: DeliveryStatus::Accepted,
            attempts: 1,
            reason: None,
            last_reason: Some("ServiceUnavailable".to_owned()),
            provider_id: None,
            at: Some(DateTime::UNIX_EPOCH),
            next_attempt_at: None,
            is_erased: false,
        }
    }

    #[test]
    fn an_accepted_apns_delivery_shows_the_derived_id() {
        let text = serde_json::to_string(&shown().show(NotificationId(Uuid::nil()), &delivery(1), None))
            .expect("plain");
        insta::assert_snapshot!(
            text,
            @r#"{"device":"dev_5bf4acbbbcffe5d67fbfee43320f88a6","user":"u7","ref":"row-1","refs":["row-1"],"platform":"apns","environment":"production","status":"accepted","attempts":1,"reason":null,"last_reason":"ServiceUnavailable","provider_id":"920fd88d-9385-86ff-9e94-b353a8252030","at":"1970-01-01T00:00:00.000Z","next_attempt_at":null}"#
        );
    }

    #[test]
    fn fcm_has_no_environment_and_its_own_message_name() {
        let named = store::deliveries::Delivery {
            provider_id: Some("projects/p/messages/1".to_owned()),
            ..delivery(3)
        };
        let document = shown_as(&named);
        assert_eq!(document["platform"], "fcm");
        assert_eq!(document["environment"], Value::Null);
        assert_eq!(document["provider_id"], "projects/p/messages/1");
        assert_eq!(shown_as(&delivery(3))["provider_id"], Value::Null);
    }

    #[test]
    fn a_delivery_that_was_not_accepted_has_no_provider_id() {
        let dead = store::deliveries::Delivery { status: DeliveryStatus::TokenDead, ..delivery(1) };
        assert_eq!(shown_as(&dead)["provider_id"], Value::Null);
    }
}
