//! `POST /v1/admin/webhooks`: makes a webhook, for hosts that the configuration names.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};

use super::answer::WebhookWithSecret;
use super::schema::WebhookRequest;
use super::{one, request};
use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::body::JsonBody;
use crate::api::error::{ApiError, CreateWebhookProblems};
use crate::api::query::Parameters;
use crate::domain::{EventPlace, WebhookSecret};
use crate::store;
use crate::store::webhooks::{self, NewWebhook};

/// Webhooks of an app that the API makes at most.
const WEBHOOKS_MAX: usize = 20;

/// Make a webhook
///
/// It gets the events that are logged from now on. The answer has its secret, which is not shown again. The host of its URL must be
/// in the app's `webhook_hosts`, because only the configuration names addresses that Pushpost connects to.
#[utoipa::path(
    post, path = "/v1/admin/webhooks", operation_id = "createWebhook", tag = "admin",
    security(("key" = ["admin"])),
    request_body = WebhookRequest,
    responses(
        (
            status = 201, description = "The webhook is made.", body = WebhookWithSecret,
            headers(("Location" = String, description = "The path of the webhook.")),
        ),
        CreateWebhookProblems,
    )
)]
pub(super) async fn create(
    extract::State(state): extract::State<State>,
    caller: Caller<Administer>,
    parameters: Parameters,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let app = &caller.app;
    let requested = parameters.and(request::create(body))?;
    if state.events.is_none() {
        return Err(ApiError::EventsOff);
    }
    if !state.webhooks.allows_host(app.id, &requested.url.host()) {
        return Err(ApiError::HostNotAllowed);
    }
    let secret = WebhookSecret::random();
    let mut conn = state.observe.acquire().await.map_err(store::Error::from)?;
    let new = NewWebhook {
        app: app.id,
        name: requested.name.as_str(),
        url: &requested.url.expose().to_string(),
        types: &requested.types.patterns,
        devices: requested.devices.as_str(),
        batch_max: requested.batch_max.cast_signed(),
        secret: secret.as_bytes(),
        cursor: EventPlace::behind(store::events::head(&mut conn).await?),
    };
    let made = webhooks::insert(&mut conn, &new, i64::try_from(WEBHOOKS_MAX).unwrap_or(i64::MAX)).await?;
    let Some(id) = made else {
        let stored = webhooks::list(&mut conn, app.id).await?;
        let is_taken = stored.iter().any(|stored| stored.name == requested.name.as_str());
        return Err(if is_taken { ApiError::WebhookExists } else { ApiError::TooManyWebhooks(WEBHOOKS_MAX) });
    };
    drop(conn);
    let (_, shown) = one::read(&state, app, id).await?;
    let public = state.installation.webhook_id(app.id, id);
    let location =
        HeaderValue::from_str(&format!("/v1/admin/webhooks/{public}")).map_err(ApiError::internal)?;
    let answer = Json(WebhookWithSecret::of(shown, &secret));
    Ok((StatusCode::CREATED, [(LOCATION, location)], answer).into_response())
}
