//! Writes an event as answers and webhooks show it.

use std::sync::Arc;

use super::answer::Event;
use super::data::{
    ActionData, CorrectedData, CorrectedDevice, CredentialData, EndedData, EventDataAnswer, FinalCounts,
    GuardData, KeyData, LaneData, NodeData, QuarantinedData, QuarantinedDevice, RecordedData, StoredData,
};
use crate::api::admin::CleanupAnswer;
use crate::api::delivery::DeliveryView;
use crate::api::notifications::CountsAnswer;
use crate::api::time::Timestamp;
use crate::domain::{
    ActionFact, App, CleanupRunId, CorrectedFact, CredentialFact, DeliveryCounts, GuardFact, InstallationKey,
    KeyFact, LaneFact, LaneId, LaneState, NodeFact, QuarantineFact, UserId, exact_json, lane_advice,
};
use crate::events::{self, Devices, EventData, RecordedReceipt};
use crate::store::events::EndedNotification;

/// The event as one line of JSON.
pub(super) fn json(key: &InstallationKey, app: &Arc<App>, event: &events::Event, id: &str) -> String {
    let view = View { deliveries: DeliveryView { app: Arc::clone(app), key: key.clone() } };
    let event = Event {
        id,
        kind: event.kind.as_str(),
        app: &app.name,
        at: Timestamp(event.at),
        data: view.data(&event.data),
    };
    serde_json::to_string(&event).expect("an event is always writable")
}

struct View {
    deliveries: DeliveryView,
}

impl View {
    fn data<'a>(&self, data: &'a EventData) -> EventDataAnswer<'a> {
        match data {
            EventData::Recorded(receipt) => EventDataAnswer::Recorded(self.recorded(receipt)),
            EventData::Ended(ended) => EventDataAnswer::Ended(EndedData::from(ended)),
            EventData::Quarantined(fact, devices) => {
                EventDataAnswer::Quarantined(self.quarantined(fact, devices))
            }
            EventData::Corrected(fact, devices) => EventDataAnswer::Corrected(self.corrected(fact, devices)),
            EventData::Lane(fact) => EventDataAnswer::Lane(self.lane_changed(fact)),
            EventData::Guard(GuardFact { lane, reason, restored }) => EventDataAnswer::Guard(GuardData {
                lane: self.lane(Some(*lane)),
                reason: reason.as_deref(),
                restored: *restored,
            }),
            EventData::Credential(CredentialFact { lane, credential, result, reason }) => {
                EventDataAnswer::Credential(CredentialData {
                    lane: self.lane(Some(*lane)),
                    credential,
                    result: result.as_str(),
                    reason: reason.as_deref(),
                })
            }
            EventData::Cleanup(run) => EventDataAnswer::Cleanup(CleanupAnswer::of(&self.deliveries.key, run)),
            EventData::Node(NodeFact { node, name, version }) => {
                EventDataAnswer::Node(NodeData { node: *node, name, version })
            }
            EventData::Key(KeyFact { key, name, scopes }) => {
                EventDataAnswer::Key(KeyData { key, name: name.as_deref(), scopes })
            }
            EventData::Action(ActionFact { key, action, object, result }) => {
                EventDataAnswer::Action(ActionData { key, action, object, result })
            }
            EventData::Stored(members) => EventDataAnswer::Webhook(StoredData(members)),
        }
    }

    fn recorded<'a>(&self, receipt: &'a RecordedReceipt) -> RecordedData<'a> {
        let RecordedReceipt { summary, devices } = receipt;
        let id = summary.key.0;
        let shown: Vec<_> = devices.iter().map(|delivery| self.deliveries.show(id, delivery, None)).collect();
        let listed = u64::try_from(shown.len()).unwrap_or_default();
        RecordedData {
            notification: id.to_string(),
            label: summary.label.as_deref(),
            lane: self.lane(Some(summary.lane.0)),
            attempt: summary.attempt,
            devices_omitted: summary.counts.targets().saturating_sub(listed),
            counts: FinalCounts::from(&summary.counts),
            devices: shown,
        }
    }

    fn quarantined<'a>(&self, fact: &'a QuarantineFact, devices: &'a Devices) -> QuarantinedData<'a> {
        let shown = devices.known.iter().map(|(place, id, device)| QuarantinedDevice {
            device: self.deliveries.key.device_id(self.deliveries.app.id, *id),
            platform: device.platform.as_str(),
            environment: device.environment.map(|environment| environment.as_str()),
            user: device.user.as_ref().map(UserId::as_str),
            token_hint: device.token.hint(),
            reason: fact.reasons.get(*place).map(String::as_str),
            evidence_at: fact.evidence_at.get(*place).copied().flatten().map(Timestamp),
        });
        QuarantinedData {
            cause: fact.cause.as_str(),
            lane: self.lane(fact.lane),
            run: self.run(fact.run),
            devices: shown.collect(),
            devices_omitted: devices.omitted,
        }
    }

    fn corrected(&self, fact: &CorrectedFact, devices: &Devices) -> CorrectedData {
        let shown = devices.known.iter().map(|(_, id, device)| CorrectedDevice {
            device: self.deliveries.key.device_id(self.deliveries.app.id, *id),
            platform: device.platform.as_str(),
            environment: device.environment.map(|environment| environment.as_str()),
        });
        CorrectedData {
            cause: fact.cause.as_str(),
            run: self.run(fact.run),
            devices: shown.collect(),
            devices_omitted: devices.omitted,
        }
    }

    fn lane_changed<'a>(&self, fact: &'a LaneFact) -> LaneData<'a> {
        let lane = self.deliveries.app.lane_key(LaneId(fact.lane));
        let state = |state: Option<LaneState>| state.unwrap_or(LaneState::Unknown);
        LaneData {
            from: state(fact.from).as_str(),
            to: state(fact.to).as_str(),
            why: fact.why.as_deref(),
            since: Timestamp(fact.since),
            held_devices: fact.held_devices,
            action: lane.and_then(|lane| lane_advice(lane, state(fact.to), fact.why.as_deref())),
            lane: lane.map(|lane| lane.to_string()),
        }
    }

    fn lane(&self, lane: Option<i32>) -> Option<String> {
        self.deliveries.app.lane_key(LaneId(lane?)).map(|key| key.to_string())
    }

    fn run(&self, run: Option<i64>) -> Option<String> {
        run.map(|run| self.deliveries.key.cleanup_run_id(self.deliveries.app.id, CleanupRunId(run)))
    }
}

impl From<&DeliveryCounts> for FinalCounts {
    fn from(counts: &DeliveryCounts) -> Self {
        let DeliveryCounts { pending: _, accepted, unknown, rejected, token_dead, expired, cancelled } =
            *counts;
        Self { accepted, unknown, rejected, token_dead, expired, cancelled }
    }
}

impl<'a> From<&'a EndedNotification> for EndedData<'a> {
    fn from(ended: &'a EndedNotification) -> Self {
        Self {
            notification: ended.id.to_string(),
            label: ended.label.as_deref(),
            metadata: ended.metadata.as_deref().and_then(|json| exact_json::read(json).ok()),
            created_at: Timestamp(ended.created_at),
            due_at: Timestamp(ended.due_at),
            started_at: ended.started_at.map(Timestamp),
            done_at: ended.done_at.map(Timestamp),
            counts: CountsAnswer::from(&ended.counts),
        }
    }
}
