//! Makes events of the candidates of a page, from the rows that they name.

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use super::candidates::{Candidate, Source};
use super::event::{Devices, Event, EventData, RecordedReceipt};
use super::recent::RecentEvents;
use crate::domain::{
    App, AppId, CleanupFact, CleanupRunId, DeviceDetail, DeviceId, EventType, NotificationId,
    NotificationStatus,
};
use crate::store::deliveries::{ListedReceipt, ReceiptKey, ReceiptScope, listed_receipts};
use crate::store::events::{EndedNotification, EventDevice};
use crate::store::{self, Session};

/// Devices that one event lists at most.
const EVENT_DEVICES: usize = store::events::DEVICES_PER_FACT as usize;

/// An event of a candidate, and how many devices it lists. None: its rows are not kept any more, or a later version wrote the fact.
pub(super) type Rendered = (Option<Event>, u64);

/// How many events are made.
#[derive(Clone, Copy)]
pub(super) struct RenderScope {
    /// Which devices an event lists.
    pub(super) detail: DeviceDetail,
    /// Devices of all events together, at most.
    pub(super) room: u64,
    /// The first event that lists any devices is made, however many they are.
    pub(super) is_first: bool,
}

/// Makes events of the first of these candidates, as many as the scope has room for. `recent`: ends that came with receipts are
/// kept there for the next pages, and taken from there. Without it everything is read.
pub(super) async fn render(
    conn: &mut Session,
    app: &App,
    items: &[Candidate],
    scope: RenderScope,
    recent: Option<&RecentEvents>,
) -> Result<Vec<Rendered>, store::Error> {
    let RenderScope { detail, room, is_first } = scope;
    let keys: Vec<ReceiptKey> = items.iter().filter_map(Candidate::receipt).collect();
    let has_ends = items.iter().any(|item| matches!(item.source, Source::Ended(_)));
    let wanted = ReceiptScope { detail, devices_max: room, with_ends: has_ends || recent.is_some() };
    let receipts = listed_receipts(conn, app.id, &keys, wanted).await?;
    let mut receipts: HashMap<ReceiptKey, ListedReceipt> =
        receipts.into_iter().map(|receipt| (receipt.summary.key, receipt)).collect();
    let ends = KnownEnds::of(app.id, &mut receipts, recent);
    let (mut sizes, mut listed) = (Vec::new(), 0);
    for item in items {
        let (size, is_there) = match &item.source {
            Source::Receipt(key) => {
                receipts.get(key).map_or((0, true), |of| (of.asked, of.devices.is_some()))
            }
            Source::Ended(_) => (0, true),
            Source::Fact { devices, .. } => (devices.len().min(EVENT_DEVICES) as u64, true),
        };
        let is_within = size == 0 || listed + size <= room || (is_first && listed == 0);
        if !is_within || !is_there {
            break;
        }
        listed += size;
        sizes.push(size);
    }
    let items = &items[..sizes.len()];
    let facts = Facts::read(conn, app, items, ends).await?;
    let mut events = Vec::with_capacity(items.len());
    for (item, size) in items.iter().zip(sizes) {
        events.push((facts.event(item, &mut receipts), size));
    }
    Ok(events)
}

/// Ends of notifications that were read with their only receipts.
struct KnownEnds<'a> {
    app: AppId,
    of_page: HashMap<NotificationId, EndedNotification>,
    recent: Option<&'a RecentEvents>,
}

impl<'a> KnownEnds<'a> {
    /// Takes the ends out of the receipts of a page.
    fn of(
        app: AppId,
        receipts: &mut HashMap<ReceiptKey, ListedReceipt>,
        recent: Option<&'a RecentEvents>,
    ) -> Self {
        let mut of_page = HashMap::new();
        for end in receipts.values_mut().filter_map(|receipt| receipt.end.take()) {
            if let Some(recent) = recent {
                recent.keep_end(app, end.clone());
            }
            of_page.insert(end.id, end);
        }
        Self { app, of_page, recent }
    }

    fn find(&self, id: NotificationId) -> Option<EndedNotification> {
        let of_page = self.of_page.get(&id).cloned();
        of_page.or_else(|| self.recent?.find_end(self.app, id))
    }
}

/// The rows that the facts of a page name.
struct Facts {
    ended: HashMap<NotificationId, EndedNotification>,
    devices: HashMap<DeviceId, EventDevice>,
    runs: HashMap<CleanupRunId, store::cleanups::CleanupRun>,
}

impl Facts {
    async fn read(
        conn: &mut Session,
        app: &App,
        items: &[Candidate],
        known: KnownEnds<'_>,
    ) -> Result<Self, store::Error> {
        let mut ended = HashMap::new();
        let (mut ends, mut devices, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            match &item.source {
                Source::Receipt(_) => {}
                Source::Ended(id) => match known.find(*id) {
                    Some(end) => drop(ended.insert(*id, end)),
                    None => ends.push(*id),
                },
                Source::Fact { kind: EventType::CleanupDone, json, .. } => {
                    runs.extend(fact(json).map(|CleanupFact { run, .. }| CleanupRunId(run)));
                }
                Source::Fact { devices: of_fact, .. } => {
                    devices.extend(of_fact.iter().take(EVENT_DEVICES).copied());
                }
            }
        }
        let read = store::events::ended(conn, app.id, &ends).await?.into_iter();
        ended.extend(read.map(|ended| (ended.id, ended)));
        let runs = store::cleanups::find_all(conn, app.id, &runs).await?.into_iter();
        Ok(Self {
            ended,
            runs: runs.map(|run| (run.id, run)).collect(),
            devices: store::events::devices(conn, app.id, &devices).await?,
        })
    }

    /// None: the rows are not kept any more, or a later version wrote the fact.
    fn event(&self, item: &Candidate, receipts: &mut HashMap<ReceiptKey, ListedReceipt>) -> Option<Event> {
        let Candidate { place, at, source } = item;
        let (place, at) = (*place, *at);
        let (kind, data) = match source {
            Source::Receipt(key) => {
                let ListedReceipt { summary, devices, .. } = receipts.remove(key)?;
                let receipt = RecordedReceipt { summary, devices: devices.unwrap_or_default() };
                (EventType::DeliveryRecorded, EventData::Recorded(receipt))
            }
            Source::Ended(id) => {
                let ended = self.ended.get(id)?.clone();
                let is_cancelled = ended.status == NotificationStatus::Cancelled;
                let kind =
                    if is_cancelled { EventType::NotificationCancelled } else { EventType::NotificationDone };
                (kind, EventData::Ended(ended))
            }
            Source::Fact { kind, devices, json } => (*kind, self.data(*kind, devices, json)?),
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
