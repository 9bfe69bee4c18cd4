//! `GET /v1/events`: pages of events, and streams that stay open.

use axum::extract;
use axum::response::Response;
use http::HeaderMap;

use super::answer::{Event, EventList};
use super::begin::{Asked, Begin, Form};
use super::body::{self, StreamForm};
use crate::api::State;
use crate::api::auth::{Caller, ReadEvents};
use crate::api::error::{ApiError, EventListProblems};
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::api::serve::ConnectionCut;
use crate::api::time::Timestamp;
use crate::domain::{EventPlace, EventTypes, Scope};
use crate::events::streams::StreamStart;
use crate::events::{EventLog, EventPage};
use crate::telemetry::metrics::StreamKind;

/// Pages of the log that one answer goes through. A filter may leave out all of their events.
const LOG_PAGES_MAX: usize = 20;
/// A page ends early if its events have more bytes than this.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// List events
///
/// Oldest first, without an end: `next_cursor` is never null, and `has_more` says whether to ask at once. With
/// `Accept: application/x-ndjson` all events until now come as lines; with `follow=true` the stream stays open, with an empty
/// line each 15 s. With `Accept: text/event-stream` they come as server-sent events, from now on or after `Last-Event-ID`.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "listEvents", tag = "events",
    security(("key" = ["read"])),
    params(
        ("type" = Option<Vec<schema_enums::EventTypePattern>>, Query, description = "Only events of this type; `delivery.*` means all types of a thing. A type that the key does not see is refused.", example = json!(["delivery.*"])),
        ("notification" = Option<Vec<schema_enums::NotificationId>>, Query, description = "Only events about this notification."),
        ("devices" = Option<schema_enums::DeviceDetail>, Query, description = "Which devices a `delivery.recorded` lists; `all` if left out. `failed` leaves those that were accepted to `counts`."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("after" = Option<String>, Query, description = "Begin after the event with this id."),
        ("since" = Option<Timestamp>, Query, description = "Begin with what was logged at this time or later."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Events of a page; 100 if left out."),
        ("follow" = Option<bool>, Query, description = "Keep a stream of lines open at the end of the log. Server-sent events always stay open; a page ignores it."),
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that a client of server-sent events has seen. It has priority over the parameters."),
    ),
    responses(
        (status = 200, description = "A page of events, or a stream.", content(
            (EventList = "application/json"), (Event = "application/x-ndjson"), (String = "text/event-stream", example = json!("retry: 2347\n\nid: evt_69418c47bbecec5cf923d0bc8794da1be660e7f77019\nevent: node.started\ndata: {…}\n\n")),
        )),
        EventListProblems,
    )
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadEvents>,
    mut parameters: Parameters,
    headers: HeaderMap,
    cut: ConnectionCut,
) -> Result<Response, ApiError> {
    let seen = EventTypes::seen_by(caller.scopes.has(Scope::Admin));
    let asked = Asked::read(&mut parameters, &headers, seen, caller.app.id, &state.installation);
    parameters.finish()?;
    if !asked.unseen.is_empty() {
        return Err(ApiError::UnseenEventTypes(asked.unseen));
    }
    let log = state.events.as_ref().ok_or(ApiError::EventsOff)?;
    let kind = match asked.form {
        Form::Json => return page(&state, log, &caller, &asked).await,
        Form::Ndjson => StreamKind::Ndjson,
        Form::Sse => StreamKind::Sse,
    };
    let slot = log.streams.admit(caller.key, kind, cut.token())?;
    let head = log.reader.head().await?;
    let after = begin(log, &caller, &asked, head).await?;
    log.reader.check_kept(after).await?;
    let follows = asked.follows || asked.form == Form::Sse;
    let start = StreamStart { filter: asked.filter, after, head, follows };
    let stream = log.streams.open(slot, caller.app, start);
    let form = if asked.form == Form::Sse { StreamForm::Sse } else { StreamForm::Ndjson { follows } };
    Ok(body::stream(stream, form))
}

async fn begin(
    log: &EventLog,
    caller: &Caller<ReadEvents>,
    asked: &Asked,
    head: EventPlace,
) -> Result<EventPlace, ApiError> {
    Ok(match asked.begin {
        Begin::Behind(place) => place,
        Begin::Since(time) => log.reader.since(&caller.app, time).await?,
        Begin::Default if asked.form == Form::Sse => head,
        Begin::Default => EventPlace::START,
    })
}

async fn page(
    state: &State,
    log: &EventLog,
    caller: &Caller<ReadEvents>,
    asked: &Asked,
) -> Result<Response, ApiError> {
    let head = log.reader.head().await?;
    let mut next = begin(log, caller, asked, head).await?;
    let (mut items, mut has_more, mut bytes) = (Vec::new(), true, 0);
    for _ in 0..LOG_PAGES_MAX {
        let limit = asked.limit - items.len();
        let EventPage { events, next: behind, is_last } =
            log.reader.page(&caller.app, next, head, &asked.filter, limit).await?;
        bytes += events.iter().map(|event| event.json.len()).sum::<usize>();
        items.extend(events.into_iter().map(|event| event.json));
        (next, has_more) = (behind, !is_last);
        if is_last || items.len() >= asked.limit || bytes > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(EventList::answer(&items, &state.installation.event_cursor(caller.app.id, next), has_more))
}
