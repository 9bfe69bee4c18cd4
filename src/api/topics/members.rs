//! `POST /v1/topics/{topic}/subscribe` and `…/unsubscribe`: devices and users come to a topic, or leave it.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::auth::{Caller, ManageDevices};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, NotFoundKind, SubscribeProblems};
use crate::api::notifications::UnmatchedAnswer;
use crate::api::path::PathName;
use crate::api::query::Parameters;
use crate::api::{json, named};
use crate::audience::NamedDevice;
use crate::audience::Unmatched;
use crate::domain::{App, InputCode, InstallationKey, TopicName, UserId, ValidationError};
use crate::registry::topics::{self, MembersChanged, Subscribers};

const MEMBERS: [&str; 2] = ["devices", "users"];

/// Devices and users of a request about one topic. At least one of the members is needed; `limits.targets` of both together
/// are allowed.
#[expect(dead_code, reason = "this type only describes; nothing constructs it")]
#[derive(ToSchema, Debug)]
#[schema(min_properties = 1)]
#[schema(example = json!({"devices": ["dev_5bf4acbbbcffe5d67fbfee43320f88a6"], "users": ["u42"]}))]
pub(in crate::api) struct TopicMembers {
    /// Ids of devices.
    devices: Option<Vec<String>>,
    /// User ids, of 1 to 128 bytes. A user's subscription holds for every device that is bound to the user, now or later.
    users: Option<Vec<String>>,
}

/// What a request changed about the subscribers of a topic.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({"topic": "news", "changed": 2, "unmatched": {
    "users": [], "users_total": 0, "devices": [], "devices_total": 0
}}))]
pub(super) struct ChangedSubscriptions<'a> {
    /// The topic's name.
    topic: &'a str,
    /// Number of subscriptions that began or ended. Those that were as asked for do not count.
    changed: u64,
    /// Devices that are unknown. A user is never unmatched.
    unmatched: UnmatchedAnswer<'a>,
}

/// What was read of a body.
#[derive(Debug)]
pub(super) struct NamedMembers {
    devices: Vec<NamedDevice>,
    users: Vec<UserId>,
}

/// Subscribe devices and users to a topic
///
/// All of it or nothing. A repeat changes nothing.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/subscribe", operation_id = "subscribeToTopic", tag = "topics",
    security(("key" = ["devices"])),
    params(("topic" = String, Path, description = "1 to 100 of `[A-Za-z0-9_.~:-]`; case counts.", example = "news")),
    request_body = TopicMembers,
    responses((status = 200, description = "They are subscribed.", body = ChangedSubscriptions), SubscribeProblems)
)]
pub(super) async fn subscribe(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    parameters: Parameters,
    name: PathName,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let (topic, named) = read_request(&state, &caller.app, parameters, &name, body).await?;
    let changed = topics::subscribe(&state.pool, &caller.app, &topic, named.members()).await?;
    Ok(answer(&topic, &named, &changed))
}

/// Unsubscribe devices and users from a topic
///
/// All of it or nothing. A repeat changes nothing. The topic goes with its last subscriber.
#[utoipa::path(
    post, path = "/v1/topics/{topic}/unsubscribe", operation_id = "unsubscribeFromTopic", tag = "topics",
    security(("key" = ["devices"])),
    params(("topic" = String, Path, description = "1 to 100 of `[A-Za-z0-9_.~:-]`; case counts.", example = "news")),
    request_body = TopicMembers,
    responses((status = 200, description = "They are not subscribed.", body = ChangedSubscriptions), SubscribeProblems)
)]
pub(super) async fn unsubscribe(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    parameters: Parameters,
    name: PathName,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let (topic, named) = read_request(&state, &caller.app, parameters, &name, body).await?;
    let changed = topics::unsubscribe(&state.pool, caller.app.id, &topic, named.members()).await?;
    Ok(answer(&topic, &named, &changed))
}

/// Reads path, parameters and body, and reports the faults of all.
async fn read_request(
    state: &State,
    app: &Arc<App>,
    mut parameters: Parameters,
    name: &PathName,
    body: Vec<u8>,
) -> Result<(TopicName, NamedMembers), ApiError> {
    let topic = name.topic(&mut parameters);
    let (app, installation, targets_max) =
        (Arc::clone(app), state.installation.clone(), state.limits.targets);
    let read = state.parse_pool.run(body.len(), move || read(body, &app, &installation, targets_max)).await;
    let named = parameters.and(read)?;
    Ok((topic.ok_or(ApiError::NotFound(NotFoundKind::Id))?, named))
}

pub(super) fn read(
    body: Vec<u8>,
    app: &App,
    installation: &InstallationKey,
    targets_max: usize,
) -> Result<NamedMembers, ApiError> {
    let members = json::read(body, |mut fields| {
        if MEMBERS.iter().map(|member| fields.length(member)).sum::<usize>() > targets_max {
            fields.into_unread();
            return Some(None);
        }
        let names_none = MEMBERS.iter().all(|member| fields.value(member).is_none());
        let devices = named::devices(&mut fields, app, installation);
        let users = named::users(&mut fields);
        // A misspelt member is reported with the name that was meant; the missing member only follows from that.
        if names_none && !fields.misspells_one_of(&MEMBERS) {
            let detail = format!("the request needs one of {}", MEMBERS.join(", "));
            fields.faults().push(ValidationError::at(fields.at(), InputCode::MissingField, detail));
        }
        fields.finish();
        Some(Some(NamedMembers { devices, users }))
    })?;
    members.ok_or(ApiError::TooManyTargets(targets_max))
}

impl NamedMembers {
    fn members(&self) -> Subscribers {
        let devices = self.devices.iter().filter_map(|device| device.id).collect();
        Subscribers { devices, users: self.users.clone() }
    }

    /// The ids that name no device, each once, in the order of the request.
    fn unmatched(&self, changed: &MembersChanged) -> Unmatched {
        let mut seen = HashSet::new();
        let is_unknown =
            |named: &&NamedDevice| named.id.is_none_or(|id| changed.known.binary_search(&id).is_err());
        let unknown = self.devices.iter().filter(is_unknown).map(|named| named.public_id.as_str());
        let unknown: Vec<&str> = unknown.filter(|id| seen.insert(*id)).collect();
        Unmatched::of_devices(&unknown)
    }
}

fn answer(topic: &TopicName, named: &NamedMembers, changed: &MembersChanged) -> Response {
    let unmatched = named.unmatched(changed);
    let changed = changed.changed;
    Json(ChangedSubscriptions { topic: topic.as_str(), changed, unmatched: (&unmatched).into() })
        .into_response()
}
