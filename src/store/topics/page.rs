//! Reads subscribers for a page of a fan-out (docs/queue.md#pages-of-topics). What a statement reads is bounded by its
//! arguments, however many subscribers a topic has, unless its comment says otherwise.

use std::collections::HashMap;

use super::{TopicId, texts};
use crate::domain::{AppId, DeviceId, TopicName, UserId};
use crate::store::Error;
use crate::store::Session;

/// The first devices with a subscription of their own to a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirstSubscribers {
    /// The topic that they have.
    pub topic: TopicId,
    /// Ascending. Devices may be quarantined, or known from sends alone.
    pub devices: Vec<DeviceId>,
}

/// The row numbers of the named topics that exist, by their names.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn ids_by_name(
    conn: &mut Session,
    app: AppId,
    names: &[TopicName],
) -> Result<HashMap<TopicName, TopicId>, Error> {
    let names = texts(names);
    let rows =
        sqlx::query!("select name, topic_id from topics where app_id = $1 and name = any($2)", app.0, &names)
            .fetch_all(conn)
            .await?;
    Ok(rows.into_iter().map(|row| (TopicName::stored(row.name), row.topic_id)).collect())
}

/// Of each topic the first devices after `after` up to `last` that have a subscription of their own, at most `limit`.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn first_subscribers(
    conn: &mut Session,
    topics: &[TopicId],
    (after, last): (DeviceId, DeviceId),
    limit: i64,
) -> Result<Vec<FirstSubscribers>, Error> {
    let rows = sqlx::query!(
        r#"select t.topic_id as "topic_id!",
                  array(select device_id from subscriptions s
                        where s.topic_id = any(array[t.topic_id]) and device_id > $2 and device_id <= $3
                        order by s.topic_id, s.device_id limit $4) as "devices!"
           from unnest($1::bigint[]) as t(topic_id)"#,
        topics,
        after.0,
        last.0,
        limit
    )
    .fetch_all(conn)
    .await?;
    let first =
        rows.into_iter().map(|row| FirstSubscribers { topic: row.topic_id, devices: ids(row.devices) });
    Ok(first.collect())
}

/// The numbers of users that are subscribed to these topics, counted up to `limit` each. Topics without such a user are
/// missing.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn user_counts(
    conn: &mut Session,
    topics: &[TopicId],
    limit: i64,
) -> Result<HashMap<TopicId, usize>, Error> {
    let rows = sqlx::query!(
        r#"select topic_id as "topic_id!", users as "users!"
           from (select t.topic_id, (select count(*) from (
                   select from user_subscriptions u where u.topic_id = t.topic_id limit $2) s) as users
                 from unnest($1::bigint[]) as t(topic_id)) counted
           where users > 0"#,
        topics,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.topic_id, usize::try_from(row.users).unwrap_or_default())).collect())
}

/// The first devices after `after` up to `last` that are bound to a user with any of these topics, in id order. It takes a time that
/// grows with the number of such users.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn first_through_users(
    conn: &mut Session,
    app: AppId,
    topics: &[TopicId],
    (after, last): (DeviceId, DeviceId),
    limit: i64,
) -> Result<Vec<DeviceId>, Error> {
    let rows = sqlx::query_scalar!(
        "select device_id from devices
         where device_id = any(array(
           select device_id from devices
           where app_id = $1 and user_id = any(array(
             select user_id from user_subscriptions where topic_id = any($2)))))
           and device_id > $3 and device_id <= $4
         order by device_id limit $5",
        app.0,
        topics,
        after.0,
        last.0,
        limit
    );
    Ok(ids(rows.fetch_all(conn).await?))
}

/// Which of these topics each of these devices has by a subscription of its own. It takes a time that grows with all
/// subscriptions of the devices.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn topics_among(
    conn: &mut Session,
    devices: &[DeviceId],
    topics: &[TopicId],
) -> Result<Vec<(DeviceId, TopicId)>, Error> {
    let devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
    // `is true` keeps the planner from a join: topics are looked up in a hash table.
    let row = sqlx::query!(
        r#"select coalesce(array_agg(device_id), '{}') as "devices!", coalesce(array_agg(topic_id), '{}') as "topics!"
           from subscriptions
           where device_id = any($1) and (topic_id in (select unnest($2::bigint[]))) is true"#,
        &devices,
        topics
    )
    .fetch_one(conn)
    .await?;
    Ok(ids(row.devices).into_iter().zip(row.topics).collect())
}

/// Which of these topics each of these users has. It takes a time that grows with all subscriptions of the users.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn user_topics_among(
    conn: &mut Session,
    app: AppId,
    users: &[UserId],
    topics: &[TopicId],
) -> Result<Vec<(UserId, TopicId)>, Error> {
    let users: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    let row = sqlx::query!(
        r#"select coalesce(array_agg(user_id), '{}') as "users!", coalesce(array_agg(topic_id), '{}') as "topics!"
           from user_subscriptions
           where app_id = $1 and user_id = any($2) and (topic_id in (select unnest($3::bigint[]))) is true"#,
        app.0,
        &users,
        topics
    )
    .fetch_one(conn)
    .await?;
    Ok(row.users.into_iter().map(UserId::stored).zip(row.topics).collect())
}

fn ids(numbers: Vec<i64>) -> Vec<DeviceId> {
    numbers.into_iter().map(DeviceId).collect()
}
