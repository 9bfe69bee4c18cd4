//! The subscribers of one topic: adding, removing and counting them.
//!
//! A transaction that changes subscriptions of devices has locked the devices, and locks subscriptions of users in the
//! order of their ids. The statements that end all subscriptions of a topic skip rows that others have locked, so that they
//! wait for none while they hold locks (docs/queue.md#lock-order).

use std::collections::HashMap;

use super::TopicId;
use crate::domain::{AppId, DeviceId, TopicName, UserId};
use crate::store::Error;
use crate::store::Session;

/// A topic with the numbers of its subscribers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicSize {
    /// The name of the topic.
    pub name: TopicName,
    /// Number of devices with a subscription of their own.
    pub devices: u64,
    /// Number of users with a subscription.
    pub users: u64,
}

/// A part of the subscriptions of a topic, after an attempt to end them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndedPage<T> {
    /// Number of subscriptions that were ended.
    pub ended: u64,
    /// Subscribers that were skipped, because another transaction had locked their rows.
    pub skipped: Vec<T>,
    /// The last subscriber of the page. None: there is none after the page before.
    pub last: Option<T>,
}

/// Subscribes users to a topic that the transaction has locked or created. The users ascend. Returns how many were no
/// subscribers before.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn subscribe_users(
    conn: &mut Session,
    app: AppId,
    topic: TopicId,
    users: &[UserId],
) -> Result<u64, Error> {
    let users = user_texts(users);
    let done = sqlx::query!(
        "insert into user_subscriptions (topic_id, app_id, user_id)
         select $1, $2, user_id from unnest($3::text[]) as u(user_id) on conflict do nothing",
        topic,
        app.0,
        &users
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// Ends the subscriptions of users to a topic. Returns how many there were.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn unsubscribe_users(conn: &mut Session, topic: TopicId, users: &[UserId]) -> Result<u64, Error> {
    let users = user_texts(users);
    let done = sqlx::query!(
        "with locked as materialized (
           select user_id from user_subscriptions where topic_id = $1 and user_id = any($2)
           order by user_id collate \"C\" for update)
         delete from user_subscriptions
         where topic_id = $1 and user_id = any(array(select user_id from locked))",
        topic,
        &users
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// Ends the subscriptions to a topic of devices that the transaction has locked. Returns how many there were.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn unsubscribe_devices(
    conn: &mut Session,
    topic: TopicId,
    devices: &[DeviceId],
) -> Result<u64, Error> {
    let ids: Vec<i64> = devices.iter().map(|device| device.0).collect();
    let done =
        sqlx::query!("delete from subscriptions where topic_id = $1 and device_id = any($2)", topic, &ids);
    Ok(done.execute(conn).await?.rows_affected())
}

/// The topics of each of these users, in the order of their names. A user without topics is missing.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn of_users(
    conn: &mut Session,
    app: AppId,
    users: &[UserId],
) -> Result<HashMap<UserId, Vec<TopicName>>, Error> {
    let users = user_texts(users);
    let rows = sqlx::query!(
        "select s.user_id, t.name from user_subscriptions s join topics t using (topic_id)
         where s.app_id = $1 and s.user_id = any($2) order by t.name collate \"C\"",
        app.0,
        &users
    )
    .fetch_all(conn)
    .await?;
    let mut topics: HashMap<UserId, Vec<TopicName>> = HashMap::new();
    for row in rows {
        topics.entry(UserId::stored(row.user_id)).or_default().push(TopicName::stored(row.name));
    }
    Ok(topics)
}

/// The next topics of an app after a name, at most `limit`, in the order of the index of names. A topic without
/// subscribers, which maintenance is about to delete, is left out.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn sizes(conn: &mut Session, app: AppId, after: &str, limit: i64) -> Result<Vec<TopicSize>, Error> {
    let rows = sqlx::query!(
        r#"with page as materialized (
             select topic_id, name from topics t
             where app_id = $1 and name > $2
               and ((select true from subscriptions s where s.topic_id = t.topic_id limit 1) is not null
                    or (select true from user_subscriptions u where u.topic_id = t.topic_id limit 1) is not null)
             order by name limit $3)
           select name,
                  (select count(*) from subscriptions s where s.topic_id = p.topic_id) as "devices!",
                  (select count(*) from user_subscriptions u where u.topic_id = p.topic_id) as "users!"
           from page p order by name"#,
        app.0,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    let sizes = rows.into_iter().map(|row| TopicSize {
        name: TopicName::stored(row.name),
        devices: row.devices.cast_unsigned(),
        users: row.users.cast_unsigned(),
    });
    Ok(sizes.collect())
}

/// Ends the subscriptions of the next `limit` devices after `after`, except locked ones.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn end_devices(
    conn: &mut Session,
    topic: TopicId,
    after: DeviceId,
    limit: i64,
) -> Result<EndedPage<DeviceId>, Error> {
    let row = sqlx::query!(
        r#"with page as materialized (
             select device_id from subscriptions where topic_id = any(array[$1::bigint]) and device_id > $2
             order by topic_id, device_id limit $3),
           locked as materialized (
             select device_id from subscriptions
             where topic_id = $1 and device_id = any(array(select device_id from page)) for update skip locked),
           ended as (
             delete from subscriptions
             where topic_id = $1 and device_id = any(array(select device_id from locked)) returning device_id)
           select (select count(*) from ended) as "ended!", (select max(device_id) from page) as last,
                  array(select device_id from page except select device_id from locked) as "skipped!""#,
        topic,
        after.0,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(EndedPage {
        ended: row.ended.cast_unsigned(),
        skipped: row.skipped.into_iter().map(DeviceId).collect(),
        last: row.last.map(DeviceId),
    })
}

/// As [`end_devices`], for users after an id in the order of the index.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn end_users(
    conn: &mut Session,
    topic: TopicId,
    after: &str,
    limit: i64,
) -> Result<EndedPage<UserId>, Error> {
    let row = sqlx::query!(
        r#"with page as materialized (
             select user_id from user_subscriptions where topic_id = $1 and user_id > $2 order by user_id limit $3),
           locked as materialized (
             select user_id from user_subscriptions
             where topic_id = $1 and user_id = any(array(select user_id from page)) for update skip locked),
           ended as (
             delete from user_subscriptions
             where topic_id = $1 and user_id = any(array(select user_id from locked)) returning user_id)
           select (select count(*) from ended) as "ended!", (select max(user_id) from page) as last,
                  array(select user_id from page except select user_id from locked) as "skipped!""#,
        topic,
        after,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(EndedPage {
        ended: row.ended.cast_unsigned(),
        skipped: row.skipped.into_iter().map(UserId::stored).collect(),
        last: row.last.map(UserId::stored),
    })
}

fn user_texts(users: &[UserId]) -> Vec<String> {
    users.iter().map(|user| user.as_str().to_owned()).collect()
}
