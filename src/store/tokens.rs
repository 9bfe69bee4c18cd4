//! What the dispatcher reads of the devices of a job.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Error;
use crate::domain::{DeviceId, DeviceToken, Environment, NotificationId, Platform, UserId};

/// A device as it is right before an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadedDevice {
    /// The device.
    pub device: DeviceId,
    /// Its service.
    pub platform: Platform,
    /// Its environment; none for FCM.
    pub environment: Option<Environment>,
    /// Where to.
    pub token: DeviceToken,
    /// Whose it is now.
    pub user: Option<UserId>,
    /// Set aside?
    pub quarantined: bool,
    /// When the app last handed over the token.
    pub registered_at: Option<DateTime<Utc>>,
}

/// Someone who was addressed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressedUser {
    /// In which notification.
    pub notification: NotificationId,
    /// By which device.
    pub device: DeviceId,
    /// Who.
    pub user: UserId,
}

/// Loads devices by their sorted ids, in no particular order; who is missing is gone. One statement.
///
/// # Errors
/// The database's.
pub async fn load(conn: &mut PgConnection, ids: &[DeviceId]) -> Result<Vec<LoadedDevice>, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let rows = sqlx::query!(
        r#"select device_id, platform, environment, token, user_id, registered_at,
                  quarantined_at is not null as "quarantined!"
           from devices where device_id = any($1)"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    let device = rows.into_iter().map(|row| {
        let odd = Error::Inconsistent { table: "devices", column: "platform", row: row.device_id };
        Ok(LoadedDevice {
            device: DeviceId(row.device_id),
            platform: Platform::from_code(row.platform).ok_or(odd)?,
            environment: Environment::from_code(row.environment),
            token: DeviceToken::stored(row.token),
            user: row.user_id.map(UserId::stored),
            quarantined: row.quarantined,
            registered_at: row.registered_at,
        })
    });
    device.collect()
}

/// Who was addressed as a user in these notifications, by device. One statement.
///
/// # Errors
/// The database's.
pub async fn users_of(
    conn: &mut PgConnection,
    notifications: &[NotificationId],
) -> Result<Vec<AddressedUser>, Error> {
    let ids: Vec<Uuid> = notifications.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"select notification_id, device_id, user_id as "user_id!"
           from targets where notification_id = any($1) and user_id is not null"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    let addressed = rows.into_iter().map(|row| AddressedUser {
        notification: NotificationId(row.notification_id),
        device: DeviceId(row.device_id),
        user: UserId::stored(row.user_id),
    });
    Ok(addressed.collect())
}
