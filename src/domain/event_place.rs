//! Where an event stands in the log, and the public id that is made of it.
//!
//! An id encrypts the place with the installation's key and is authenticated together with the app. So it needs no column, can
//! be neither guessed nor counted, is invalid for another app, and is a cursor into the log.

use chrono::{Days, NaiveDate};

use super::{AppId, BadId, InstallationKey, LogPosition};

/// The start of an event's public id.
const PREFIX: &str = "evt_";
/// Bytes of a place: position, index, day.
const PLACE_BYTES: usize = 8 + 4 + 2;
/// What tells the ids of events from other tokens.
const ID_PURPOSE: &[u8] = b"event";
/// What tells cursors from ids: a cursor may stand where no event is.
const CURSOR_PURPOSE: &[u8] = b"event cursor";

/// A place in the log of an app: an event, or the gap behind it. Places are ordered as the log is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventPlace {
    /// The position of the log's row.
    pub position: i64,
    /// The number of the event within its row, from 0; the largest number is behind all of them.
    pub index: u32,
    /// The day of the row, in days since 1970-01-01. It says which partitions may hold what follows.
    day: u16,
}

impl EventPlace {
    /// Before all events.
    pub const START: Self = Self { position: 0, index: 0, day: 0 };

    /// The event with this number in the row at this position.
    pub fn new(row: LogPosition, index: u32) -> Self {
        let days = (row.day - NaiveDate::default()).num_days();
        Self { position: row.position, index, day: u16::try_from(days).unwrap_or_default() }
    }

    /// Behind all events of the row at this position.
    pub fn behind(row: LogPosition) -> Self {
        Self::new(row, u32::MAX)
    }

    /// The day (UTC) on which the place's row was logged. It says which partitions hold what follows.
    pub fn day(&self) -> NaiveDate {
        NaiveDate::default().checked_add_days(Days::new(u64::from(self.day))).unwrap_or_default()
    }

    /// The position after which the row of this place, and what follows it, is read.
    pub fn before_row(&self) -> LogPosition {
        let is_row_over = self.index == u32::MAX;
        LogPosition { position: if is_row_over { self.position } else { self.position - 1 }, day: self.day() }
    }

    /// The place right before this one, so that what follows it begins with this one.
    pub fn before(&self) -> Self {
        match self.index.checked_sub(1) {
            Some(index) => Self { index, ..*self },
            None => Self { position: self.position - 1, index: u32::MAX, ..*self },
        }
    }

    fn to_bytes(self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..8].copy_from_slice(&self.position.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.index.to_be_bytes());
        bytes[12..].copy_from_slice(&self.day.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (position, rest) = bytes.split_first_chunk()?;
        let (index, day) = rest.split_first_chunk()?;
        let (position, day) = (i64::from_be_bytes(*position), u16::from_be_bytes(day.try_into().ok()?));
        (position >= 0).then_some(Self { position, index: u32::from_be_bytes(*index), day })
    }
}

impl InstallationKey {
    /// The public id of an event, `evt_` and 44 hexadecimal digits.
    pub fn event_id(&self, app: AppId, place: EventPlace) -> String {
        format!("{PREFIX}{}", self.encode_cursor_token(&purpose(ID_PURPOSE, app), &place.to_bytes()))
    }

    /// The place of an event of this app.
    ///
    /// # Errors
    /// The id was not made here, or belongs to another app.
    pub fn parse_event_id(&self, app: AppId, public: &str) -> Result<EventPlace, BadId> {
        self.place(ID_PURPOSE, app, public.strip_prefix(PREFIX).ok_or(BadId)?)
    }

    /// The cursor of a place, which need not be that of an event.
    pub fn event_cursor(&self, app: AppId, place: EventPlace) -> String {
        self.encode_cursor_token(&purpose(CURSOR_PURPOSE, app), &place.to_bytes())
    }

