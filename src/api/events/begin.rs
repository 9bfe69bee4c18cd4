//! What a request for events asks for: which events, from where on, and in which form.

use chrono::{DateTime, Utc};
use http::HeaderMap;

use crate::api::accept::accepts;
use crate::api::query::Parameters;
use crate::domain::{
    AppId, ErrorLocation, EventPlace, EventType, EventTypes, InputCode, InstallationKey, NotificationId,
    ValidationError, nearest,
};
use crate::events::{DeviceDetail, EventFilter};

/// The header with the last event that a client of server-sent events has seen.
const LAST_EVENT_ID: &str = "Last-Event-ID";
/// The media type of lines.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// The media type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";
/// The parameters that say where to begin, of which a request has one at most.
const BEGINNINGS: [&str; 3] = ["cursor", "after", "since"];

/// The form of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// One page of events.
    Json,
    /// A line per event.
    Ndjson,
    /// Server-sent events, for `EventSource`.
    Sse,
}

/// Where the answer begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begin {
    /// With the oldest event that is kept; server-sent events with what follows.
    Default,
    /// Behind a place.
    Behind(EventPlace),
    /// With what was logged at this time or later.
    Since(DateTime<Utc>),
}

/// A request for events.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) form: Form,
    pub(super) begin: Begin,
    pub(super) filter: EventFilter,
    /// Do lines go on at the end of the log?
    pub(super) follows: bool,
    /// The most events of a page.
    pub(super) limit: usize,
    /// Types that were named and that the key does not see.
    pub(super) unseen: Vec<EventType>,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        if accepts(headers, EVENT_STREAM) {
            Self::Sse
        } else if accepts(headers, NDJSON) {
            Self::Ndjson
        } else {
            Self::Json
        }
    }
}

impl Asked {
    /// Reads a request of a key that sees events of the types `seen`. Faults are left in `parameters`.
    pub(super) fn read(
        parameters: &mut Parameters,
        headers: &HeaderMap,
        seen: EventTypes,
        app: AppId,
        key: &InstallationKey,
    ) -> Self {
        let form = Form::of(headers);
        let named = types(parameters);
        let unseen = named.map(|types| types.without(seen).each()).unwrap_or_default();
        let filter = EventFilter {
            types: named.unwrap_or(EventTypes::ALL).and(seen),
            notifications: notifications(parameters),
            devices: devices(parameters),
        };
        let follows = parameters.flag("follow");
        let limit = parameters.limit();
        let begin = begin(parameters, app, key);
        let last = if form == Form::Sse { last_event(parameters, headers, app, key) } else { None };
        // A browser that connects again repeats the URL and adds the header.
        Self { form, begin: last.map_or(begin, Begin::Behind), filter, follows, limit, unseen }
    }
}

/// None: no type is named, so all are meant.
fn types(parameters: &mut Parameters) -> Option<EventTypes> {
    let named = parameters.texts("type");
    if named.is_empty() {
        return None;
    }
    let mut types = EventTypes::NONE;
    for text in named {
        match EventTypes::parse(&text) {
            Some(some) => types = types.or(some),
            None => {
                let patterns = EventTypes::patterns();
                let meant = nearest(&text, patterns.iter().map(String::as_str)).map(str::to_owned);
                let detail = "this is no type of event, and no pattern such as `delivery.*`";
                let fault = parameters.fault("type", InputCode::OutOfRange, detail);
                if let Some(meant) = meant {
                    fault.facts.insert("suggestion".to_owned(), meant.into());
                }
                fault.facts.insert("supported".to_owned(), patterns.into());
            }
        }
    }
    Some(types)
}

fn notifications(parameters: &mut Parameters) -> Vec<NotificationId> {
    let parse = |text: &str| NotificationId::parse(text).ok();
    parameters.parsed("notification", parse, InputCode::OutOfRange, "this is no id of a notification")
}

