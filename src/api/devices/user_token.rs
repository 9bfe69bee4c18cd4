//! The header `Pushpost-User-Token`, by which an app proves the id of its user.

use axum::extract::FromRequestParts;
use http::request::Parts;
use utoipa::IntoParams;

use crate::api::State;
use crate::api::error::ApiError;
use crate::domain::{App, BadUserToken, UserTokenClaims};

const NAME: &str = "pushpost-user-token";

/// The header as it was sent. It is verified as soon as the caller's app is known.
#[derive(Clone, Debug)]
pub(super) enum UserTokenHeader {
    Absent,
    /// The only one. The value is marked as sensitive, so that `Debug` does not show it.
    One(http::HeaderValue),
    Several,
}

/// The header, for the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header")]
pub(super) struct UserTokenParameter {
    /// A JSON Web Token that the app's backend has signed: `sub` is the user, `aud` the audience of the configuration,
    /// `exp` at most `max_age` ahead. `topics` lists closed topics that the app may set.
    #[param(rename = "Pushpost-User-Token", value_type = String, required = false)]
    user_token: Option<String>,
}

impl FromRequestParts<State> for UserTokenHeader {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &State) -> Result<Self, Self::Rejection> {
        let mut values = parts.headers.get_all(NAME).iter();
        Ok(match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(only), None) => {
                let mut only = only.clone();
                only.set_sensitive(true);
                Self::One(only)
            }
            (Some(_), Some(_)) => Self::Several,
        })
    }
}

impl UserTokenHeader {
    /// What the token proves. None: there is no token.
    ///
    /// # Errors
    /// The configuration has no keys for the app's user tokens, or the token proves nothing.
    pub(super) fn verify(&self, state: &State, app: &App) -> Result<Option<UserTokenClaims>, ApiError> {
        if matches!(self, Self::Absent) {
            return Ok(None);
        }
        let verifier = app.user_tokens.as_ref().ok_or(ApiError::UserTokensNotConfigured)?;
        let Self::One(value) = self else {
            return Err(BadUserToken::malformed("there are several headers Pushpost-User-Token").into());
        };
        let token = value.to_str().map_err(|_| BadUserToken::malformed("the token is not ASCII"))?;
        Ok(Some(verifier.verify(token.trim(), state.node_lease.clock().now())?))
    }
}
