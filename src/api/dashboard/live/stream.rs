//! The stream of one view: figures and events of the log, as they come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::{LiveFigures, View};
use crate::api::State;
use crate::api::auth::{Caller, ReadEvents};
use crate::api::error::ApiError;
use crate::api::events::{Pieces, StreamForm, last_place};
use crate::api::query::Parameters;
use crate::api::serve::ConnectionCut;
use crate::domain::{EventTypes, Scope};
use crate::events::streams::{EventStream, StreamPulse, StreamStart};
use crate::events::{DeviceDetail, EventFilter};
use crate::telemetry::metrics::StreamKind;

/// What a view gets next. None: it has got all.
type Piece = Option<Result<Bytes, io::Error>>;

/// Serves a view until the client goes away, its key is revoked, or the node shuts down.
pub(in crate::api::dashboard) async fn live(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadEvents>,
    mut parameters: Parameters,
    headers: HeaderMap,
    cut: ConnectionCut,
) -> Result<Response, ApiError> {
    let (app, key) = (caller.app.id, &state.installation);
    // A new `EventSource` can't send the header.
    let named = parameters.text("after").and_then(|id| key.parse_event_id(app, &id).ok());
    parameters.finish()?;
    let is_admin = caller.scopes.has(Scope::Admin);
    let log = &state.live.0.log;
    let slot = log.streams.admit(caller.key, StreamKind::Sse, cut.token())?;
    let head = log.reader.head().await?;
    // A place that is not kept any more is no reason to end: `EventSource` would not connect again.
    let last = last_place(&headers, app, key).or(named);
    let after = match last {
        Some(place) if log.reader.check_kept(place).await.is_ok() => place,
        _ => head,
    };
    let filter = EventFilter {
        types: EventTypes::seen_by(is_admin),
        notifications: Vec::new(),
        // Pages show counts, and a broadcast has many devices.
        devices: DeviceDetail::None,
    };
    let view = state.live.view(caller.app.id);
    let events = log.streams.open(slot, caller.app, StreamStart { filter, after, head, follows: true });
    Ok(answer(events, view, is_admin))
}

fn answer(events: EventStream, view: View, is_admin: bool) -> Response {
    let pulse = events.pulse();
    let pieces = stream::select(of_log(events), of_figures(view, is_admin));
    let pieces: Pin<Box<dyn Stream<Item = Piece> + Send>> = Box::pin(pieces);
    let body = stream::unfold((pieces, pulse), next);
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store, no-transform")];
    (headers, [("x-accel-buffering", "no")], Body::from_stream(body)).into_response()
}

type LivePieces = (Pin<Box<dyn Stream<Item = Piece> + Send>>, StreamPulse);

/// The pieces end where the events of the log do.
async fn next((mut pieces, pulse): LivePieces) -> Option<(Result<Bytes, io::Error>, LivePieces)> {
    pulse.note_asked();
    let piece = pieces.next().await??;
    pulse.note_handed();
    Some((piece, (pieces, pulse)))
}

/// Events of the log, signs of life, and the end.
fn of_log(events: EventStream) -> impl Stream<Item = Piece> + Send {
    let pieces = Pieces::new(events, StreamForm::Sse);
    stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.next().await;
        Some((piece, pieces))
    })
}

/// Snapshots as they are read, and the minutes when there are new ones.
fn of_figures(view: View, is_admin: bool) -> impl Stream<Item = Piece> + Send {
    stream::unfold((view, None), move |(mut view, mut shown)| async move {
        loop {
            // The sender lives as long as the view.
            view.figures.changed().await.ok()?;
            let Some(figures) = view.figures.borrow_and_update().clone() else { continue };
            let text = written(&figures, shown, is_admin);
            shown = Some(figures.minutes_number);
            return Some((Some(Ok(text)), (view, shown)));
        }
    })
}

fn written(figures: &Arc<LiveFigures>, shown: Option<u64>, is_admin: bool) -> Bytes {
    let snapshot = if is_admin { &figures.for_admins } else { &figures.for_readers };
    if shown == Some(figures.minutes_number) {
        return snapshot.clone();
    }
    [snapshot.as_ref(), &figures.minutes].concat().into()
}
