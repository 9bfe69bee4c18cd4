//! `GET /v1/admin/cleanups`: a page of the app's runs, the newest first.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::CleanupAnswer;
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::error::{ApiError, ListProblems};
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::domain::{CleanupRunId, CleanupStatus};
use crate::pruning::cleanups;

/// A page of clean-up runs, the newest first.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct CleanupList<'a> {
    /// The runs of this page.
    items: Vec<CleanupAnswer<'a>>,
    /// What to send as `cursor` for the next page; null: this is the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List clean-up runs
///
/// The newest first. A filter given twice means either.
#[utoipa::path(
    get, path = "/v1/admin/cleanups", operation_id = "listCleanups", tag = "admin",
    security(("key" = ["admin"])),
    params(
        ("status" = Option<Vec<schema_enums::CleanupStatus>>, Query, description = "Only runs with this status."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Items of a page; 100 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filters."),
    ),
    responses((status = 200, description = "A page of runs.", body = CleanupList), ListProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let statuses = parameters.choices("status", CleanupStatus::ALL, CleanupStatus::as_str);
    let asked = parameters.page("cleanups", caller.app.id, &state.installation);
    parameters.finish()?;
    let before = asked.after.as_deref().and_then(|bytes| bytes.try_into().ok());
    let before = CleanupRunId(before.map_or(i64::MAX, i64::from_be_bytes));
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(asked.limit).map_or(i64::MAX, |limit| limit + 1);
    let mut found = cleanups::list(&state.pool, caller.app.id, &statuses, before, limit).await?;
    let has_more = found.len() > asked.limit;
    found.truncate(asked.limit);
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|last| asked.cursor(&state.installation, &last.id.0.to_be_bytes()));
    let items = found.iter().map(|run| CleanupAnswer::of(&state.installation, run)).collect();
    Ok(Json(CleanupList { items, next_cursor }).into_response())
}
