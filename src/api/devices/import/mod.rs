//! `POST /v1/devices/import`: devices line by line, from a stream of any length.
//!
//! Memory holds one batch that is being written and one that is being read, and the first errors; a client that is faster
//! than the database waits for its next piece to be taken.

mod batch;
mod lines;
mod progress;
mod run;

use std::sync::Arc;

use axum::{Extension, Json, extract};
use serde_json::Value;
use tokio::time::{Duration, timeout};

pub use crate::registry::register::OnFailure;
pub use batch::ImportBatch;
pub use lines::{ImportLine, LINE_MAX, LineSplitter};
pub use progress::ImportProgress;
pub use run::{BatchSource, run};

use batch::UnreadLines;

use crate::api::State;
use crate::api::auth::{Caller, ManageDevices};
use crate::api::body::{NdjsonBody, Pieces};
use crate::api::error::ApiError;
use crate::api::health::Health;
use crate::api::parse_pool::ParsePool;
use crate::api::query::Parameters;
use crate::api::request::RequestId;
use crate::domain::InputCode;

/// Where it is.
pub(in crate::api) const PATH: &str = "/v1/devices/import";
/// What has come is written when nothing more comes for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// The handler.
pub(super) async fn import(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    mut parameters: Parameters,
    Extension(RequestId(id)): Extension<RequestId>,
    NdjsonBody(pieces): NdjsonBody,
) -> Result<Json<Value>, ApiError> {
    let after = on_error(&mut parameters);
    parameters.finish()?;
    let mut body = Body {
        pieces,
        lines: LineSplitter::default(),
        after,
        ended: None,
        health: Arc::clone(&state.health),
        parse_pool: state.parse_pool.clone(),
    };
    let (progress, done) = run(&state.pool, &caller.app, after, &mut body, |_| {}).await;
    let document = progress.document(Some(&id));
    match done {
        Ok(()) => Ok(Json(document)),
        Err(why) => Err(ApiError::Unfinished { why: Box::new(why), import: Box::new(document) }),
    }
}

fn on_error(parameters: &mut Parameters) -> OnFailure {
    const ALL: [OnFailure; 2] = [OnFailure::Continue, OnFailure::Stop];
    let chosen = parameters.choices("on_error", &ALL, |after| match after {
        OnFailure::Continue => "skip",
        OnFailure::Stop => "stop",
    });
    if chosen.len() > 1 {
        parameters.fault("on_error", InputCode::OutOfRange, "this parameter may be given only once");
    }
    chosen.first().copied().unwrap_or(OnFailure::Continue)
}

/// A body as it is read.
struct Body {
    pieces: Pieces,
    lines: LineSplitter,
    after: OnFailure,
    /// What came instead of a further piece.
    ended: Option<Result<(), ApiError>>,
    health: Arc<Health>,
    parse_pool: ParsePool,
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
                return Ok(Some(unread.read(&self.parse_pool).await));
            }
            match (self.ended.take(), unread.is_empty()) {
                (None, is_empty) => {
                    if !self.read_on(is_empty).await {
                        return Ok(Some(unread.read(&self.parse_pool).await));
                    }
                }
                (ended, false) => {
                    self.ended = ended;
                    return Ok(Some(unread.read(&self.parse_pool).await));
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
    /// Takes the next piece. False: none came for a while, and something else has come before.
    async fn read_on(&mut self, wait: bool) -> bool {
        // A node that goes away says how far it came rather than be cut off.
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
