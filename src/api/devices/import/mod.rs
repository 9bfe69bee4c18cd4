//! `POST /v1/devices/import`: devices line by line, from a stream of any length.
//!
//! Memory holds one batch that is being written, one that is being read, and the first errors. A client that is faster than
//! the database has to wait: its next piece is not read from the connection before.

mod batch;
mod lines;
mod progress;
mod run;

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, extract};
use tokio::time::{Duration, timeout};

pub use crate::registry::register::OnFailure;
pub use batch::ImportBatch;
pub use lines::{ImportLine, LINE_MAX, LineSplitter};
pub use progress::{ImportError, ImportProgress, ImportReport};
pub use run::{BatchSource, check, run};

use batch::UnreadLines;

use super::schema::DeviceRegistration;

use crate::api::State;
use crate::api::auth::{Caller, ManageDevices};
use crate::api::body::{NdjsonBody, Pieces};
use crate::api::error::{ApiError, ImportProblems};
use crate::api::health::Health;
use crate::api::parse_pool::ParsePool;
use crate::api::query::Parameters;
use crate::api::request_id::RequestId;
use crate::api::schema_enums;
use crate::domain::{InputCode, Platforms};

/// The path of the endpoint. It is a stream, so no deadline holds for it.
pub(in crate::api) const PATH: &str = "/v1/devices/import";
/// Lines that have come are written when nothing more comes for this long.
const PAUSE: Duration = Duration::from_secs(1);

/// Import devices
///
/// A line of NDJSON is a body as `PUT /v1/devices` takes it. The stream may have any length.
#[utoipa::path(
    post, path = PATH, operation_id = "importDevices", tag = "devices",
    security(("key" = ["devices"])),
    params((
        "on_error" = inline(Option<schema_enums::OnError>), Query, description = "`skip` (the default) goes on after a failure, `stop` ends there.",
        example = "skip",
    )),
    request_body(content = DeviceRegistration, content_type = "application/x-ndjson", description = "One device per line."),
    responses((status = 200, description = "How the import went.", body = ImportReport), ImportProblems)
)]
pub(super) async fn import(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    mut parameters: Parameters,
    Extension(RequestId(id)): Extension<RequestId>,
    NdjsonBody(pieces): NdjsonBody,
) -> Result<Response, ApiError> {
    let after = on_error(&mut parameters);
    parameters.finish()?;
    let mut body = Body {
        pieces,
        lines: LineSplitter::default(),
        after,
        ended: None,
        health: Arc::clone(&state.health),
        parse_pool: state.parse_pool.clone(),
        platforms: caller.app.platforms(),
    };
    let (progress, done) = run(&state.pool, &caller.app, after, &mut body, |_| {}).await;
    let report = progress.report(Some(&id));
    match done {
        Ok(()) => Ok(Json(report).into_response()),
        Err(why) => {
            let import = serde_json::to_value(report).map_err(ApiError::internal)?;
            Err(ApiError::Unfinished { why: Box::new(why), import: Box::new(import) })
        }
    }
}

fn on_error(parameters: &mut Parameters) -> OnFailure {
    const ALL: [OnFailure; 2] = [OnFailure::Continue, OnFailure::Stop];
    let chosen = parameters.choices("on_error", &ALL, |after| match after {
        OnFailure::Continue => schema_enums::ON_ERROR[0],
        OnFailure::Stop => schema_enums::ON_ERROR[1],
    });
    if chosen.len() > 1 {
        parameters.fault("on_error", InputCode::OutOfRange, "this parameter may be given only once");
    }
    chosen.first().copied().unwrap_or(OnFailure::Continue)
}

/// A request's body as a source of batches.
struct Body {
    pieces: Pieces,
    lines: LineSplitter,
    after: OnFailure,
    /// The end of the stream, once it has come.
    ended: Option<Result<(), ApiError>>,
    health: Arc<Health>,
    parse_pool: ParsePool,
    platforms: Platforms,
}

impl BatchSource for Body {
    type Error = ApiError;

    async fn next(&mut self) -> Result<Option<ImportBatch>, ApiError> {
        let mut unread = UnreadLines::new(self.after);
        loop {
            while !unread.is_full()
                && let Some(line) = self.lines.next_line()
            {
                unread.add(line);
            }
            if unread.is_full() {
                return Ok(Some(unread.read(&self.parse_pool, &self.platforms).await));
            }
            match (self.ended.take(), unread.is_empty()) {
                (None, is_empty) => {
                    if !self.read_on(is_empty).await {
                        return Ok(Some(unread.read(&self.parse_pool, &self.platforms).await));
                    }
                }
                (ended, false) => {
                    self.ended = ended;
                    return Ok(Some(unread.read(&self.parse_pool, &self.platforms).await));
                }
                (Some(ended), true) => {
                    self.ended = Some(Ok(()));
                    return ended.map(|()| None);
                }
            }
        }
    }
}

impl Body {
    /// Takes the next piece. False: none came for [`PAUSE`], and there are lines that can be written meanwhile.
    async fn read_on(&mut self, wait: bool) -> bool {
        // A node that is shut down answers how far the import came, before it is cut off.
        if self.health.is_draining() {
            self.ended = Some(Err(ApiError::ShuttingDown));
            return true;
        }
        let next = self.pieces.next();
        let piece = match wait {
            true => next.await,
            false => match timeout(PAUSE, next).await {
                Ok(piece) => piece,
                Err(_) => return false,
            },
        };
        match piece {
            Ok(Some(piece)) => self.lines.feed(&piece),
            Ok(None) => {
                self.lines.finish();
                self.ended = Some(Ok(()));
            }
            Err(error) => self.ended = Some(Err(error)),
        }
        true
    }
}