fn devices(parameters: &mut Parameters) -> DeviceDetail {
    let mut chosen = parameters.choices("devices", DeviceDetail::ALL, DeviceDetail::as_str);
    if chosen.len() > 1 {
        parameters.fault("devices", InputCode::OutOfRange, "this parameter may be given only once");
    }
    chosen.pop().unwrap_or_default()
}

fn begin(parameters: &mut Parameters, app: AppId, key: &InstallationKey) -> Begin {
    let [cursor, after, since] = BEGINNINGS.map(|name| parameters.text(name));
    let given = [cursor.is_some(), after.is_some(), since.is_some()];
    let named = BEGINNINGS.into_iter().zip(given).filter(|(_, is_given)| *is_given);
    for (name, _) in named.skip(1) {
        let detail = "only one of cursor, after and since may be given";
        parameters.fault(name, InputCode::OutOfRange, detail);
    }
    if let Some(text) = cursor {
        match key.parse_event_cursor(app, &text) {
            Ok(place) => return Begin::Behind(place),
            Err(_) => drop(parameters.fault(
                "cursor",
                InputCode::InvalidCursor,
                "this is no `next_cursor` of this app",
            )),
        }
    }
    if let Some(text) = after {
        match key.parse_event_id(app, &text) {
            Ok(place) => return Begin::Behind(place),
            Err(_) => drop(parameters.fault("after", InputCode::InvalidCursor, NO_EVENT)),
        }
    }
    if let Some(text) = since {
        match DateTime::parse_from_rfc3339(&text) {
            Ok(time) => return Begin::Since(time.to_utc()),
            Err(_) => {
                let detail = "this must be a time (RFC 3339) with Z or an offset";
                parameters.fault("since", InputCode::OutOfRange, detail);
            }
        }
    }
    Begin::Default
}

const NO_EVENT: &str = "this is no id of an event of this app";

fn last_event(
    parameters: &mut Parameters,
    headers: &HeaderMap,
    app: AppId,
    key: &InstallationKey,
) -> Option<EventPlace> {
    headers.get(LAST_EVENT_ID).filter(|header| !header.is_empty())?;
    let place = last_place(headers, app, key);
    if place.is_none() {
        let fault = ValidationError::at("", InputCode::InvalidCursor, NO_EVENT);
        parameters.add(ValidationError { place: ErrorLocation::Header(LAST_EVENT_ID), ..fault });
    }
    place
}

