//! What each type of event tells, as answers and webhooks show it.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::admin::CleanupAnswer;
use crate::api::delivery::Delivery;
use crate::api::notifications::CountsAnswer;
use crate::api::schema_enums;
use crate::api::time::Timestamp;

/// What an event tells, by its type.
#[derive(Serialize, ToSchema, Debug)]
#[serde(untagged)]
#[schema(as = EventData)]
pub(super) enum EventDataAnswer<'a> {
    /// The data of `delivery.recorded`.
    Recorded(RecordedData<'a>),
    /// Of `notification.done` and `notification.cancelled`.
    Ended(EndedData<'a>),
    /// The data of `device.quarantined`.
    Quarantined(QuarantinedData<'a>),
    /// Of `device.restored` and `device.corrected`.
    Corrected(CorrectedData),
    /// The data of `lane.changed`.
    Lane(LaneData<'a>),
    /// Of `pruning.braked` and `pruning.released`.
    Guard(GuardData<'a>),
    /// The data of `credential.changed`.
    Credential(CredentialData<'a>),
    /// Of `cleanup.done`: the run.
    Cleanup(CleanupAnswer<'a>),
    /// Of `node.started` and `node.died`.
    Node(NodeData<'a>),
    /// Of `key.created` and `key.revoked`.
    Key(KeyData<'a>),
    /// The data of `admin.action`.
    Action(ActionData<'a>),
    /// Of `webhook.failing`, `webhook.recovered`, `webhook.disabled` and `webhook.set_aside`.
    Webhook(StoredData<'a>),
}

/// The final outcomes of devices that were recorded together.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct RecordedData<'a> {
    /// The notification's id.
    pub(super) notification: String,
    /// The sender's label.
    #[schema(required)]
    pub(super) label: Option<&'a str>,
    /// The lane that the devices were in; null if it is not configured any more, or the devices had none.
    #[schema(required)]
    pub(super) lane: Option<String>,
    /// The number of the attempt.
    pub(super) attempt: u16,
    /// The devices by outcome.
    pub(super) counts: FinalCounts,
    /// The devices, as in the list of the notification's deliveries; at most 500.
    #[schema(max_items = 500)]
    pub(super) devices: Vec<Delivery<'a>>,
    /// Devices of `counts` that `devices` leaves out.
    pub(super) devices_omitted: u64,
}

/// Devices by their final outcome.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct FinalCounts {
    /// The provider took it.
    pub(super) accepted: u64,
    /// Sent, and never answered.
    pub(super) unknown: u64,
    /// Refused for this device.
    pub(super) rejected: u64,
    /// The provider calls the token dead, or it was quarantined.
    pub(super) token_dead: u64,
    /// Time ran out before a provider took it.
    pub(super) expired: u64,
    /// Stopped before a provider took it.
    pub(super) cancelled: u64,
}

/// A notification that has ended. There is one such event per notification, after all its deliveries.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct EndedData<'a> {
    /// The notification's id.
    pub(super) notification: String,
    /// The sender's label.
    #[schema(required)]
    pub(super) label: Option<&'a str>,
    /// The sender's own strings.
    #[schema(required, value_type = Option<BTreeMap<String, String>>)]
    pub(super) metadata: Option<Map<String, Value>>,
    /// When it was accepted.
    pub(super) created_at: Timestamp,
    /// When it was to be sent.
    pub(super) due_at: Timestamp,
    /// When its first attempt began.
    #[schema(required)]
    pub(super) started_at: Option<Timestamp>,
    /// When its last device had its outcome.
    #[schema(required)]
    pub(super) done_at: Option<Timestamp>,
    /// Devices by outcome.
    pub(super) counts: CountsAnswer,
}

/// Devices that are not sent to any more.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct QuarantinedData<'a> {
    /// The provider called their tokens dead, registrations replaced them, or a clean-up run found them inactive.
    #[schema(value_type = schema_enums::QuarantineCause)]
    pub(super) cause: &'static str,
    /// The lane that they share, if they share one.
    #[schema(required)]
    pub(super) lane: Option<String>,
    /// The clean-up run.
    #[schema(required)]
    pub(super) run: Option<String>,
    /// The devices, as they are now.
    #[schema(max_items = 500)]
    pub(super) devices: Vec<QuarantinedDevice<'a>>,
    /// Devices that were deleted since, or that are beyond 500.
    pub(super) devices_omitted: usize,
}

/// A device that is not sent to any more.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct QuarantinedDevice<'a> {
    /// The device's id.
    pub(super) device: String,
    /// The service that issued the token.
    #[schema(value_type = schema_enums::Platform)]
    pub(super) platform: &'static str,
    /// APNs's environment; null for FCM.
    #[schema(required, value_type = Option<schema_enums::Environment>)]
    pub(super) environment: Option<&'static str>,
    /// The user that the device is bound to.
    #[schema(required)]
    pub(super) user: Option<&'a str>,
    /// The token's last characters.
    pub(super) token_hint: &'a str,
    /// The provider's reason, or Pushpost's own.
    #[schema(required)]
    pub(super) reason: Option<&'a str>,
    /// The time that the evidence speaks of.
    #[schema(required)]
    pub(super) evidence_at: Option<Timestamp>,
}

/// Devices that were restored, or the environment of which was corrected.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct CorrectedData {
    /// What it was done by.
    #[schema(value_type = schema_enums::CorrectionCause)]
    pub(super) cause: &'static str,
    /// The clean-up run that was undone.
    #[schema(required)]
    pub(super) run: Option<String>,
    /// The devices, as they are now.
    #[schema(max_items = 500)]
    pub(super) devices: Vec<CorrectedDevice>,
    /// Devices that were deleted since, or that are beyond 500.
    pub(super) devices_omitted: usize,
}

/// A device that was restored or corrected.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct CorrectedDevice {
    /// The device's id.
    pub(super) device: String,
    /// The service that issued the token.
    #[schema(value_type = schema_enums::Platform)]
    pub(super) platform: &'static str,
    /// APNs's environment; null for FCM.
    #[schema(required, value_type = Option<schema_enums::Environment>)]
    pub(super) environment: Option<&'static str>,
}

/// A lane with another state: the worst over all nodes.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct LaneData<'a> {
    /// The lane's name; null if it is not configured any more.
    #[schema(required, example = "fcm")]
    pub(super) lane: Option<String>,
    /// The state before.
    #[schema(value_type = schema_enums::LaneState)]
    pub(super) from: &'static str,
    /// The state now.
    #[schema(value_type = schema_enums::LaneState)]
    pub(super) to: &'static str,
    /// Why: the provider's word, or Pushpost's own.
    #[schema(required)]
    pub(super) why: Option<&'a str>,
    /// Since when the lane has been in this state.
    pub(super) since: Timestamp,
    /// Devices that were due in the lane, as they were counted last.
    pub(super) held_devices: i64,
    /// What an operator can do.
    #[schema(required)]
    pub(super) action: Option<String>,
}

/// A lane that stopped pruning, or prunes again.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct GuardData<'a> {
    /// The lane's name.
    #[schema(required)]
    pub(super) lane: Option<String>,
    /// The provider's reason that came too often.
    #[schema(required)]
    pub(super) reason: Option<&'a str>,
    /// Devices that were restored with it; null if `device.restored` tells of them.
    #[schema(required)]
    pub(super) restored: Option<u64>,
}

/// A credential that a provider took or refused.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct CredentialData<'a> {
    /// The lane's name.
    #[schema(required)]
    pub(super) lane: Option<String>,
    /// What tells the credential from others; no part of the secret.
    pub(super) credential: &'a str,
    /// What became of it.
    #[schema(value_type = schema_enums::CredentialResult)]
    pub(super) result: &'static str,
    /// Why the provider refused it.
    #[schema(required)]
    pub(super) reason: Option<&'a str>,
}