    /// The place of a cursor of this app.
    ///
    /// # Errors
    /// The cursor was not made here, or belongs to another app.
    pub fn parse_event_cursor(&self, app: AppId, cursor: &str) -> Result<EventPlace, BadId> {
        self.place(CURSOR_PURPOSE, app, cursor)
    }

    fn place(&self, what: &[u8], app: AppId, token: &str) -> Result<EventPlace, BadId> {
        let bytes = self.decode_cursor_token(&purpose(what, app), token).ok_or(BadId)?;
        EventPlace::from_bytes(&bytes).ok_or(BadId)
    }
}

fn purpose(what: &[u8], app: AppId) -> Vec<u8> {
    [what, b" ", &app.0.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> InstallationKey {
        InstallationKey::new([7; 32])
    }

    fn row(position: i64) -> LogPosition {
        LogPosition { position, day: NaiveDate::from_ymd_opt(2026, 11, 18).expect("a day") }
    }

    fn place(position: i64, index: u32) -> EventPlace {
        EventPlace::new(row(position), index)
    }

    #[test]
    fn an_id_is_stable_and_valid_for_its_own_app_and_installation_only() {
        let id = key().event_id(AppId(1), place(42, 3));
        assert_eq!(id, key().event_id(AppId(1), place(42, 3)));
        assert_eq!(key().parse_event_id(AppId(1), &id), Ok(place(42, 3)));
        assert_eq!(key().parse_event_id(AppId(2), &id), Err(BadId));
        assert_eq!(InstallationKey::new([8; 32]).parse_event_id(AppId(1), &id), Err(BadId));
        // Receivers remember ids, so they must survive upgrades.
        assert_eq!(id, "evt_69418c47bbecec5cf923d0bc8794da1be660e7f77019");
        assert!(id.len() <= 64 && id[4..].bytes().all(|b| b.is_ascii_alphanumeric()));
    }

    #[test]
    fn ids_of_neighbours_have_nothing_in_common_and_differ_between_apps() {
        let ids = [(1, 1, 0), (1, 1, 1), (1, 2, 0), (2, 1, 0)];
        let ids = ids.map(|(app, position, index)| key().event_id(AppId(app), place(position, index)));
        for (at, id) in ids.iter().enumerate() {
            for other in &ids[at + 1..] {
                assert_ne!(id[4..20], other[4..20]);
                assert_ne!(id[20..], other[20..]);
            }
        }
    }

    #[test]
    fn an_id_is_no_cursor_and_a_changed_one_is_refused() {
        let (id, cursor) = (key().event_id(AppId(1), place(1, 0)), key().event_cursor(AppId(1), place(1, 0)));
        assert_eq!(key().parse_event_cursor(AppId(1), &cursor), Ok(place(1, 0)));
        assert_eq!(key().parse_event_cursor(AppId(1), &id[4..]), Err(BadId));
        assert_eq!(key().parse_event_id(AppId(1), &format!("evt_{cursor}")), Err(BadId));
        let upper = id.to_uppercase();
        for wrong in [
            "",
            "evt_",
            "evt_é",
            &id[..id.len() - 1],
            &format!("{id}00"),
            &upper,
            &id.replace("evt_", "dev_"),
        ] {
            assert_eq!(key().parse_event_id(AppId(1), wrong), Err(BadId), "{wrong}");
        }
        for at in 4..id.len() {
            let mut changed = id.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(key().parse_event_id(AppId(1), &changed), Err(BadId), "{changed}");
        }
    }

    #[test]
    fn places_are_ordered_as_the_log_is_and_know_their_day() {
        assert!(EventPlace::START < place(1, 0) && place(1, 0) < place(1, 1));
        assert!(place(1, 7) < EventPlace::behind(row(1)) && EventPlace::behind(row(1)) < place(2, 0));
        assert_eq!(place(1, 0).before_row(), row(0));
        assert_eq!(EventPlace::behind(row(1)).before_row(), row(1));
        assert_eq!(EventPlace::START.day(), NaiveDate::default());
    }
}