/// The place of the last event that a client of server-sent events has seen. None: it names no event of the app.
pub(in crate::api) fn last_place(
    headers: &HeaderMap,
    app: AppId,
    key: &InstallationKey,
) -> Option<EventPlace> {
    let header = headers.get(LAST_EVENT_ID)?;
    header.to_str().ok().and_then(|text| key.parse_event_id(app, text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::tests::query_parameters;
    use crate::domain::{EventType, LogPosition};

    const APP: AppId = AppId(1);

    fn key() -> InstallationKey {
        InstallationKey::new([7; 32])
    }

    fn place(position: i64) -> EventPlace {
        EventPlace::new(LogPosition { position, day: chrono::NaiveDate::default() }, 0)
    }

    fn read(
        pairs: &[(&str, &str)],
        headers: &[(&'static str, &str)],
    ) -> (Asked, Vec<(ErrorLocation, &'static str)>) {
        read_as(EventTypes::ALL, pairs, headers)
    }

    fn read_as(
        seen: EventTypes,
        pairs: &[(&str, &str)],
        headers: &[(&'static str, &str)],
    ) -> (Asked, Vec<(ErrorLocation, &'static str)>) {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut parameters = Parameters::new(pairs.collect());
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        let asked = Asked::read(&mut parameters, &headers.collect(), seen, APP, &key());
        let faults = parameters.into_faults().into_iter().map(|fault| (fault.place, fault.code.as_str()));
        (asked, faults.collect())
    }

    #[test]
    fn the_documented_parameters_are_those_that_are_read() {
        let mut parameters = Parameters::new(Vec::new());
        Asked::read(&mut parameters, &HeaderMap::new(), EventTypes::ALL, APP, &key());
        assert_eq!(query_parameters("listEvents"), parameters.asked());
    }

    #[test]
    fn a_request_begins_in_one_way() {
        let (id, cursor) = (key().event_id(APP, place(7)), key().event_cursor(APP, place(8)));
        let since = "2026-11-28T09:00:00Z";
        assert_eq!(read(&[], &[]).0.begin, Begin::Default);
        assert_eq!(read(&[("after", &id)], &[]).0.begin, Begin::Behind(place(7)));
        assert_eq!(read(&[("cursor", &cursor)], &[]).0.begin, Begin::Behind(place(8)));
        assert!(matches!(read(&[("since", since)], &[]).0.begin, Begin::Since(_)));
        let parameter = |name: &str| ErrorLocation::parameter(name);
        let two = read(&[("since", since), ("cursor", &cursor)], &[]).1;
        assert_eq!(two, [(parameter("since"), "out_of_range")]);
        for (name, value, code) in [
            ("after", &*cursor, "invalid_cursor"),
            ("after", "evt_0", "invalid_cursor"),
            ("cursor", &*id, "invalid_cursor"),
            ("since", "yesterday", "out_of_range"),
            ("notification", "ntf_1", "out_of_range"),
            ("devices", "some", "out_of_range"),
            ("type", "delivery", "out_of_range"),
            ("limit", "0", "out_of_range"),
        ] {
            assert_eq!(read(&[(name, value)], &[]).1, [(parameter(name), code)], "{name}={value}");
        }
        let foreign = key().event_id(AppId(2), place(7));
        assert_eq!(read(&[("after", &foreign)], &[]).1, [(parameter("after"), "invalid_cursor")]);
    }

    #[test]
    fn a_browser_that_connects_again_goes_on_where_it_was() {
        let (first, last) = (key().event_id(APP, place(7)), key().event_id(APP, place(9)));
        let sse = ("accept", EVENT_STREAM);
        let again = read(&[("after", &first)], &[sse, ("last-event-id", &last)]);
        assert_eq!((again.0.begin, again.1), (Begin::Behind(place(9)), vec![]));
        assert_eq!(
            read(&[("after", &first)], &[sse, ("last-event-id", "")]).0.begin,
            Begin::Behind(place(7))
        );
        assert_eq!(
            read(&[], &[("last-event-id", &last)]).0.begin,
            Begin::Default,
            "a page has no such header"
        );
        let forged = read(&[], &[sse, ("last-event-id", "evt_1")]).1;
        assert_eq!(forged, [(ErrorLocation::Header(LAST_EVENT_ID), "invalid_cursor")]);
    }

    #[test]
    fn types_are_named_or_chosen_by_pattern() {
        let (asked, faults) = read(&[("type", "device.*"), ("type", "lane.changed")], &[]);
        assert!(faults.is_empty());
        assert!(
            asked.filter.types.has(EventType::DeviceRestored)
                && asked.filter.types.has(EventType::LaneChanged)
        );
        assert!(!asked.filter.types.has(EventType::NodeDied));
    }

    #[test]
    fn types_that_the_key_does_not_see_are_noted() {
        let unseen = |types: &[&str]| {
            let pairs: Vec<_> = types.iter().map(|each| ("type", *each)).collect();
            read_as(EventTypes::seen_by(false), &pairs, &[]).0.unseen
        };
        assert_eq!(unseen(&[]), []);
        assert_eq!(unseen(&["delivery.*", "notification.done"]), []);
        assert_eq!(
            unseen(&["device.*", "node.*", "lane.changed"]),
            [EventType::LaneChanged, EventType::NodeStarted, EventType::NodeDied]
        );
    }

    #[test]
    fn the_form_is_what_the_client_accepts() {
        for (accept, form) in [
            ("text/event-stream", Form::Sse),
            ("application/x-ndjson", Form::Ndjson),
            ("application/json", Form::Json),
            ("*/*", Form::Json),
        ] {
            assert_eq!(read(&[], &[("accept", accept)]).0.form, form, "{accept}");
        }
        assert_eq!(read(&[], &[]).0.form, Form::Json);
    }
}
