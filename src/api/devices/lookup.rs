//! `POST /v1/devices/lookup`: what is known of tokens that the caller holds.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::extract;
use serde_json::{Value, json};

use super::answer::DeviceView;
use super::request::one_token;
use crate::api::State;
use crate::api::auth::{Caller, ManageDevices};
use crate::api::body::JsonBody;
use crate::api::error::ApiError;
use crate::api::json;
use crate::api::query::Parameters;
use crate::domain::{DeviceToken, Platform};
use crate::registry::devices;

/// Most tokens of one request.
const TOKENS_MAX: usize = 1000;

/// One item for each token, in the order given; `null` where none is known.
pub(super) async fn lookup(
    extract::State(state): extract::State<State>,
    caller: Caller<ManageDevices>,
    parameters: Parameters,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let tokens = parameters.and(state.parse_pool.run(body.len(), || read(body)).await)?;
    let mut by_platform: BTreeMap<Platform, Vec<DeviceToken>> = BTreeMap::new();
    for (platform, token) in &tokens {
        by_platform.entry(*platform).or_default().push(token.clone());
    }
    let view = DeviceView::of(caller.scopes);
    let mut found: HashMap<(Platform, DeviceToken), Value> = HashMap::new();
    for (platform, tokens) in by_platform {
        for known in devices::find_by_tokens(&state.pool, caller.app.id, platform, &tokens).await? {
            let document = view.document(&state.installation, &known);
            found.insert((platform, known.device.token), document);
        }
    }
    let items: Vec<_> = tokens.iter().map(|token| found.get(token)).collect();
    Ok(Json(json!({ "items": items })))
}

fn read(body: Vec<u8>) -> Result<Vec<(Platform, DeviceToken)>, ApiError> {
    let tokens = json::read(body, |mut fields| {
        if fields.length("tokens") > TOKENS_MAX {
            fields.into_unread();
            return Some(None);
        }
        fields.require("tokens");
        let given = fields.objects("tokens");
        let tokens: Option<Vec<_>> = given.map(|all| all.filter_map(one_token).collect());
        fields.finish();
        tokens.map(Some)
    })?;
    tokens.ok_or(ApiError::TooManyItems(TOKENS_MAX))
}
