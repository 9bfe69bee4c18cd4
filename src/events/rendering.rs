//! Makes events of the candidates of a page, from the rows that they name.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use super::candidates::{Candidate, Source};
use super::event::{DeviceDetail, Devices, Event, EventData, RecordedReceipt};
use crate::domain::{
    App, CleanupFact, CleanupRunId, DeliveryCounts, DeliveryStatus, DeviceId, EventType, NotificationId,
    NotificationStatus,
};
use crate::store::deliveries::{DeliveryFilter, ReceiptKey, ReceiptSummary, of_receipts, receipt_summaries};
use crate::store::events::{EndedNotification, EventDevice};
use crate::store::{self, Session};

/// Devices that the events of a page list at most, unless its first event alone has more. So a page has about 200 KB,
/// which is what a client that reads nothing keeps in memory.
const PAGE_DEVICES: u64 = 500;
/// Devices that one event lists at most.
const EVENT_DEVICES: usize = store::events::DEVICES_PER_FACT as usize;

/// The receipts of a page.
pub(super) struct Receipts {
    pub(super) found: HashMap<ReceiptKey, RecordedReceipt>,
    /// Some: only so many candidates are in the page, because the others have too many devices.
    pub(super) kept: Option<usize>,
}

/// Reads the receipts of these candidates, as far as their devices fit into a page.
pub(super) async fn receipts(
    conn: &mut Session,
    app: &App,
    items: &[Candidate],
    detail: DeviceDetail,
) -> Result<Receipts, store::Error> {
    let key = |item: &Candidate| match item.source {
        Source::Receipt(key) => Some(key),
        _ => None,
    };
    let keys: Vec<ReceiptKey> = items.iter().filter_map(key).collect();
    let summaries = receipt_summaries(conn, app.id, &keys).await?;
    let mut summaries: HashMap<ReceiptKey, ReceiptSummary> =
        summaries.into_iter().map(|summary| (summary.key, summary)).collect();
    let (mut kept, mut devices, mut listed) = (None, 0, Vec::new());
    for (place, item) in items.iter().enumerate() {
        let summary = key(item).and_then(|key| summaries.get(&key));
        let more = match &item.source {
            Source::Receipt(_) => summary.map_or(0, |summary| listed_devices(&summary.counts, detail)),
            Source::Ended(_) => 0,
            Source::Fact { devices, .. } => devices.len().min(EVENT_DEVICES) as u64,
        };
        if devices > 0 && devices + more > PAGE_DEVICES {
            kept = Some(place);
            break;
        }
        devices += more;
        listed.extend(summary.filter(|_| more > 0).map(|summary| summary.key));
    }
    let filter = DeliveryFilter { statuses: statuses(detail), ..DeliveryFilter::default() };
    let mut lists = of_receipts(conn, app.id, &listed, &filter, EVENT_DEVICES).await?;
    let kept_items = items.iter().take(kept.unwrap_or(items.len()));
    let found = kept_items.filter_map(key).filter_map(|key| {
        let summary = summaries.remove(&key)?;
        Some((key, RecordedReceipt { summary, devices: lists.remove(&key).unwrap_or_default() }))
    });
    Ok(Receipts { found: found.collect(), kept })
}

fn listed_devices(counts: &DeliveryCounts, detail: DeviceDetail) -> u64 {
    match detail {
        DeviceDetail::None => 0,
        DeviceDetail::Failed => counts.targets() - counts.accepted,
        DeviceDetail::All => counts.targets(),
    }
}

/// The outcomes that are listed; empty: all.
fn statuses(detail: DeviceDetail) -> Vec<DeliveryStatus> {
    let ended = DeliveryStatus::ALL.iter().copied();
    match detail {
        DeviceDetail::All | DeviceDetail::None => Vec::new(),
        DeviceDetail::Failed => ended.filter(|status| *status != DeliveryStatus::Accepted).collect(),
    }
}

