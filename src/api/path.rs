//! The variable parts of a path. This is the one way in which handlers read them.

use std::fmt;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use super::State;
use super::error::{ApiError, NotFoundKind};
use super::query::Parameters;
use crate::domain::{
    AppId, CleanupRunId, DeviceId, InputCode, InstallationKey, NotificationId, TopicName, UserId, WebhookId,
};

/// The detail of a fault where a text stands in place of a device's id.
pub const NO_DEVICE_ID: &str = "this is no id of a device, which is `dev_` and up to 60 letters and digits";

/// The detail of a fault where a text stands in place of a user id.
pub const NO_USER_ID: &str = "a user id is 1 to 128 bytes without control characters";

/// The detail of a fault where a text stands in place of a topic.
pub const NO_TOPIC: &str = "a topic has 1 to 100 of A-Z, a-z, 0-9 and _.~:-";

/// The one variable part of a path, decoded: an id. What can't be decoded is answered as an unknown id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathId(pub String);

impl PathId {
    /// The device that the id names.
    ///
    /// # Errors
    /// `NotFound` if it can't be an id of a device of this app.
    pub fn device(&self, key: &InstallationKey, app: AppId) -> Result<DeviceId, ApiError> {
        key.parse_device_id(app, &self.0).map_err(|_| ApiError::NotFound(NotFoundKind::Id))
    }

    /// The clean-up run that the id names.
    ///
    /// # Errors
    /// `NotFound` if it can't be an id of a run of this app.
    pub fn cleanup_run(&self, key: &InstallationKey, app: AppId) -> Result<CleanupRunId, ApiError> {
        key.parse_cleanup_run_id(app, &self.0).map_err(|_| ApiError::NotFound(NotFoundKind::Id))
    }

    /// The webhook that the id names.
    ///
    /// # Errors
    /// `NotFound` if it can't be an id of a webhook of this app.
    pub fn webhook(&self, key: &InstallationKey, app: AppId) -> Result<WebhookId, ApiError> {
        key.parse_webhook_id(app, &self.0).map_err(|_| ApiError::NotFound(NotFoundKind::Id))
    }

    /// The notification that the id names, which may be another app's.
    ///
    /// # Errors
    /// `NotFound` if it can't be an id of a notification.
    pub fn notification(&self) -> Result<NotificationId, ApiError> {
        NotificationId::parse(&self.0).map_err(|_| ApiError::NotFound(NotFoundKind::Id))
    }
}

impl FromRequestParts<State> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let part = Path::<String>::from_request_parts(parts, state).await;
        part.map(|Path(text)| Self(text)).map_err(|_| ApiError::NotFound(NotFoundKind::Id))
    }
}

/// The one variable part of a path, decoded: a name that callers choose themselves. What can't be decoded is not found.
#[derive(Clone, PartialEq, Eq)]
pub struct PathName(String);

impl fmt::Debug for PathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PathName(…)")
    }
}

impl PathName {
    /// The topic that it names. None: it is no topic, which is added to the faults of the request.
    pub fn topic(&self, parameters: &mut Parameters) -> Option<TopicName> {
        let topic = TopicName::parse(&self.0);
        if topic.is_none() {
            let fault = parameters.fault("topic", InputCode::BadTopic, NO_TOPIC);
            fault.facts.insert("limit".to_owned(), TopicName::MAX.into());
        }
        topic
    }

    /// The user that it names. None: it is no user id, which is added to the faults of the request.
    pub fn user(&self, parameters: &mut Parameters) -> Option<UserId> {
        let user = UserId::parse(&self.0);
        if user.is_none() {
            let fault = parameters.fault("user", InputCode::BadUser, NO_USER_ID);
            fault.facts.insert("limit".to_owned(), UserId::MAX.into());
        }
        user
    }
}

impl FromRequestParts<State> for PathName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        PathId::from_request_parts(parts, state).await.map(|PathId(text)| Self(text))
    }
}

/// A lane's name in one part (`fcm`, `shop%2Ffcm`) or in two (`shop/fcm`), as log lines write it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneName(pub String);

impl FromRequestParts<State> for LaneName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let named = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Path(named) = named.map_err(|_| ApiError::NotFound(NotFoundKind::Id))?;
        let texts: Vec<String> = named.into_iter().map(|(_, text)| text).collect();
        Ok(Self(texts.join("/")))
    }
}
