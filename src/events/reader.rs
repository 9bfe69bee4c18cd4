//! Reads pages of the log of one app, and makes events of them.
//!
//! A page takes a fixed number of statements, however many events it has. Its events are rendered from the rows as they are now, so what was
//! erased since is in none of them.

use std::fmt;
use std::sync::Arc;

use chrono::NaiveDate;

use super::candidates::{Candidates, candidates};
use super::event::{DeviceDetail, Event, EventData};
use super::rendering::{Facts, receipts};
use crate::domain::{App, EventPlace, EventType, EventTypes, InstallationKey, NotificationId};
use crate::store::{self, Session, SessionPool};

/// Entries of the log that a page reads at most.
const PAGE_ENTRIES: i64 = 200;

/// Which events are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventFilter {
    /// Events of these types.
    pub types: EventTypes,
    /// Only events about these notifications; empty: all events.
    pub notifications: Vec<NotificationId>,
    /// Which devices a `delivery.recorded` lists.
    pub devices: DeviceDetail,
}

impl Default for EventFilter {
    fn default() -> Self {
        Self { types: EventTypes::ALL, notifications: Vec::new(), devices: DeviceDetail::All }
    }
}

impl EventFilter {
    /// Does the filter let events about this notification pass?
    pub(super) fn admits(&self, id: NotificationId) -> bool {
        self.notifications.is_empty() || self.notifications.contains(&id)
    }

    /// Does it let an event of this type about this notification, or about none, pass?
    pub(super) fn admits_event(&self, event: &WrittenEvent) -> bool {
        let of_notification = event.notification.map_or(self.notifications.is_empty(), |id| self.admits(id));
        of_notification && self.types.has(event.kind)
    }

    /// May the end of a notification be told?
    pub(super) fn may_tell_ends(&self) -> bool {
        self.types.has(EventType::NotificationDone) || self.types.has(EventType::NotificationCancelled)
    }
}

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

/// Reads the log. Cheap to clone.
#[derive(Clone)]
pub struct EventReader {
    pool: SessionPool,
    key: InstallationKey,
    write: EventWriter,
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventReader(…)")
    }
}

impl EventReader {
    /// Reads over these connections. `key` makes the public ids.
    pub fn new(pool: SessionPool, key: InstallationKey, write: EventWriter) -> Self {
        Self { pool, key, write }
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

    /// Up to `limit` events of an app behind a place. `head`: an end of the log that was read before; where nothing
    /// follows the place, the next page begins there.
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
        let mut conn = self.session().await?;
        let entries = store::events::page(&mut conn, app.id, after.before_row(), PAGE_ENTRIES).await?;
        if after.day() < head.day() {
            still_kept(&mut conn, after).await?;
        }
        let is_end = i64::try_from(entries.len()).unwrap_or_default() < PAGE_ENTRIES;
        let Candidates { mut items, reached, is_cut } = candidates(entries, after, filter, limit);
        let mut next = reached.unwrap_or(after).max(after);
        let mut is_last = is_end && !is_cut;
        let receipts = receipts(&mut conn, app, &items, filter.devices).await?;
        if let Some(kept) = receipts.kept {
            items.truncate(kept);
            next = items.last().map_or(next, |last| last.place);
            is_last = false;
        }
        if is_last {
            next = next.max(head);
        }
        let facts = Facts::read(&mut conn, app, &items).await?;
        drop(conn);
        let events = items.into_iter().filter_map(|item| facts.event(item, &receipts.found));
        let events = events.filter(|event| filter.types.has(event.kind));
        let events = events.map(|event| self.written(app, &event)).collect();
        Ok(EventPage { events, next, is_last })
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