/// A node that started or died.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct NodeData<'a> {
    /// The node's number.
    pub(super) node: i32,
    /// Its host and process id.
    pub(super) name: &'a str,
    /// The version of its program.
    pub(super) version: &'a str,
}

/// An API key, without its secret.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct KeyData<'a> {
    /// The key's id.
    pub(super) key: &'a str,
    /// A name to recognise it by.
    #[schema(required)]
    pub(super) name: Option<&'a str>,
    /// What it may do.
    #[schema(value_type = Vec<schema_enums::Scope>)]
    pub(super) scopes: &'a [String],
}

/// An operator's action, as the audit log has it.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct ActionData<'a> {
    /// The id of the key that it was asked with, or `cli`.
    pub(super) key: &'a str,
    /// What was asked for.
    #[schema(example = "lane.pause")]
    pub(super) action: &'a str,
    /// What it was asked for.
    pub(super) object: &'a str,
    /// `done`, or the code of the problem.
    pub(super) result: &'a str,
}

/// A fact that is shown as it is stored.
#[derive(Debug)]
pub(super) struct StoredData<'a>(pub(super) &'a Map<String, Value>);

/// A webhook with another state.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `StoredData` writes")]
struct WebhookData {
    /// The endpoint's id.
    endpoint: String,
    /// Its name in the configuration.
    name: String,
    /// Since when it fails; null where it works.
    #[schema(required)]
    since: Option<String>,
    /// The last answer.
    #[schema(required, value_type = Option<Object>)]
    last: Option<Value>,
    /// The event that it refuses.
    #[schema(required)]
    event: Option<String>,
}

impl Serialize for StoredData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl PartialSchema for StoredData<'_> {
    fn schema() -> RefOr<Schema> {
        WebhookData::schema()
    }
}

impl ToSchema for StoredData<'_> {
    fn name() -> Cow<'static, str> {
        "WebhookData".into()
    }
}
