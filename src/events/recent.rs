//! The newest events, which the streams and webhooks of a node share: each is read once, however many of them follow the log.
//!
//! An event is made from rows as they are, so it is shared for a short time only: after that, what was erased meanwhile is in none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::candidates::Candidate;
use super::reader::WrittenEvent;
use super::short_lived::ShortLived;
use crate::domain::{AppId, DeviceDetail, EventPlace, NotificationId};
use crate::store::events::EndedNotification;

/// How long an event is shared.
const SHARED_TIME: Duration = Duration::from_secs(3);
/// Bytes of JSON that are kept at most, over all apps.
const EVENT_BYTES_MAX: usize = 8 << 20;
/// Bytes of ends that are kept at most, over all apps.
const END_BYTES_MAX: usize = 4 << 20;
/// Rows of the log behind the newest one that a reader may be, and still share what it reads.
const ROWS_BEHIND_MAX: i64 = 5_000;

/// What is read together: an app's events, with the same devices.
type ReadingKey = (AppId, DeviceDetail);
type EventKey = (ReadingKey, EventPlace);

/// An event that was read, or the knowledge that there is none.
#[derive(Clone, Debug)]
pub(super) struct ReadEvent {
    /// None: its rows are not kept any more, or a later version wrote the fact.
    pub(super) event: Option<WrittenEvent>,
    /// Number of devices that it lists.
    pub(super) devices: u64,
}

/// The newest events of all apps.
#[derive(Debug)]
pub(super) struct RecentEvents {
    kept: Mutex<KeptEvents>,
    readings: Mutex<HashMap<ReadingKey, Arc<Reading>>>,
}

#[derive(Debug)]
struct KeptEvents {
    events: ShortLived<EventKey, ReadEvent>,
    /// Ends that came with receipts. They name no user and no device, so nothing in them can be erased.
    ends: ShortLived<(AppId, NotificationId), EndedNotification>,
    /// The newest position that was read.
    newest: i64,
}

/// How the events of an app are read with the same devices.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// One reader reads what is new, and the others wait and find it here.
    pub(super) turn: tokio::sync::Mutex<()>,
    devices_per_event: AtomicU64,
}

impl Reading {
    /// Number of devices that an event had in the page that was read last, at least 1. The next page is likely to be of the same kind.
    pub(super) fn devices_per_event(&self) -> u64 {
        self.devices_per_event.load(Ordering::Relaxed).max(1)
    }

    pub(super) fn note(&self, devices: u64, events: usize) {
        if let Ok(events) = u64::try_from(events)
            && events > 0
        {
            self.devices_per_event.store(devices / events, Ordering::Relaxed);
        }
    }
}

impl Default for RecentEvents {
    fn default() -> Self {
        let kept = KeptEvents {
            events: ShortLived::new(SHARED_TIME, EVENT_BYTES_MAX),
            ends: ShortLived::new(SHARED_TIME, END_BYTES_MAX),
            newest: 0,
        };
        Self { kept: Mutex::new(kept), readings: Mutex::default() }
    }
}

impl RecentEvents {
    pub(super) fn reading(&self, app: AppId, detail: DeviceDetail) -> Arc<Reading> {
        Arc::clone(lock(&self.readings).entry((app, detail)).or_default())
    }

    /// Is the place so near to the end of the log that others may want what follows it?
    pub(super) fn is_recent(&self, place: EventPlace) -> bool {
        place.position > lock(&self.kept).newest - ROWS_BEHIND_MAX
    }

    pub(super) fn find(&self, app: AppId, detail: DeviceDetail, item: &Candidate) -> Option<ReadEvent> {
        lock(&self.kept).events.find(key(app, detail, item)).cloned()
    }

    pub(super) fn keep(&self, app: AppId, detail: DeviceDetail, item: &Candidate, event: ReadEvent) {
        let mut kept = lock(&self.kept);
        kept.newest = kept.newest.max(item.place.position);
        let bytes = event.event.as_ref().map_or(0, |event| event.json.len());
        kept.events.keep(key(app, detail, item), event, bytes);
    }

