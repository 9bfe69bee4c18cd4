//! `GET /v1/topics`: a page of the app's topics, with the numbers of their subscribers.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::auth::{Caller, ReadDevices};
use crate::api::error::{ApiError, ListProblems};
use crate::api::query::Parameters;
use crate::registry::topics;
use crate::store::topics::TopicSize;

/// A topic that has a subscriber.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = Topic, example = json!({"topic": "news", "devices": 1200, "users": 40}))]
pub(super) struct TopicAnswer<'a> {
    /// The topic's name.
    topic: &'a str,
    /// Number of devices with a subscription of their own, quarantined ones included.
    devices: u64,
    /// Number of users with a subscription, which holds for each of their devices.
    users: u64,
}

/// A page of topics, ordered by name.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct TopicList<'a> {
    /// The topics of this page.
    items: Vec<TopicAnswer<'a>>,
    /// What to send as `cursor` for the next page; null: this is the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List topics
///
/// A topic comes with its first subscriber and goes with its last. The subscribers are counted for each answer, for a second at
/// most. So a page of topics with millions of subscribers can have fewer items than `limit`, and a `next_cursor` all the same.
#[utoipa::path(
    get, path = "/v1/topics", operation_id = "listTopics", tag = "topics",
    security(("key" = ["devices", "read"])),
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Items of a page; 100 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of topics.", body = TopicList), ListProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadDevices>,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let asked = parameters.page("topics", caller.app.id, &state.installation);
    parameters.finish()?;
    let after = asked.after.as_ref().and_then(|bytes| String::from_utf8(bytes.clone()).ok());
    let found = topics::list(&state.pool, caller.app.id, &after.unwrap_or_default(), asked.limit).await?;
    let last = found.topics.last().filter(|_| !found.is_last);
    let next_cursor = last.map(|last| asked.cursor(&state.installation, last.name.as_str().as_bytes()));
    let items = found.topics.iter().map(TopicAnswer::from).collect();
    Ok(Json(TopicList { items, next_cursor }).into_response())
}

impl<'a> From<&'a TopicSize> for TopicAnswer<'a> {
    fn from(size: &'a TopicSize) -> Self {
        Self { topic: size.name.as_str(), devices: size.devices, users: size.users }
    }
}
