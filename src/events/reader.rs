//! Reads pages of the log of one app, and makes events of them.
//!
//! A page takes a few statements, however many events it has. Its events are rendered from the rows as they are now, so what was erased since
//! is in none of them. Readers that follow the log share what they read ([`recent`](super::recent)).

use std::fmt;
use std::sync::Arc;

use chrono::NaiveDate;

use super::candidates::{Candidate, candidates};
use super::event::{Event, EventData};
use super::filter::EventFilter;
use super::recent::{ReadEvent, Reading, RecentEvents};
use super::rendering::{RenderScope, render};
use crate::domain::{App, DeviceDetail, EventPlace, EventType, InstallationKey, NotificationId};
use crate::store::{self, Session, SessionPool};

/// Entries of the log that a page reads, one step after the other until there are enough events: an entry has up to hundreds of them,
/// or none that the filter lets pass.
const PAGE_ENTRIES: [i64; 3] = [8, 32, 160];
/// Devices that the events of a page list at most, unless its first event alone has more. So a page has about 200 KB,
/// which is what a client that reads nothing keeps in memory.
const PAGE_DEVICES: u64 = 500;

/// Writes an event of an app, with its public id, as one line of JSON without the line's end.
pub type EventWriter = Arc<dyn Fn(&Arc<App>, &Event, &str) -> String + Send + Sync>;

/// An event as JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenEvent {
    /// Where it stands in the log of its app.
    pub place: EventPlace,
    /// Its public id.
    pub id: Arc<str>,
    /// What type it is of.
    pub kind: EventType,
    /// The notification that it is about.
    pub notification: Option<NotificationId>,
    /// The JSON, shared by all streams.
    pub json: Arc<str>,
}

/// A part of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventPage {
    /// The events that the filter let pass, in the order of the log.
    pub events: Vec<WrittenEvent>,
    /// Where the next page begins. It is behind everything that the filter left out.
    pub next: EventPlace,
    /// The end of the log was reached.
    pub is_last: bool,
}

/// Why a page can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The place is on a day that is not kept any more.
    #[error("the log is kept from {first_day} on")]
    Expired {
        /// The first day (UTC) that is kept.
        first_day: NaiveDate,
    },
    /// Postgres is out of reach, or a row holds an unknown value.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// May a page have events that another reader has read a moment ago?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sharing {
    Yes,
    No,
}

/// Reads the log. Cheap to clone.
#[derive(Clone)]
pub struct EventReader {
    pool: SessionPool,
    key: InstallationKey,
    write: EventWriter,
    recent: Arc<RecentEvents>,
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventReader(…)")
    }
}

impl EventReader {
    /// Reads over these connections. `key` makes the public ids.
    pub fn new(pool: SessionPool, key: InstallationKey, write: EventWriter) -> Self {
        Self { pool, key, write, recent: Arc::default() }
    }

