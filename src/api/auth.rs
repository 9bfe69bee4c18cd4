//! Who is asking, and whether its key reaches so far. Checked before a body is read.

use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::State;
use super::error::ApiError;
use super::rates::RateExceeded;
use crate::domain::{App, KeyId, Scope, Scopes};
use crate::registry::keys::AuthenticationError;

/// What a route needs: any of these scopes, or `admin`.
pub trait Right: Send + Sync + 'static {
    /// The scopes, each of which is enough.
    const SCOPES: &'static [Scope];
}

macro_rules! rights {
    ($($(#[$doc:meta])* $name:ident [$($scope:ident),*];)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}

        impl Right for $name {
            const SCOPES: &'static [Scope] = &[$(Scope::$scope,)* Scope::Admin];
        }
    )*};
}

rights! {
    /// To post and cancel notifications.
    SendNotifications [Send];
    /// To read notifications and their deliveries.
    ReadNotifications [Send, Read];
    /// Everything about devices.
    ManageDevices [Devices];
    /// To read devices.
    ReadDevices [Devices, Read];
    /// To register and unregister: a backend any device, an app its own.
    RegisterDevice [Devices, Register];
    /// To see and steer lanes.
    Administer [];
}

/// The key of a request that has the right `R`.
#[derive(Debug)]
pub struct Caller<R> {
    /// Whose key.
    pub app: Arc<App>,
    /// Which.
    pub key: KeyId,
    /// All that it may do.
    pub scopes: Scopes,
    right: PhantomData<R>,
}

/// What the request log says of the caller, once known.
#[derive(Clone, Debug, Default)]
pub(super) struct CallerNote(Arc<OnceLock<(Arc<App>, KeyId, Scopes)>>);

impl CallerNote {
    /// The caller, if its key was recognised.
    pub(super) fn get(&self) -> Option<(&App, KeyId)> {
        self.0.get().map(|(app, key, _)| (&**app, *key))
    }

    /// Was there a key that may do more than an app may?
    pub(super) fn may_do_more(&self) -> bool {
        self.0.get().is_some_and(|(_, _, scopes)| !scopes.is_publishable())
    }
}

impl<R: Right> FromRequestParts<State> for Caller<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        state.rates.note_proxy(parts);
        let secret = bearer(parts).ok_or(ApiError::Unauthenticated)?;
        let key = state.keys.authenticate(secret, &state.rates.unknown_keys(parts)).await?;
        let key = key.ok_or(ApiError::Unauthenticated)?;
        let app = state.apps.get(key.app).ok_or(ApiError::Unauthenticated)?;
        if let Some(CallerNote(note)) = parts.extensions.get() {
            note.get_or_init(|| (Arc::clone(&app), key.id, key.scopes));
        }
        if key.scopes.is_publishable() {
            state.rates.take_address(app.id, parts)?;
        } else {
            state.rates.take_key(key.id)?;
        }
        if !R::SCOPES.iter().any(|scope| key.scopes.has(*scope)) {
            return Err(ApiError::MissingScope(R::SCOPES));
        }
        Ok(Self { app, key: key.id, scopes: key.scopes, right: PhantomData })
    }
}

impl From<AuthenticationError<RateExceeded>> for ApiError {
    fn from(unrecognised: AuthenticationError<RateExceeded>) -> Self {
        match unrecognised {
            AuthenticationError::Refused(too_fast) => too_fast.into(),
            AuthenticationError::Busy => Self::Unavailable(None),
            AuthenticationError::Store(error) => error.into(),
        }
    }
}

/// The secret of the one `Authorization: Bearer …`.
fn bearer(parts: &Parts) -> Option<&str> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (headers.next(), headers.next()) else {
        return None;
    };
    let (scheme, secret) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim()).filter(|secret| !secret.is_empty())
}
