//! `GET /v1/admin/keys`: a page of the app's API keys, without their secrets.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::error::{ApiError, ListProblems};
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::domain::KeyId;
use crate::registry::keys;
use crate::store::keys::KeyRow;

/// An API key.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = ApiKey, example = json!({
    "id": "key_5bf4acbbbcffe5d67fbfee43320f88a6", "name": "backend", "scopes": ["send", "read"],
    "created_at": "2026-11-28T09:00:00.000Z", "expires_at": "2027-02-26T09:00:00.000Z", "revoked_at": null,
    "last_used_at": "2026-11-28T11:00:00.000Z"
}))]
pub(super) struct KeyAnswer<'a> {
    /// The key's id, which is not its secret.
    id: String,
    /// A name to recognise the key by.
    #[schema(required)]
    name: Option<&'a str>,
    /// What the key may do.
    #[schema(value_type = Vec<schema_enums::Scope>)]
    scopes: Vec<&'static str>,
    /// When it was created.
    created_at: Timestamp,
    /// From when on it is refused; null: it does not expire.
    #[schema(required)]
    expires_at: Option<Timestamp>,
    /// When it was revoked; null: it was not.
    #[schema(required)]
    revoked_at: Option<Timestamp>,
    /// The hour in which it was last used; null: never.
    #[schema(required)]
    last_used_at: Option<Timestamp>,
}

/// A page of API keys, the oldest first.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct KeyList<'a> {
    /// The keys of this page.
    items: Vec<KeyAnswer<'a>>,
    /// What to send as `cursor` for the next page; null: this is the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List API keys
///
/// Oldest first, revoked and expired ones included. `pushpost keys` creates and revokes keys.
#[utoipa::path(
    get, path = "/v1/admin/keys", operation_id = "listKeys", tag = "admin",
    security(("key" = ["admin"])),
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Items of a page; 100 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of keys.", body = KeyList), ListProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let asked = parameters.page("keys", caller.app.id, &state.installation);
    parameters.finish()?;
    let after = asked.after.as_deref().and_then(|bytes| Uuid::from_slice(bytes).ok()).map(KeyId);
    // One more than asked for tells whether there is a next page.
    let limit = i64::try_from(asked.limit).map_or(i64::MAX, |limit| limit + 1);
    let mut found = keys::page(&state.pool, caller.app.id, after, limit).await?;
    let has_more = found.len() > asked.limit;
    found.truncate(asked.limit);
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|last| asked.cursor(&state.installation, last.id.0.as_bytes()));
    let items = found.iter().map(KeyAnswer::from).collect();
    Ok(Json(KeyList { items, next_cursor }).into_response())
}

impl<'a> From<&'a KeyRow> for KeyAnswer<'a> {
    fn from(key: &'a KeyRow) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.as_deref(),
            scopes: key.scopes.names().collect(),
            created_at: Timestamp(key.created_at),
            expires_at: key.expires_at.map(Timestamp),
            revoked_at: key.revoked_at.map(Timestamp),
            last_used_at: key.last_used_at.map(Timestamp),
        }
    }
}