    /// The end of the log, over all apps.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn head(&self) -> Result<EventPlace, store::Error> {
        let mut conn = self.session().await?;
        Ok(EventPlace::behind(store::events::head(&mut conn).await?))
    }

    /// The place behind which an app's events were logged at this time or later.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn since(
        &self,
        app: &App,
        time: chrono::DateTime<chrono::Utc>,
    ) -> Result<EventPlace, store::Error> {
        let mut conn = self.session().await?;
        let first_day = store::events::first_day(&mut conn).await?;
        if time.date_naive() < first_day {
            return Ok(EventPlace::START);
        }
        Ok(EventPlace::behind(store::events::since(&mut conn, app.id, time).await?))
    }

    /// Checks that what follows a place is still kept.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn check_kept(&self, place: EventPlace) -> Result<(), ReadError> {
        let mut conn = self.session().await?;
        still_kept(&mut conn, place).await
    }

    /// Up to `limit` events of an app behind a place, as their rows are now. `head`: an end of the log that was read before; where
    /// nothing follows the place, the next page begins there.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn page(
        &self,
        app: &Arc<App>,
        after: EventPlace,
        head: EventPlace,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<EventPage, ReadError> {
        self.read_page(app, (after, head), filter, limit, Sharing::No).await
    }

    /// As [`Self::page`], for readers that follow the log: what another one has read a moment ago is not read again.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn newest_page(
        &self,
        app: &Arc<App>,
        after: EventPlace,
        head: EventPlace,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<EventPage, ReadError> {
        self.read_page(app, (after, head), filter, limit, Sharing::Yes).await
    }

    async fn read_page(
        &self,
        app: &Arc<App>,
        (after, head): (EventPlace, EventPlace),
        filter: &EventFilter,
        limit: usize,
        sharing: Sharing,
    ) -> Result<EventPage, ReadError> {
        let reading = self.recent.reading(app.id, filter.devices);
        let fitting =
            usize::try_from(PAGE_DEVICES / reading.devices_per_event()).unwrap_or(usize::MAX).max(1);
        let mut conn = self.session().await?;
        let (mut items, mut next, mut is_last) = (Vec::new(), after, false);
        for entries_max in PAGE_ENTRIES {
            let entries = store::events::page(&mut conn, app.id, next.before_row(), entries_max).await?;
            let is_end = i64::try_from(entries.len()).unwrap_or_default() < entries_max;
            let more = candidates(entries, after, filter, limit - items.len());
            items.extend(more.items);
            next = next.max(more.reached.unwrap_or(after));
            is_last = is_end && !more.is_cut;
            if is_end || more.is_cut || items.len() >= limit.min(fitting) {
                break;
            }
        }
        if after.day() < head.day() {
            still_kept(&mut conn, after).await?;
        }
        drop(conn);
        let read = self.read_events(app, &items, filter.devices, (fitting, sharing, &reading)).await?;
        if read.len() < items.len() {
            next = read.len().checked_sub(1).map_or(next, |last| items[last].place);
            is_last = false;
        }
        if is_last {
            next = next.max(head);
        }
        let events = read.into_iter().filter_map(|read| read.event);
        let events = events.filter(|event| filter.types.has(event.kind)).collect();
        Ok(EventPage { events, next, is_last })
    }

    /// Reads the events of the first candidates, as far as their devices fit into a page: at least one, if there is one. `step`: number of
    /// candidates that are read together. Holds no connection while another reader is waited for, or while JSON is written: there are few,
    /// and figures and answers need them too.
    async fn read_events(
        &self,
        app: &Arc<App>,
        items: &[Candidate],
        detail: DeviceDetail,
        (step, sharing, reading): (usize, Sharing, &Reading),
    ) -> Result<Vec<ReadEvent>, store::Error> {
        let (mut read, mut devices): (Vec<ReadEvent>, u64) = (Vec::with_capacity(items.len()), 0);
        while let Some(item) = items.get(read.len()).filter(|_| devices < PAGE_DEVICES) {
            let is_shared = sharing == Sharing::Yes && self.recent.is_recent(item.place);
            let find = |item: &Candidate| match is_shared {
                true => self.recent.find(app.id, detail, item),
                false => None,
            };
            let turn = match find(item) {
                Some(_) => None,
                // Another reader may be reading it.
                None if is_shared => Some(reading.turn.lock().await),
                None => None,
            };
            if let Some(known) = find(item) {
                if devices > 0 && devices + known.devices > PAGE_DEVICES {
                    break;
                }
                devices += known.devices;
                read.push(known);
                continue;
            }
            let rest = &items[read.len()..];
            let missing = rest.iter().take(step).take_while(|item| find(item).is_none()).count();
            let room = PAGE_DEVICES.saturating_sub(devices);
            let wanted = RenderScope { detail, room, is_first: devices == 0 };
            let recent = is_shared.then_some(&*self.recent);
            let mut conn = self.session().await?;
            let rendered = render(&mut conn, app, &rest[..missing], wanted, recent).await?;
            drop(conn);
            let is_full = rendered.len() < missing;
            for (item, (event, listed)) in rest.iter().zip(rendered) {
                let event = event.map(|event| self.written(app, &event));
                let event = ReadEvent { event, devices: listed };
                if is_shared {
                    self.recent.keep(app.id, detail, item, event.clone());
                }
                devices += listed;
                read.push(event);
            }
            drop(turn);
            if is_full {
                break;
            }
        }
        reading.note(devices, read.len());
        Ok(read)
    }

    fn written(&self, app: &Arc<App>, event: &Event) -> WrittenEvent {
        let notification = match &event.data {
            EventData::Recorded(receipt) => Some(receipt.summary.key.0),
            EventData::Ended(ended) => Some(ended.id),
            _ => None,
        };
        let id = self.key.event_id(app.id, event.place);
        let json = (self.write)(app, event, &id).into();
        WrittenEvent { place: event.place, id: id.into(), kind: event.kind, notification, json }
    }

    async fn session(&self) -> Result<Session, store::Error> {
        Ok(self.pool.acquire().await?)
    }
}

async fn still_kept(conn: &mut Session, place: EventPlace) -> Result<(), ReadError> {
    if place == EventPlace::START {
        return Ok(());
    }
    let first_day = store::events::first_day(conn).await?;
    if place.day() < first_day { Err(ReadError::Expired { first_day }) } else { Ok(()) }
}
