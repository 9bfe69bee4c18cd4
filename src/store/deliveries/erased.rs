//! Hides erased users and devices in deliveries: a delivery keeps its status, platform and time.

use std::collections::HashSet;

use super::Delivery;
use crate::domain::{AppId, DeviceId, NotificationId, References, UserId};
use crate::store::{Error, Session, erasures};

/// Hides what was erased in deliveries of one notification of the app.
pub(super) async fn hide(
    conn: &mut Session,
    app: AppId,
    id: NotificationId,
    items: &mut [Delivery],
) -> Result<(), Error> {
    let devices: Vec<i64> = items.iter().map(|item| item.device.0).collect();
    let erased: HashSet<i64> = erased_devices(conn, &devices).await?.into_iter().collect();
    let users: HashSet<&str> =
        items.iter().filter_map(|item| item.user.as_ref()).map(UserId::as_str).collect();
    let users: Vec<String> = users.into_iter().map(str::to_owned).collect();
    let hidden = hidden_users(conn, app, id, &users).await?;
    for item in items {
        let is_hidden = item.user.as_ref().is_some_and(|user| hidden.contains(user.as_str()));
        if is_hidden || erased.contains(&item.device.0) {
            item.erase();
        }
    }
    Ok(())
}

/// Removes erased devices, so that a filter finds nothing by them.
pub(super) async fn without_erased(
    conn: &mut Session,
    devices: Vec<DeviceId>,
) -> Result<Vec<DeviceId>, Error> {
    let ids: Vec<i64> = devices.iter().map(|device| device.0).collect();
    let erased: HashSet<i64> = erased_devices(conn, &ids).await?.into_iter().collect();
    Ok(devices.into_iter().filter(|device| !erased.contains(&device.0)).collect())
}

/// Removes users that are hidden in the notification, so that a filter finds nothing by them.
pub(super) async fn without_hidden(
    conn: &mut Session,
    app: AppId,
    id: NotificationId,
    users: &[UserId],
) -> Result<Vec<UserId>, Error> {
    let names: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    let hidden = hidden_users(conn, app, id, &names).await?;
    Ok(users.iter().filter(|user| !hidden.contains(user.as_str())).cloned().collect())
}

/// Hides erased users in the timeline of a device.
pub(super) async fn hide_users(
    conn: &mut Session,
    app: AppId,
    found: &mut [(NotificationId, Delivery)],
) -> Result<(), Error> {
    let named = found.iter().filter_map(|(id, delivery)| Some((*id, delivery.user.clone()?))).collect();
    let hidden = erasures::erased_among(conn, app, named).await?;
    for (id, delivery) in found {
        if delivery.user.as_ref().is_some_and(|user| hidden.contains(&(*id, user.clone()))) {
            delivery.erase();
        }
    }
    Ok(())
}

impl Delivery {
    pub(super) fn erase(&mut self) {
        self.is_erased = true;
        self.user = None;
        self.references = References::default();
        self.provider_id = None;
    }
}

pub(super) async fn erased_devices(conn: &mut Session, ids: &[i64]) -> Result<Vec<i64>, Error> {
    let erased = sqlx::query_scalar!("select device_id from erased_devices where device_id = any($1)", ids);
    Ok(erased.fetch_all(conn).await?)
}

/// Those of these devices that were erased after this notification was accepted. Without an erasure since, no device is looked for.
pub(super) async fn erased_since(
    conn: &mut Session,
    ids: &[i64],
    accepted: NotificationId,
) -> Result<Vec<i64>, Error> {
    // An hour: an erasure that was still under way when the notification was accepted has an earlier time.
    let erased = sqlx::query_scalar!(
        "select device_id from erased_devices
         where exists (select from erased_devices where erased_at >= $2::timestamptz - interval '1 hour') and device_id = any($1)",
        ids,
        accepted.at()
    );
    Ok(erased.fetch_all(conn).await?)
}

/// Those of these users that were erased after the notification was accepted.
async fn hidden_users(
    conn: &mut Session,
    app: AppId,
    id: NotificationId,
    users: &[String],
) -> Result<HashSet<String>, Error> {
    if users.is_empty() {
        return Ok(HashSet::new());
    }
    let hidden = sqlx::query_scalar!(
        r#"select u.user_id as "user!"
           from unnest($2::text[]) as u(user_id)
           cross join lateral (
             select erased_at from erased_users e
             where e.app_id = $3 and e.user_digest = user_digest($3, u.user_id) offset 0) erased
           where $1 < id_floor(erased_at + interval '1 ms')"#,
        id.0,
        users,
        app.0
    );
    Ok(hidden.fetch_all(conn).await?.into_iter().collect())
}
