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

/// The first devices after the given one that are subscribed to any of these topics, in id order.
///
/// # Errors
/// The database's.
pub async fn subscribers(
    conn: &mut PgConnection,
    topics: &[i32],
    after: DeviceId,
    limit: i64,
) -> Result<Vec<DeviceId>, Error> {
    let ids = sqlx::query_scalar!(
        "select distinct s.device_id
         from unnest($1::int[]) as t(topic_id)
         cross join lateral (
           select device_id from subscriptions
           where topic_id = t.topic_id and device_id > $2 order by device_id limit $3) s
         order by s.device_id limit $3",
        topics,
        after.0,
        limit
    );
    Ok(ids.fetch_all(conn).await?.into_iter().map(DeviceId).collect())
}

/// A device's subscription to a topic.
pub type Subscription<'a> = (DeviceId, &'a TopicName);

/// Adds subscriptions, of devices that the transaction has locked or made.
///
/// # Errors
/// The database's.
pub async fn subscribe_all(
    conn: &mut PgConnection,
    app: AppId,
    subscriptions: &[Subscription<'_>],
) -> Result<(), Error> {
    let mut names: Vec<String> = subscriptions.iter().map(|(_, name)| name.as_str().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    make(conn, app, &names).await?;
    let numbers = numbers_of(conn, app, &names).await?;
    let (topics, devices) = numbered(subscriptions, &numbers);
    sqlx::query!(
        "insert into subscriptions (topic_id, device_id)
         select * from unnest($1::int[], $2::bigint[]) on conflict do nothing",
        &topics,
        &devices
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends subscriptions, of devices that the transaction has locked.
///
/// # Errors
/// The database's.
pub async fn unsubscribe_all(
    conn: &mut PgConnection,
    app: AppId,
    subscriptions: &[Subscription<'_>],
) -> Result<(), Error> {
    let names: Vec<String> = subscriptions.iter().map(|(_, name)| name.as_str().to_owned()).collect();
    let numbers = numbers_of(conn, app, &names).await?;
    let (topics, devices) = numbered(subscriptions, &numbers);
    sqlx::query!(
        "delete from subscriptions s using unnest($1::int[], $2::bigint[]) as v(topic_id, device_id)
         where s.device_id = any($2) and s.device_id = v.device_id and s.topic_id = v.topic_id",
        &topics,
        &devices
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes the topics of these sorted names that do not exist. What exists is not inserted in vain: each try would use up a
/// number of a small identity column.
async fn make(conn: &mut PgConnection, app: AppId, names: &[String]) -> Result<(), Error> {
    sqlx::query!(
        "insert into topics (app_id, name)
         select $1, n.name from unnest($2::text[]) as n(name)
         where not exists (select from topics t where t.app_id = $1 and t.name = n.name)
         order by n.name collate \"C\"
         on conflict (app_id, name) do nothing",
        app.0,
        names
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn numbers_of(
    conn: &mut PgConnection,
    app: AppId,
    names: &[String],
) -> Result<HashMap<String, i32>, Error> {
    let rows =
        sqlx::query!("select name, topic_id from topics where app_id = $1 and name = any($2)", app.0, names)
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.topic_id)).collect())
}

/// Columns of the subscriptions to topics that there are.
fn numbered(subscriptions: &[Subscription<'_>], numbers: &HashMap<String, i32>) -> (Vec<i32>, Vec<i64>) {
    let number = |(device, name): &Subscription<'_>| Some((*numbers.get(name.as_str())?, device.0));
    subscriptions.iter().filter_map(number).unzip()
}

fn texts(names: &[TopicName]) -> Vec<String> {
    names.iter().map(|name| name.as_str().to_owned()).collect()
}
