//! Finds what is posted next to a webhook.

use std::sync::Arc;

use chrono::{DateTime, NaiveTime, Utc};

use super::message::{WebhookMessage, events_that_fit};
use super::services::{WebhookServices, WebhookTarget};
use crate::domain::{App, EventPlace, LogPosition, MessageFocus};
use crate::events::{EventFilter, EventPage, ReadError};
use crate::store;
use crate::store::webhooks::{self, LeasedWebhook, SetAsideRow};

/// What is posted next.
#[derive(Debug)]
pub(super) enum Work {
    /// Events in their order.
    Ordered(OrderedWork),
    /// The time of events that the log does not have any more.
    Gap(WebhookMessage),
    /// An event that was set aside.
    Late(WebhookMessage, SetAsideRow),
}

/// Events in their order.
#[derive(Debug)]
pub(super) struct OrderedWork {
    pub(super) message: WebhookMessage,
    /// All events up to here are done with once the message is delivered.
    pub(super) end: EventPlace,
    /// The events before the message, which a success sets aside.
    pub(super) passed: Vec<EventPlace>,
}

/// What the log has for a webhook.
#[derive(Debug)]
pub(super) enum Found {
    /// The next message.
    Ordered(OrderedWork),
    /// Nothing is wanted up to this place, which is the end of the log.
    Nothing(EventPlace),
    /// The event that was to be tried is not there yet.
    NoEventAhead,
    /// Events were dropped before they were delivered: those of this time, up to this place.
    Lost(EventPlace, (DateTime<Utc>, DateTime<Utc>)),
}

impl Work {
    pub(super) fn message(&self) -> &WebhookMessage {
        match self {
            Self::Ordered(OrderedWork { message, .. }) | Self::Gap(message) | Self::Late(message, _) => {
                message
            }
        }
    }
}

impl WebhookServices {
    /// The next events of the log; `batch_max`: how many of them a message has that is not cut.
    pub(super) async fn find_ordered(
        &self,
        app: &Arc<App>,
        target: &WebhookTarget,
        held: &LeasedWebhook,
        batch_max: usize,
    ) -> Result<Found, store::Error> {
        let settings = &target.settings;
        let filter =
            EventFilter { types: settings.types.chosen, devices: settings.devices, ..EventFilter::default() };
        let limit = match held.progress.focus {
            MessageFocus::Batch => batch_max,
            MessageFocus::First => 1,
            MessageFocus::Ahead(place) => usize::try_from(place).unwrap_or(usize::MAX).saturating_add(1),
        };
        let mut after = held.cursor;
        let mut passed: Vec<EventPlace> = Vec::new();
        loop {
            let page = match self.page(app, after, &filter, limit - passed.len()).await? {
                Ok(page) => page,
                Err(first_day) => return Ok(lost(held.cursor, first_day)),
            };
            match held.progress.focus {
                MessageFocus::Batch | MessageFocus::First => {
                    if let Some(work) = self.batch(app, held, &page, limit) {
                        return Ok(Found::Ordered(work));
                    }
                }
                MessageFocus::Ahead(_) => {
                    let mut places = page.events.iter().map(|event| event.place);
                    let wanted = limit - 1 - passed.len();
                    passed.extend(places.by_ref().take(wanted));
                    if let Some(event) = page.events.get(wanted).filter(|_| passed.len() + 1 == limit) {
                        let key = (held.id, held.replays);
                        let one = std::slice::from_ref(event);
                        let message = WebhookMessage::of_events(&self.installation, key, &app.name, one);
                        let work = message.map(|message| OrderedWork { end: message.last, message, passed });
                        return Ok(work.map_or(Found::NoEventAhead, Found::Ordered));
                    }
                }
            }
            if page.is_last {
                return Ok(match held.progress.focus {
                    MessageFocus::Ahead(_) => Found::NoEventAhead,
                    MessageFocus::Batch | MessageFocus::First => Found::Nothing(page.next),
                });
            }
            after = page.next;
        }
    }

    /// The first events of a page, up to the bound of the message under way if there is one.
    fn batch(&self, app: &App, held: &LeasedWebhook, page: &EventPage, limit: usize) -> Option<OrderedWork> {
        let bound = held.message.filter(|_| limit > 1 || held.progress.focus == MessageFocus::Batch);
        let within =
            page.events.iter().take_while(|event| bound.is_none_or(|bound| event.place <= bound)).count();
        // If the events under way are gone, others take their place.
        let candidates = if within > 0 { &page.events[..within] } else { &page.events[..] };
        let events = &candidates[..events_that_fit(candidates)];
        let message =
            WebhookMessage::of_events(&self.installation, (held.id, held.replays), &app.name, events)?;
        let end = if events.len() == page.events.len() { page.next } else { message.last };
        Some(OrderedWork { message, end, passed: Vec::new() })
    }

    /// A set-aside event that is due, if there is one. Those that the log does not have any more are dropped.
    pub(super) async fn find_late(
        &self,
        app: &Arc<App>,
        target: &WebhookTarget,
        held: &LeasedWebhook,
    ) -> Result<Option<(WebhookMessage, SetAsideRow)>, store::Error> {
        loop {
            let due = webhooks::due_set_aside(&mut self.session().await?, held.id).await?;
            let Some(row) = due else { return Ok(None) };
            let filter = EventFilter { devices: target.settings.devices, ..EventFilter::default() };
            let page = self.page(app, row.place.before(), &filter, 1).await?;
            let event =
                page.ok().and_then(|page| page.events.into_iter().find(|event| event.place == row.place));
            match event {
                Some(event) => {
                    let key = (held.id, held.replays);
                    let message = WebhookMessage::of_late_event(&self.installation, key, &app.name, &event);
                    return Ok(Some((message, row)));
                }
                None => webhooks::remove_set_aside(&mut self.session().await?, held.id, row.place).await?,
            }
        }
    }

    /// A page of the log. The inner error: the place is on a day that is not kept; the first day that is.
    async fn page(
        &self,
        app: &Arc<App>,
        after: EventPlace,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Result<EventPage, chrono::NaiveDate>, store::Error> {
        // Only the day of this place matters: the reader checks that older ones are kept.
        let today = self.node_lease.clock().now().date_naive();
        let today = EventPlace::new(LogPosition { position: 0, day: today }, 0);
        match self.reader.newest_page(app, after, today, filter, limit).await {
            Ok(page) => Ok(Ok(page)),
            Err(ReadError::Expired { first_day }) => Ok(Err(first_day)),
            Err(ReadError::Store(error)) => Err(error),
        }
    }
}

fn lost(cursor: EventPlace, first_day: chrono::NaiveDate) -> Found {
    let start = |day: chrono::NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let place = EventPlace::new(LogPosition { position: cursor.position, day: first_day }, cursor.index);
    Found::Lost(place, (start(cursor.day()), start(first_day)))
}
