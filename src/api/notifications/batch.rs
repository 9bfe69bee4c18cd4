//! `POST /v1/notifications/batch`: many notifications, each with a result of its own.

use std::iter::Peekable;
use std::sync::Arc;

use axum::response::Response;
use axum::{Extension, extract};
use http::HeaderMap;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::batch_answer::{BatchAnswer, BatchWriter};
use super::idempotency::{self, HeaderKey};
use super::request;
use super::schema::Batch;
use super::send;
use crate::api::State;
use crate::api::auth::{Caller, SendNotifications};
use crate::api::batch_permits::PART_BYTES;
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, BatchProblems};
use crate::api::json;
use crate::api::query::Parameters;
use crate::api::request_id::RequestId;
use crate::domain::{App, Idempotency, TraceContext};
use crate::notifications::replay::replay_refused;
use crate::notifications::send::{SendResult, Submission, send_all};

/// The path of the endpoint.
pub(in crate::api) const PATH: &str = "/v1/notifications/batch";

/// Send many notifications
///
/// Each item is carried out as a request of its own: it is as durable as a 202, and what is wrong with it concerns no other
/// item. The pointers of a problem begin at its item.
#[utoipa::path(
    post, path = PATH, operation_id = "sendBatch", tag = "notifications",
    security(("key" = ["send"])),
    request_body(content = inline(Batch), description = "1 to 1,000 notifications (`limits.batch_items`)."),
    responses((status = 200, description = "What became of each item, in the order given.", body = BatchAnswer), BatchProblems)
)]
pub(super) async fn send_batch(
    extract::State(state): extract::State<State>,
    caller: Caller<SendNotifications>,
    mut parameters: Parameters,
    headers: HeaderMap,
    Extension(RequestId(request_id)): Extension<RequestId>,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let read_at = Instant::now();
    idempotency::refuse_header(&headers, &mut parameters);
    let items_max = state.limits.batch_items;
    let items = state.parse_pool.run(body.len(), move || json::items(&body, items_max)).await;
    let mut items = parameters.and(items)?.into_iter().peekable();
    let mut answer = BatchWriter::new(request_id);
    let mut is_accepted = false;
    while let Some(part) = next_part(&mut items) {
        if let Some(error) = answer.unavailable() {
            // The next part would fail like the one before.
            part.iter().for_each(|_| answer.add(Err(error.again())));
            continue;
        }
        let _permit = state.batch_permits.acquire().await;
        let read = read(&state, &caller.app, part).await;
        let results = carry_out(&state, &caller.app, caller.trace, read).await;
        is_accepted |= results.iter().any(|result| matches!(result, Ok(SendResult::Accepted(..))));
        results.into_iter().for_each(|result| answer.add(result));
    }
    if is_accepted {
        state.metrics.accept.seconds.observe(read_at.elapsed());
    }
    answer.finish()
}

/// The items that are read, looked up and committed together: as many as [`PART_BYTES`] hold, and at least one.
fn next_part(items: &mut Peekable<impl Iterator<Item = Box<RawValue>>>) -> Option<Vec<Box<RawValue>>> {
    let mut bytes = 0;
    let mut part = Vec::new();
    while let Some(item) = items.next_if(|_| bytes < PART_BYTES) {
        bytes += item.get().len();
        part.push(item);
    }
    (!part.is_empty()).then_some(part)
}

type ReadItem = (Option<Idempotency>, Result<Submission, ApiError>);

async fn read(state: &State, app: &Arc<App>, part: Vec<Box<RawValue>>) -> Vec<ReadItem> {
    let bytes = part.iter().map(|item| item.get().len()).sum();
    let (app, shared) = (Arc::clone(app), state.clone());
    let read = state.parse_pool.run(bytes, move || {
        let context = send::context(&app, &shared, HeaderKey::Absent);
        let items = part.into_iter().map(|item| Box::<str>::from(item).into_string());
        items.map(|item| request::read(item, context)).collect()
    });
    read.await
}

/// The result of each item, in order.
async fn carry_out(
    state: &State,
    app: &Arc<App>,
    trace: Option<TraceContext>,
    read: Vec<ReadItem>,
) -> Vec<Result<SendResult, ApiError>> {
    let (mut submissions, mut refused, mut is_refused) =
        (Vec::with_capacity(read.len()), Vec::new(), Vec::new());
    for (idempotency, read) in read {
        is_refused.push(read.is_err());
        match read {
            Ok(submission) => submissions.push((submission, idempotency)),
            Err(error) => refused.push((idempotency, error)),
        }
    }
    let refused = replay_refused(&state.pool, app.id, refused, ApiError::from).await;
    let sent = send_all(send::parts(state, trace), app, submissions).await;
    let (mut refused, mut sent) = (refused.into_iter(), sent.into_iter());
    let results = is_refused.into_iter().map_while(|is_refused| match is_refused {
        true => refused.next(),
        false => sent.next().map(|sent| sent.map_err(ApiError::from)),
    });
    results.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_with_the_item_that_fills_it() {
        let item = |bytes: usize| {
            RawValue::from_string(format!("\"{}\"", "x".repeat(bytes - 2))).expect("a JSON text")
        };
        let sizes = [2 * PART_BYTES, 3, PART_BYTES - 4, 3, 3];
        let mut items = sizes.map(item).into_iter().peekable();
        let parts: Vec<usize> = std::iter::from_fn(|| next_part(&mut items)).map(|part| part.len()).collect();
        assert_eq!(parts, [1, 3, 1]);
    }
}
