//! The newest events, which the streams and webhooks of a node share: each is read once, however many of them follow the log.
//!
//! An event is made from rows as they are, so it is shared for a short time only: after that, what was erased meanwhile is in none.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::reader::WrittenEvent;
use crate::domain::{AppId, DeviceDetail, EventPlace};

/// How long an event is shared.
const SHARED_TIME: Duration = Duration::from_secs(3);
/// Bytes of JSON that are kept at most, over all apps.
const BYTES_MAX: usize = 8 << 20;
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
#[derive(Debug, Default)]
pub(super) struct RecentEvents {
    kept: Mutex<KeptEvents>,
    readings: Mutex<HashMap<ReadingKey, Arc<Reading>>>,
}

#[derive(Debug, Default)]
struct KeptEvents {
    events: HashMap<EventKey, (Instant, ReadEvent)>,
    /// In the order in which they were read.
    order: VecDeque<EventKey>,
    bytes: usize,
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

impl RecentEvents {
    pub(super) fn reading(&self, app: AppId, detail: DeviceDetail) -> Arc<Reading> {
        Arc::clone(lock(&self.readings).entry((app, detail)).or_default())
    }

    /// Is the place so near to the end of the log that others may want what follows it?
    pub(super) fn is_recent(&self, place: EventPlace) -> bool {
        place.position > lock(&self.kept).newest - ROWS_BEHIND_MAX
    }

    pub(super) fn find(&self, app: AppId, detail: DeviceDetail, place: EventPlace) -> Option<ReadEvent> {
        let kept = lock(&self.kept);
        let (read_at, event) = kept.events.get(&((app, detail), place))?;
        (read_at.elapsed() < SHARED_TIME).then(|| event.clone())
    }

    pub(super) fn keep(&self, app: AppId, detail: DeviceDetail, place: EventPlace, event: ReadEvent) {
        let now = Instant::now();
        let mut kept = lock(&self.kept);
        kept.newest = kept.newest.max(place.position);
        kept.drop_old(now);
        kept.bytes += bytes(&event);
        let key = ((app, detail), place);
        match kept.events.insert(key, (now, event)) {
            // It keeps its place in the order, and is dropped a little earlier.
            Some((_, before)) => kept.bytes -= bytes(&before),
            None => kept.order.push_back(key),
        }
    }
}

impl KeptEvents {
    fn drop_old(&mut self, now: Instant) {
        while let Some(key) = self.order.front().copied() {
            let is_old = self.events.get(&key).is_none_or(|(read_at, _)| now - *read_at >= SHARED_TIME);
            if !is_old && self.bytes <= BYTES_MAX {
                return;
            }
            self.order.pop_front();
            if let Some((_, event)) = self.events.remove(&key) {
                self.bytes -= bytes(&event);
            }
        }
    }
}

/// An event takes some more, so that events without devices are bounded too.
fn bytes(event: &ReadEvent) -> usize {
    200 + event.event.as_ref().map_or(0, |event| event.json.len())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::domain::{EventType, LogPosition};

    const APP: AppId = AppId(1);
    const ALL: DeviceDetail = DeviceDetail::All;

    fn place(position: i64) -> EventPlace {
        EventPlace::new(LogPosition { position, day: NaiveDate::default() }, 0)
    }

    fn event(position: i64, bytes: usize) -> ReadEvent {
        let event = WrittenEvent {
            place: place(position),
            id: String::new().into(),
            kind: EventType::NodeStarted,
            notification: None,
            json: "x".repeat(bytes).into(),
        };
        ReadEvent { event: Some(event), devices: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_shared_for_a_short_time_by_readers_that_want_the_same_devices() {
        let recent = RecentEvents::default();
        recent.keep(APP, ALL, place(1), event(1, 1));
        assert!(recent.find(APP, ALL, place(1)).is_some());
        assert!(recent.find(APP, DeviceDetail::None, place(1)).is_none());
        assert!(recent.find(AppId(2), ALL, place(1)).is_none());
        tokio::time::advance(SHARED_TIME).await;
        assert!(recent.find(APP, ALL, place(1)).is_none(), "what was erased since would be in it");
        recent.keep(APP, ALL, place(2), event(2, 1));
        assert_eq!(lock(&recent.kept).events.len(), 1, "an old event takes no room");
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_events_go_where_there_are_too_many_bytes() {
        let recent = RecentEvents::default();
        for position in 1..=200 {
            recent.keep(APP, ALL, place(position), event(position, 100_000));
        }
        let held = (1..=200).filter(|position| recent.find(APP, ALL, place(*position)).is_some()).count();
        assert!((80..=84).contains(&held), "{held} events of 100 KB in 8 MB");
        assert!(recent.find(APP, ALL, place(200)).is_some());
        // An event that is read twice counts once.
        let before = lock(&recent.kept).bytes;
        recent.keep(APP, ALL, place(200), event(200, 100_000));
        assert!(lock(&recent.kept).bytes <= before);
    }

    #[test]
    fn only_readers_near_the_end_of_the_log_share() {
        let recent = RecentEvents::default();
        recent.keep(APP, ALL, place(10_000), event(10_000, 1));
        assert!(recent.is_recent(place(9_999)) && recent.is_recent(place(20_000)));
        assert!(!recent.is_recent(place(10_000 - ROWS_BEHIND_MAX)));
    }
}