/// The rows that the facts of a page name.
pub(super) struct Facts {
    ended: HashMap<NotificationId, EndedNotification>,
    devices: HashMap<DeviceId, EventDevice>,
    runs: HashMap<CleanupRunId, store::cleanups::CleanupRun>,
}

impl Facts {
    pub(super) async fn read(
        conn: &mut Session,
        app: &App,
        items: &[Candidate],
    ) -> Result<Self, store::Error> {
        let (mut ends, mut devices, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            match &item.source {
                Source::Receipt(_) => {}
                Source::Ended(id) => ends.push(*id),
                Source::Fact { kind: EventType::CleanupDone, json, .. } => {
                    runs.extend(fact(json).map(|CleanupFact { run, .. }| CleanupRunId(run)));
                }
                Source::Fact { devices: of_fact, .. } => {
                    devices.extend(of_fact.iter().take(EVENT_DEVICES).copied());
                }
            }
        }
        let ended = store::events::ended(conn, app.id, &ends).await?.into_iter();
        let runs = store::cleanups::find_all(conn, app.id, &runs).await?.into_iter();
        Ok(Self {
            ended: ended.map(|ended| (ended.id, ended)).collect(),
            runs: runs.map(|run| (run.id, run)).collect(),
            devices: store::events::devices(conn, app.id, &devices).await?,
        })
    }

    /// None: the rows are not kept any more, or a later version wrote the fact.
    pub(super) fn event(
        &self,
        item: Candidate,
        receipts: &HashMap<ReceiptKey, RecordedReceipt>,
    ) -> Option<Event> {
        let Candidate { place, at, source } = item;
        let (kind, data) = match source {
            Source::Receipt(key) => {
                (EventType::DeliveryRecorded, EventData::Recorded(receipts.get(&key)?.clone()))
            }
            Source::Ended(id) => {
                let ended = self.ended.get(&id)?.clone();
                let is_cancelled = ended.status == NotificationStatus::Cancelled;
                let kind =
                    if is_cancelled { EventType::NotificationCancelled } else { EventType::NotificationDone };
                (kind, EventData::Ended(ended))
            }
            Source::Fact { kind, devices, json } => (kind, self.data(kind, &devices, &json)?),
        };
        Some(Event { place, kind, at, data })
    }

    fn data(&self, kind: EventType, devices: &[DeviceId], json: &[u8]) -> Option<EventData> {
        Some(match kind {
            EventType::DeviceQuarantined => EventData::Quarantined(fact(json)?, self.devices(devices)),
            EventType::DeviceRestored | EventType::DeviceCorrected => {
                EventData::Corrected(fact(json)?, self.devices(devices))
            }
            EventType::LaneChanged => EventData::Lane(fact(json)?),
            EventType::PruningBraked | EventType::PruningReleased => EventData::Guard(fact(json)?),
            EventType::CredentialChanged => EventData::Credential(fact(json)?),
            EventType::CleanupDone => {
                let CleanupFact { run, .. } = fact(json)?;
                EventData::Cleanup(Box::new(self.runs.get(&CleanupRunId(run))?.clone()))
            }
            EventType::NodeStarted | EventType::NodeDied => EventData::Node(fact(json)?),
            EventType::KeyCreated | EventType::KeyRevoked => EventData::Key(fact(json)?),
            EventType::AdminAction => EventData::Action(fact(json)?),
            _ => EventData::Stored(fact(json)?),
        })
    }

    fn devices(&self, ids: &[DeviceId]) -> Devices {
        let found = |(place, id): (usize, &DeviceId)| Some((place, *id, self.devices.get(id)?.clone()));
        let known: Vec<_> = ids.iter().enumerate().take(EVENT_DEVICES).filter_map(found).collect();
        Devices { omitted: ids.len() - known.len(), known }
    }
}

fn fact<F: DeserializeOwned>(json: &[u8]) -> Option<F> {
    serde_json::from_slice(json).ok()
}