    /// The end of a notification that came with its only receipt.
    pub(super) fn find_end(&self, app: AppId, id: NotificationId) -> Option<EndedNotification> {
        lock(&self.kept).ends.find((app, id)).cloned()
    }

    /// The event of an end stands behind that of the receipt, often in the next page.
    pub(super) fn keep_end(&self, app: AppId, end: EndedNotification) {
        let bytes = end.label.as_ref().map_or(0, String::len) + end.metadata.as_ref().map_or(0, Vec::len);
        lock(&self.kept).ends.keep((app, end.id), end, bytes);
    }
}

/// Only what is made of a receipt depends on the devices that are listed.
fn key(app: AppId, detail: DeviceDetail, item: &Candidate) -> EventKey {
    let detail = if item.receipt().is_some() { detail } else { DeviceDetail::None };
    ((app, detail), item.place)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate};
    use uuid::Uuid;

    use super::*;
    use crate::domain::{DeliveryCounts, EventType, LogPosition, NotificationStatus};
    use crate::events::candidates::Source;
    use crate::store::events::ReceiptId;

    const APP: AppId = AppId(1);
    const ALL: DeviceDetail = DeviceDetail::All;

    fn item(position: i64, source: Source) -> Candidate {
        let place = EventPlace::new(LogPosition { position, day: NaiveDate::default() }, 0);
        Candidate { place, at: DateTime::UNIX_EPOCH, source }
    }

    fn receipt(position: i64) -> Candidate {
        item(position, Source::Receipt((id(1), ReceiptId(1))))
    }

    fn id(number: u128) -> NotificationId {
        NotificationId(Uuid::from_u128(number))
    }

    fn event() -> ReadEvent {
        ReadEvent { event: None, devices: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_shared_for_a_short_time_by_readers_that_want_the_same_devices() {
        let recent = RecentEvents::default();
        recent.keep(APP, ALL, &receipt(1), event());
        assert!(recent.find(APP, ALL, &receipt(1)).is_some());
        assert!(recent.find(APP, DeviceDetail::None, &receipt(1)).is_none());
        assert!(recent.find(AppId(2), ALL, &receipt(1)).is_none());
        tokio::time::advance(SHARED_TIME).await;
        assert!(recent.find(APP, ALL, &receipt(1)).is_none(), "what was erased since would be in it");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_lists_no_receipt_is_shared_by_all_readers() {
        let recent = RecentEvents::default();
        let fact = Source::Fact { kind: EventType::NodeStarted, devices: Vec::new(), json: Vec::new() };
        for (position, source) in [(1, Source::Ended(id(1))), (2, fact)] {
            let item = item(position, source);
            recent.keep(APP, ALL, &item, event());
            assert!(recent.find(APP, DeviceDetail::Failed, &item).is_some(), "{item:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_kept_for_the_app_of_its_receipt() {
        let recent = RecentEvents::default();
        let end = EndedNotification {
            id: id(1),
            status: NotificationStatus::Done,
            label: Some("order".to_owned()),
            metadata: None,
            created_at: DateTime::UNIX_EPOCH,
            due_at: DateTime::UNIX_EPOCH,
            started_at: None,
            done_at: None,
            counts: DeliveryCounts::default(),
        };
        recent.keep_end(APP, end.clone());
        assert_eq!(recent.find_end(APP, id(1)), Some(end));
        assert_eq!((recent.find_end(AppId(2), id(1)), recent.find_end(APP, id(2))), (None, None));
        tokio::time::advance(SHARED_TIME).await;
        assert_eq!(recent.find_end(APP, id(1)), None);
    }

    #[test]
    fn only_readers_near_the_end_of_the_log_share() {
        let recent = RecentEvents::default();
        recent.keep(APP, ALL, &receipt(10_000), event());
        assert!(recent.is_recent(receipt(9_999).place) && recent.is_recent(receipt(20_000).place));
        assert!(!recent.is_recent(receipt(10_000 - ROWS_BEHIND_MAX).place));
    }
}
