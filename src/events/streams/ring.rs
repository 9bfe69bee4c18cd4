//! The newest pages of an app's log, which all streams at its head share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::domain::{AppId, EventPlace};
use crate::events::{DeviceDetail, EventFilter, EventPage};

/// Pages of a ring at most. A page has about 200 KB. A stream that is further behind reads for itself.
const PAGES_MAX: usize = 32;

/// What is read together: an app's events, with the same devices.
pub(super) type RingKey = (AppId, DeviceDetail);

/// The newest pages of an app's log. They follow each other without a gap.
#[derive(Debug)]
pub(super) struct Ring {
    /// What is read.
    pub(super) key: RingKey,
    pages: Mutex<Pages>,
    changed: watch::Sender<()>,
    /// Cancelled when no stream uses the ring any more.
    pub(super) unused: CancellationToken,
}

#[derive(Debug)]
struct Pages {
    /// Where the first page begins.
    from: EventPlace,
    /// Where the last page ends.
    to: EventPlace,
    pages: VecDeque<Arc<EventPage>>,
}

/// What a ring has for a stream at some place.
#[derive(Debug)]
pub(super) enum Lookup {
    /// The page with what follows the place. It may begin before it.
    Page(Arc<EventPage>),
    /// Nothing follows yet.
    AtHead,
    /// What follows has left the ring.
    Behind,
}

impl Ring {
    /// Without pages; the first one will begin at `head`.
    pub(super) fn new(key: RingKey, head: EventPlace) -> Self {
        let pages = Mutex::new(Pages { from: head, to: head, pages: VecDeque::new() });
        Self { key, pages, changed: watch::Sender::new(()), unused: CancellationToken::new() }
    }

    /// What its pages are read with: each stream filters further.
    pub(super) fn filter(&self) -> EventFilter {
        EventFilter { devices: self.key.1, ..EventFilter::default() }
    }

    /// Where the next page begins.
    pub(super) fn end(&self) -> EventPlace {
        self.pages().to
    }

    /// Adds the page that follows the last one, and tells the streams.
    pub(super) fn push(&self, page: EventPage) {
        let mut pages = self.pages();
        if page.next <= pages.to {
            return;
        }
        pages.to = page.next;
        // What is empty follows a page without a place of its own.
        match pages.pages.back_mut().filter(|_| page.events.is_empty()) {
            Some(last) => {
                let events = last.events.clone();
                *last = Arc::new(EventPage { events, ..page });
            }
            None => pages.pages.push_back(Arc::new(page)),
        }
        while pages.pages.len() > PAGES_MAX {
            if let Some(first) = pages.pages.pop_front() {
                pages.from = first.next;
            }
        }
        drop(pages);
        self.changed.send_replace(());
    }

    /// Goes on at a place without what lies between. Streams that are further behind read for themselves.
    pub(super) fn skip_to(&self, place: EventPlace) {
        let mut pages = self.pages();
        (pages.from, pages.to) = (place, place);
        pages.pages.clear();
    }

    /// What follows a place.
    pub(super) fn look_up(&self, place: EventPlace) -> Lookup {
        let pages = self.pages();
        if place >= pages.to {
            return Lookup::AtHead;
        }
        if place < pages.from {
            return Lookup::Behind;
        }
        let page = pages.pages.iter().find(|page| page.next > place);
        page.map_or(Lookup::AtHead, |page| Lookup::Page(Arc::clone(page)))
    }

    /// Tells when pages are added.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::domain::{EventType, LogPosition};
    use crate::events::WrittenEvent;

    fn place(position: i64) -> EventPlace {
        EventPlace::behind(LogPosition { position, day: NaiveDate::default() })
    }

    /// A page up to a position with an event at each of these.
    fn page(next: i64, events: &[i64]) -> EventPage {
        let event = |position: &i64| WrittenEvent {
            place: EventPlace::new(LogPosition { position: *position, day: NaiveDate::default() }, 0),
            id: String::new().into(),
            kind: EventType::NodeStarted,
            notification: None,
            json: position.to_string().into(),
        };
        EventPage { events: events.iter().map(event).collect(), next: place(next), is_last: true }
    }

    fn ring(head: i64) -> Ring {
        Ring::new((AppId(1), DeviceDetail::All), place(head))
    }

    /// The positions of all events behind a place, and how the reading ended.
    fn read(ring: &Ring, mut from: EventPlace) -> (Vec<i64>, &'static str) {
        let mut seen = Vec::new();
        loop {
            match ring.look_up(from) {
                Lookup::AtHead => return (seen, "head"),
                Lookup::Behind => return (seen, "behind"),
                Lookup::Page(page) => {
                    let new = page.events.iter().map(|event| event.place).filter(|place| *place > from);
                    seen.extend(new.map(|place| place.position));
                    assert!(page.next > from, "a page leads on");
                    from = page.next;
                }
            }
        }
    }

    #[test]
    fn every_stream_gets_what_follows_its_place_once() {
        let ring = ring(10);
        assert_eq!(read(&ring, place(10)), (vec![], "head"));
        ring.push(page(12, &[11, 12]));
        ring.push(page(15, &[]));
        ring.push(page(20, &[17, 20]));
        ring.push(page(21, &[]));
        assert_eq!(read(&ring, place(10)), (vec![11, 12, 17, 20], "head"));
        assert_eq!(read(&ring, place(11)), (vec![12, 17, 20], "head"));
        assert_eq!(read(&ring, place(13)), (vec![17, 20], "head"));
        assert_eq!(read(&ring, place(21)), (vec![], "head"));
        assert_eq!(read(&ring, place(30)), (vec![], "head"), "the stream read further than the ring");
        assert_eq!(read(&ring, place(9)), (vec![], "behind"));
    }

    #[test]
    fn a_ring_keeps_its_newest_pages_and_empty_ones_take_no_place() {
        let ring = ring(0);
        for position in 1..=100 {
            ring.push(page(2 * position, &[2 * position]));
            ring.push(page(2 * position + 1, &[]));
        }
        let (seen, end) = read(&ring, place(200 - 2 * 32 + 1));
        assert_eq!((seen.len(), end), (32, "head"));
        assert_eq!(read(&ring, place(200 - 2 * 32)), (vec![], "behind"));
    }

    #[test]
    fn a_page_that_was_read_twice_is_added_once() {
        let ring = ring(0);
        ring.push(page(2, &[1, 2]));
        ring.push(page(2, &[1, 2]));
        assert_eq!(read(&ring, place(0)), (vec![1, 2], "head"));
    }
}
