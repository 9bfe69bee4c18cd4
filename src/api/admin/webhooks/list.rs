//! `GET /v1/admin/webhooks`: all webhooks of the app.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::WebhookAnswer;
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::error::{ApiError, ListProblems};
use crate::api::query::Parameters;
use crate::store;
use crate::store::webhooks;

/// The webhooks of an app.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct WebhookList {
    /// The webhooks, by their names.
    items: Vec<WebhookAnswer>,
    /// Always null: all webhooks are on one page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List webhooks
///
/// Those of the configuration and those that this API made.
#[utoipa::path(
    get, path = "/v1/admin/webhooks", operation_id = "listWebhooks", tag = "admin",
    security(("key" = ["admin"])),
    responses((status = 200, description = "All webhooks.", body = WebhookList), ListProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    let stored = webhooks::list(&mut conn, caller.app.id).await?;
    let shown = |stored| WebhookAnswer::of(&state.installation, &state.webhooks, &caller.app, stored);
    let items = stored.iter().filter_map(shown).collect();
    Ok(Json(WebhookList { items, next_cursor: None }).into_response())
}
