//! The status of a notification: its counts, and which lanes hold its devices.

use serde_json::{Map, Value};

use crate::audience::Unmatched;
use crate::domain::{AppId, NotificationId, exact_json};
use crate::store;
use crate::store::SessionPool;
use crate::store::status::Status;

/// A notification as it stands.
#[derive(Debug)]
pub struct NotificationState {
    /// What the database says.
    pub stored: Status,
    /// The sender's own strings.
    pub metadata: Option<Map<String, Value>>,
    /// Users and devices that were not found.
    pub unmatched: Unmatched,
}

/// Why a status can't be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A stored value is not the JSON that was written.
    #[error("a notification's stored JSON can't be read")]
    Json(#[from] serde_json::Error),
}

/// Reads a notification of an app; none if the app has no such notification.
///
/// # Errors
/// See [`Error`].
pub async fn find(
    pool: &SessionPool,
    app: AppId,
    id: NotificationId,
) -> Result<Option<NotificationState>, Error> {
    let mut conn = pool.acquire().await.map_err(store::Error::from)?;
    let stored = store::status::read(&mut conn, app, id).await?;
    Ok(stored.map(NotificationState::read).transpose()?)
}

impl NotificationState {
    /// Reads the parts that are stored as JSON.
    ///
    /// # Errors
    /// A stored value is not the JSON that was written.
    pub fn read(stored: Status) -> Result<Self, serde_json::Error> {
        let unmatched = Unmatched::from_stored(stored.unmatched.as_deref())?;
        let metadata = stored.metadata.as_deref().map(exact_json::read).transpose()?;
        Ok(Self { stored, metadata, unmatched })
    }
}
