//! Topics and the subscriptions of devices.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::Error;
use crate::domain::{AppId, DeviceId, TopicName};

/// The row numbers of the named topics that exist.
///
/// # Errors
/// The database's.
pub async fn ids_of(conn: &mut PgConnection, app: AppId, names: &[TopicName]) -> Result<Vec<i32>, Error> {
    let names = texts(names);
    let ids = sqlx::query_scalar!(
        "select topic_id from topics where app_id = $1 and name = any($2)",
        app.0,
        &names
    );
    Ok(ids.fetch_all(conn).await?)
}

/// The topics of each of these devices, by name. Who has none is missing.
///
/// # Errors
/// The database's.
pub async fn of_devices(
    conn: &mut PgConnection,
    ids: &[DeviceId],
) -> Result<HashMap<DeviceId, Vec<TopicName>>, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let rows = sqlx::query!(
        "select s.device_id, t.name from subscriptions s join topics t using (topic_id)
         where s.device_id = any($1) order by t.name collate \"C\"",
        &ids
    )
    .fetch_all(conn)
    .await?;
    let mut topics: HashMap<DeviceId, Vec<TopicName>> = HashMap::new();
    for row in rows {
        topics.entry(DeviceId(row.device_id)).or_default().push(TopicName::stored(row.name));
    }
    Ok(topics)
}

/// Subscribes a device to topics, beside those that it has.
///
/// # Errors
/// The database's.
pub async fn subscribe(
    conn: &mut PgConnection,
    app: AppId,
    device: DeviceId,
    names: &[TopicName],
) -> Result<(), Error> {
    let mut names = texts(names);
    names.sort_unstable();
    // What exists is not inserted in vain: each try would use up a number of a small identity column.
    sqlx::query!(
        "insert into topics (app_id, name)
         select $1, n.name from unnest($2::text[]) as n(name)
         where not exists (select from topics t where t.app_id = $1 and t.name = n.name)
         on conflict (app_id, name) do nothing",
        app.0,
        &names
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "insert into subscriptions (topic_id, device_id)
         select topic_id, $2 from topics where app_id = $1 and name = any($3) order by topic_id
         on conflict do nothing",
        app.0,
        device.0,
        &names
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a device's subscriptions but for the named ones; with `open_only`, those to closed topics stay too.
///
/// # Errors
/// The database's.
pub async fn unsubscribe_others(
    conn: &mut PgConnection,
    app: AppId,
    device: DeviceId,
    names: &[TopicName],
    open_only: bool,
) -> Result<(), Error> {
    let names = texts(names);
    sqlx::query!(
        "delete from subscriptions where device_id = $2 and topic_id in (
           select s.topic_id from subscriptions s join topics t using (topic_id)
           where s.device_id = $2 and t.app_id = $1 and not t.name = any($3)
             and not ($4 and strpos(t.name, ':') > 0))",
        app.0,
        device.0,
        &names,
        open_only
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn texts(names: &[TopicName]) -> Vec<String> {
    names.iter().map(|name| name.as_str().to_owned()).collect()
}
