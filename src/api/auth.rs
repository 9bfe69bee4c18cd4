//! Authenticates a request by its API key, and checks its scopes and rate limits. Runs before the body is read.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;

use super::State;
use super::dashboard::{self, DashboardCall};
use super::error::{ApiError, KeyFault};
use super::rates::RateExceeded;
use super::request_trace::RequestTrace;
use crate::domain::{App, KeyId, Scope, Scopes, TraceContext};
use crate::registry::keys::{self, ApiKey, AuthenticationError};

/// What a route requires: a key with one of these scopes, or `admin`.
pub trait Right: Send + Sync + 'static {
    /// Scopes, each of which is sufficient.
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
    /// For posting and cancelling notifications.
    SendNotifications [Send];
    /// For reading notifications and their deliveries.
    ReadNotifications [Send, Read];
    /// For reading events.
    ReadEvents [Read];
    /// For everything about devices.
    ManageDevices [Devices];
    /// For reading devices.
    ReadDevices [Devices, Read];
    /// For registering and unregistering: a backend any device, an app its own.
    RegisterDevice [Devices, Register];
    /// For lanes and clean-up runs.
    Administer [];
}

/// The caller of a route that requires `R`, after authentication.
#[derive(Debug)]
pub struct Caller<R> {
    /// The app of the key.
    pub app: Arc<App>,
    /// The key's id.
    pub key: KeyId,
    /// All scopes of the key.
    pub scopes: Scopes,
    /// The span of the request. None: it is not recorded.
    pub trace: Option<TraceContext>,
    /// Whole device tokens may be in the answer, if the scopes allow it. A page never shows them.
    pub sees_tokens: bool,
    right: PhantomData<R>,
}

/// The caller for the request log and the audit, set when the key is recognised.
#[derive(Clone, Debug, Default)]
pub(super) struct CallerNote(Arc<NotedCaller>);

#[derive(Debug, Default)]
struct NotedCaller {
    key: OnceLock<(Arc<App>, KeyId, Scopes)>,
    address: OnceLock<IpAddr>,
}

impl CallerNote {
    /// Notes the key. The first one counts.
    pub(super) fn recognise(&self, app: &Arc<App>, key: KeyId, scopes: Scopes) {
        self.0.key.get_or_init(|| (Arc::clone(app), key, scopes));
    }

    /// Notes the address of the client.
    pub(super) fn come_from(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.0.address.get_or_init(|| address);
        }
    }

    /// The app and the key; none if no key was recognised.
    pub(super) fn get(&self) -> Option<(&App, KeyId)> {
        self.0.key.get().map(|(app, key, _)| (&**app, *key))
    }

    /// The address of the client; none if it was not noted.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.0.address.get().copied()
    }

    /// Whether the request had a key with more scopes than an app's.
    pub(super) fn has_secret_key(&self) -> bool {
        self.0.key.get().is_some_and(|(_, _, scopes)| !scopes.is_publishable())
    }
}

impl<R: Right> FromRequestParts<State> for Caller<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        state.rates.note_proxy(parts);
        let call = parts.extensions.get::<DashboardCall>();
        let key = match call {
            Some(call) => dashboard::session_key(call, parts, state).await?,
            None => bearer_key(parts, state).await?,
        };
        let app = state.apps.get(key.app).ok_or(ApiError::Unauthenticated(KeyFault::Unknown))?;
        if let Some(note) = parts.extensions.get::<CallerNote>() {
            note.recognise(&app, key.id, key.scopes);
            // Only an operator's address is logged.
            if !key.scopes.is_publishable() {
                note.come_from(state.rates.client_address(parts));
            }
        }
        if key.scopes.is_publishable() {
            state.rates.take_address(app.id, parts)?;
        } else {
            state.rates.take_key(key.id)?;
        }
        if !R::SCOPES.iter().any(|scope| key.scopes.has(*scope)) {
            return Err(ApiError::MissingScope(R::SCOPES));
        }
        let trace = parts.extensions.get::<RequestTrace>();
        let trace = trace.and_then(|trace| trace.context(!key.scopes.is_publishable()));
        let sees_tokens = call.is_none();
        Ok(Self { app, key: key.id, scopes: key.scopes, trace, sees_tokens, right: PhantomData })
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

async fn bearer_key(parts: &Parts, state: &State) -> Result<ApiKey, ApiError> {
    let secret = bearer(parts).map_err(ApiError::Unauthenticated)?;
    let key = state.keys.authenticate(secret, &state.rates.unknown_keys(parts)).await?;
    key.ok_or(ApiError::Unauthenticated(KeyFault::Unknown))
}

/// The secret in `Authorization: Bearer …`, if it has the form of one.
fn bearer(parts: &Parts) -> Result<&str, KeyFault> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let only = match (headers.next(), headers.next()) {
        (None, _) => return Err(KeyFault::Absent),
        (Some(only), None) => only.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    let (scheme, secret) = only.and_then(|only| only.split_once(' ')).ok_or(KeyFault::NotBearer)?;
    match secret.trim() {
        _ if !scheme.eq_ignore_ascii_case("bearer") => Err(KeyFault::NotBearer),
        "" => Err(KeyFault::NotBearer),
        secret if !keys::is_well_formed(secret) => Err(KeyFault::NoSecret),
        secret => Ok(secret),
    }
}
