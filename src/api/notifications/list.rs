//! `GET /v1/notifications`: a page of the notifications that match the filters.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::label;
use super::send::PATH;
use super::status::Notification;
use crate::api::State;
use crate::api::auth::{Caller, ReadNotifications};
use crate::api::error::{ApiError, FilteredListProblems};
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::domain::{InputCode, NotificationId, NotificationStatus};
use crate::notifications::list;
use crate::store::notification_list::NotificationFilter;

/// A page of notifications, newest first.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct NotificationList<'a> {
    /// The notifications of this page. There may be fewer than `limit`, or none, although there are more.
    items: Vec<Notification<'a>>,
    /// What to send as `cursor` for the next page; null: this is the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List notifications
///
/// Newest first. A filter given twice means either. A request looks at 5,000 notifications, and for a second, at most. So a
/// page may have fewer items than `limit`, or none: only `next_cursor` says whether there are more.
#[utoipa::path(
    get, path = PATH, operation_id = "listNotifications", tag = "notifications",
    security(("key" = ["send", "read"])),
    params(
        ("status" = Option<Vec<schema_enums::NotificationStatus>>, Query, description = "Only notifications with this status.", example = json!(["sending"])),
        ("label" = Option<Vec<schema_enums::Label>>, Query, description = "Only notifications with this label.", example = json!(["order-updates"])),
        ("created_after" = Option<Vec<Timestamp>>, Query, description = "RFC 3339, with `Z` or an offset."),
        ("created_before" = Option<Vec<Timestamp>>, Query, description = "RFC 3339, with `Z` or an offset."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Items of a page at most; 100 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filters."),
    ),
    responses((status = 200, description = "A page of notifications.", body = NotificationList), FilteredListProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadNotifications>,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let filter = filter(&mut parameters);
    let asked = parameters.page("notifications", caller.app.id, &state.installation);
    parameters.finish()?;
    let after = asked.after.as_deref().and_then(|bytes| Uuid::from_slice(bytes).ok()).map(NotificationId);
    let page = list::list(&state.pool, caller.app.id, &filter, after, asked.limit).await?;
    let next_cursor = page.next.map(|last| asked.cursor(&state.installation, last.0.as_bytes()));
    let items = page
        .items
        .iter()
        .map(|(id, found)| Notification::of(&caller.app, *id, found, &state.trace_page))
        .collect();
    Ok(Json(NotificationList { items, next_cursor }).into_response())
}

fn filter(parameters: &mut Parameters) -> NotificationFilter {
    let statuses = parameters.choices("status", NotificationStatus::ALL, NotificationStatus::as_str);
    let mut labels = parameters.parsed("label", label::parse, InputCode::BadValue, label::NO_LABEL);
    labels.sort_unstable();
    labels.dedup();
    NotificationFilter {
        statuses,
        labels,
        // A filter given twice means either, so the wider bound counts.
        created_after: parameters.times("created_after").into_iter().min(),
        created_before: parameters.times("created_before").into_iter().max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::tests::query_parameters;
    use crate::domain::{AppId, InstallationKey};

    #[test]
    fn the_documented_parameters_are_those_that_are_read() {
        let mut parameters = Parameters::new(Vec::new());
        filter(&mut parameters);
        parameters.page("notifications", AppId(1), &InstallationKey::new([7; 32]));
        assert_eq!(query_parameters("listNotifications"), parameters.asked());
    }
}
