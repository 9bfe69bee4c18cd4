//! From entries of the log to the events that they may hold. Pure functions.

use chrono::{DateTime, Utc};

use super::filter::EventFilter;
use crate::domain::{DeviceId, EventPlace, EventType, FactKind, NotificationId};
use crate::store::deliveries::ReceiptKey;
use crate::store::events::LogEntry;

/// What an event will be made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    pub(super) place: EventPlace,
    pub(super) at: DateTime<Utc>,
    pub(super) source: Source,
}

/// Where the data of an event is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// In a receipt.
    Receipt(ReceiptKey),
    /// In a notification that has ended.
    Ended(NotificationId),
    /// In the entry itself, and perhaps in rows that it names.
    Fact { kind: EventType, devices: Vec<DeviceId>, json: Vec<u8> },
}

impl Candidate {
    /// The receipt that the event is made of, if it is made of one.
    pub(super) fn receipt(&self) -> Option<ReceiptKey> {
        match self.source {
            Source::Receipt(key) => Some(key),
            Source::Ended(_) | Source::Fact { .. } => None,
        }
    }
}

/// What entries hold behind a place: at most `limit` candidates, and the place up to which nothing else matters.
pub(super) struct Candidates {
    pub(super) items: Vec<Candidate>,
    /// The last entry that was looked at, or the last candidate if there were more than `limit`.
    pub(super) reached: Option<EventPlace>,
    /// There were more than `limit`.
    pub(super) is_cut: bool,
}

/// Finds the candidates that the filter may let pass, in the order of the log.
pub(super) fn candidates(
    entries: Vec<LogEntry>,
    after: EventPlace,
    filter: &EventFilter,
    limit: usize,
) -> Candidates {
    let mut found = Candidates { items: Vec::new(), reached: None, is_cut: false };
    for entry in entries {
        let end = EventPlace::behind(entry.at);
        for candidate in of_entry(entry, filter) {
            if candidate.place <= after {
                continue;
            }
            if found.items.len() >= limit {
                found.reached = found.items.last().map(|last| last.place).or(found.reached);
                found.is_cut = true;
                return found;
            }
            found.items.push(candidate);
        }
        found.reached = Some(end);
    }
    found
}

fn of_entry(entry: LogEntry, filter: &EventFilter) -> Vec<Candidate> {
    let LogEntry { at: row, kind, happened_at: at, notifications, receipts, devices, fact } = entry;
    let numbered = |source: Vec<(usize, Source)>| {
        let candidate = |(number, source)| {
            let index = u32::try_from(number).unwrap_or(u32::MAX - 1);
            Candidate { place: EventPlace::new(row, index), at, source }
        };
        source.into_iter().map(candidate).collect()
    };
    match kind {
        FactKind::Recorded if filter.types.has(EventType::DeliveryRecorded) => {
            let keys = notifications.into_iter().zip(receipts).enumerate();
            let wanted = keys.filter(|(_, (id, _))| filter.admits(*id));
            numbered(wanted.map(|(number, key)| (number, Source::Receipt(key))).collect())
        }
        FactKind::Ended if filter.may_tell_ends() => {
            let wanted = notifications.into_iter().enumerate().filter(|(_, id)| filter.admits(*id));
            numbered(wanted.map(|(number, id)| (number, Source::Ended(id))).collect())
        }
        FactKind::Recorded | FactKind::Ended => Vec::new(),
        _ => match EventType::parse(kind.as_str()) {
            Some(kind) if filter.types.has(kind) && filter.notifications.is_empty() => {
                let json = fact.unwrap_or_else(|| b"{}".to_vec());
                numbered(vec![(0, Source::Fact { kind, devices, json })])
            }
            _ => Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{EventTypes, LogPosition};
    use crate::store::events::ReceiptId;

    fn at(position: i64) -> LogPosition {
        LogPosition { position, day: NaiveDate::from_ymd_opt(2026, 11, 28).expect("a day") }
    }

    fn id(number: u128) -> NotificationId {
        NotificationId(Uuid::from_u128(number))
    }

    fn entry(position: i64, kind: FactKind, notifications: &[u128], receipts: &[i64]) -> LogEntry {
        LogEntry {
            at: at(position),
            kind,
            happened_at: DateTime::UNIX_EPOCH,
            notifications: notifications.iter().map(|number| id(*number)).collect(),
            receipts: receipts.iter().map(|number| ReceiptId(*number)).collect(),
            devices: Vec::new(),
            fact: None,
        }
    }

    /// Two receipts, of which a third notification ended without one; the ends; a change of a lane.
    fn entries() -> Vec<LogEntry> {
        vec![
            entry(1, FactKind::Recorded, &[1, 2, 3], &[10, 11]),
            entry(2, FactKind::Ended, &[1, 3], &[]),
            entry(3, FactKind::LaneChanged, &[], &[]),
        ]
    }

    fn places(found: &Candidates) -> Vec<(i64, u32)> {
        found.items.iter().map(|candidate| (candidate.place.position, candidate.place.index)).collect()
    }

    #[test]
    fn an_entry_holds_an_event_per_receipt_and_per_end() {
        let found = candidates(entries(), EventPlace::START, &EventFilter::default(), 10);
        assert_eq!(places(&found), [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]);
        assert_eq!(found.reached, Some(EventPlace::behind(at(3))));
        assert!(!found.is_cut);
    }

    #[test]
    fn pages_of_any_size_give_the_same_events_once() {
        for limit in 1..6 {
            let (mut after, mut all) = (EventPlace::START, Vec::new());
            loop {
                let left =
                    entries().into_iter().filter(|entry| entry.at.position > after.before_row().position);
                let found = candidates(left.collect(), after, &EventFilter::default(), limit);
                all.extend(places(&found));
                after = found.reached.expect("something was read");
                if !found.is_cut {
                    break;
                }
            }
            assert_eq!(all, [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)], "{limit}");
        }
    }

    #[test]
    fn what_a_filter_leaves_out_is_passed_and_places_stay_the_same() {
        let of_second = EventFilter { notifications: vec![id(2)], ..EventFilter::default() };
        let found = candidates(entries(), EventPlace::START, &of_second, 10);
        assert_eq!(places(&found), [(1, 1)]);
        assert_eq!(found.reached, Some(EventPlace::behind(at(3))));
        let nothing = EventFilter { types: EventTypes::NONE, ..EventFilter::default() };
        let found = candidates(entries(), EventPlace::START, &nothing, 10);
        assert_eq!((places(&found), found.reached), (vec![], Some(EventPlace::behind(at(3)))));
        let lanes =
            EventFilter { types: EventTypes::NONE.with(EventType::LaneChanged), ..EventFilter::default() };
        assert_eq!(places(&candidates(entries(), EventPlace::START, &lanes, 10)), [(3, 0)]);
    }
}
