//! `POST /v1/devices/lookup`: the devices of tokens that the caller holds.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};

use super::answer::{DeviceAnswer, DeviceView, LookupAnswer};
use super::request::one_token;
use super::schema::LookupRequest;
use crate::api::State;
use crate::api::auth::{Caller, ManageDevices};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, LookupProblems};
use crate::api::json;
use crate::api::query::Parameters;
use crate::domain::{DeviceToken, Platform, Platforms};
use crate::registry::devices;
use crate::store::devices::TokenKey;

/// The path of the endpoint. It only reads, although its method is POST.
pub(in crate::api) const PATH: &str = "/v1/devices/lookup";
/// The most tokens of one request.
const TOKENS_MAX: usize = 1000;

/// Look up devices by their tokens
///
/// One item for each token, in the order given; `null` where the token is not known.
#[utoipa::path(
    post, path = PATH, operation_id = "lookUpDevices", tag = "devices",
    security(("key" = ["devices"])),
    request_body = LookupRequest,
    responses((status = 200, description = "The devices, in the order of the tokens.", body = LookupAnswer), LookupProblems)
)]
pub(super) async fn lookup(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    parameters: Parameters,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let platforms = caller.app.platforms();
    let read = state.parse_pool.run(body.len(), move || read(body, &platforms)).await;
    let tokens = parameters.and(read)?;
    let mut by_platform: BTreeMap<Platform, Vec<DeviceToken>> = BTreeMap::new();
    for (platform, token) in &tokens {
        by_platform.entry(*platform).or_default().push(token.clone());
    }
    let view = DeviceView::of(&caller);
    let mut found = Vec::new();
    for (platform, tokens) in by_platform {
        found.extend(devices::find_by_tokens(&state.pool, caller.app.id, platform, &tokens).await?);
    }
    let by_token: HashMap<TokenKey, DeviceAnswer<'_>> = found
        .iter()
        .map(|known| {
            let key = (known.device.platform, known.device.token.digest());
            (key, view.show(&state.installation, known, &[]))
        })
        .collect();
    let items = tokens.iter().map(|(platform, token)| by_token.get(&(*platform, token.digest()))).collect();
    Ok(Json(LookupAnswer { items }).into_response())
}

pub(super) fn read(body: Vec<u8>, platforms: &Platforms) -> Result<Vec<(Platform, DeviceToken)>, ApiError> {
    let tokens = json::read(body, |mut fields| {
        if fields.length("tokens") > TOKENS_MAX {
            fields.into_unread();
            return Some(None);
        }
        fields.require("tokens");
        let given = fields.objects("tokens");
        let tokens: Option<Vec<_>> =
            given.map(|all| all.filter_map(|fields| one_token(fields, platforms)).collect());
        fields.finish();
        tokens.map(Some)
    })?;
    tokens.ok_or(ApiError::TooManyItems(TOKENS_MAX))
}
