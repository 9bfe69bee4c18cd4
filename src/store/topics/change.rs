//! Creates and deletes topics. A topic is created with its first subscriber and deleted with its last one.
//!
//! A transaction that creates or deletes topics locks the app's row and changes its `topic_count`. A transaction that
//! adds a subscription locks the topic's row (`for key share`), so that the topic is not deleted meanwhile. The order
//! of locks is: devices, existing topics, the app's row, new topics, subscriptions. A transaction that deletes topics
//! skips locked ones and waits for none, so no two transactions deadlock (docs/queue.md#lock-order).

use std::collections::HashMap;

use super::{TopicId, texts};
use crate::domain::{AppId, DeviceId, SubscriptionTerm, TopicName};
use crate::store::Error;
use crate::store::Session;

/// A device's subscription to a topic.
pub type Subscription<'a> = (DeviceId, &'a TopicName);

/// Locks the existing topics with these names, so that they are not deleted before the transaction ends. Returns their
/// numbers.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn hold(
    conn: &mut Session,
    app: AppId,
    names: &[TopicName],
) -> Result<HashMap<TopicName, TopicId>, Error> {
    let names = texts(names);
    let rows = sqlx::query!(
        "select name, topic_id from topics where app_id = $1 and name = any($2) for key share",
        app.0,
        &names
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (TopicName::stored(row.name), row.topic_id)).collect())
}

/// Locks the app's number of topics and returns it. Until the transaction ends, no other one creates or deletes topics
/// of the app.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn lock_count(conn: &mut Session, app: AppId) -> Result<u32, Error> {
    let count =
        sqlx::query_scalar!("select topic_count from apps where app_id = $1 for no key update", app.0)
            .fetch_one(conn)
            .await?;
    Ok(u32::try_from(count).unwrap_or_default())
}

/// As [`lock_count`], without waiting. False: another transaction has the lock.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn try_lock_count(conn: &mut Session, app: AppId) -> Result<bool, Error> {
    let locked = sqlx::query_scalar!(
        "select topic_count from apps where app_id = $1 for no key update skip locked",
        app.0
    );
    Ok(locked.fetch_optional(conn).await?.is_some())
}

/// Creates missing topics, once [`lock_count`] has locked their number. Returns the new ones.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn create(
    conn: &mut Session,
    app: AppId,
    names: &[TopicName],
) -> Result<HashMap<TopicName, TopicId>, Error> {
    let names = texts(names);
    let rows = sqlx::query!(
        "with made as (
           insert into topics (app_id, name) select $1, name from unnest($2::text[]) as n(name)
           on conflict (app_id, name) do nothing
           returning topic_id, name),
         counted as (
           update apps set topic_count = topic_count + (select count(*) from made) where app_id = $1)
         select topic_id, name from made",
        app.0,
        &names
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (TopicName::stored(row.name), row.topic_id)).collect())
}

/// Adds subscriptions to topics that the transaction has locked or created, of devices that it has locked or inserted. A
/// subscription that exists gets the new term. Returns how many are new or have another term.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn subscribe_all(
    conn: &mut Session,
    subscriptions: &[(TopicId, DeviceId, SubscriptionTerm)],
) -> Result<u64, Error> {
    let topics: Vec<i64> = subscriptions.iter().map(|(topic, ..)| *topic).collect();
    let devices: Vec<i64> = subscriptions.iter().map(|(_, device, _)| device.0).collect();
    let have =
        |of: SubscriptionTerm| subscriptions.iter().map(|(.., term)| *term == of).collect::<Vec<bool>>();
    let done = sqlx::query!(
        "insert into subscriptions as s (topic_id, device_id, is_bound, is_former)
         select * from unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::boolean[])
         on conflict (topic_id, device_id) do update set is_bound = excluded.is_bound, is_former = excluded.is_former
         where (s.is_bound, s.is_former) <> (excluded.is_bound, excluded.is_former)",
        &topics,
        &devices,
        &have(SubscriptionTerm::Binding),
        &have(SubscriptionTerm::Former)
    );
    Ok(done.execute(conn).await?.rows_affected())
}

/// Ends subscriptions of devices that the transaction has locked. Returns the topics.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn unsubscribe_all(
    conn: &mut Session,
    app: AppId,
    subscriptions: &[Subscription<'_>],
) -> Result<Vec<TopicId>, Error> {
    let names: Vec<String> = subscriptions.iter().map(|(_, name)| name.as_str().to_owned()).collect();
    let numbers =
        sqlx::query!("select name, topic_id from topics where app_id = $1 and name = any($2)", app.0, &names)
            .fetch_all(&mut *conn)
            .await?;
    let numbers: HashMap<String, i64> = numbers.into_iter().map(|row| (row.name, row.topic_id)).collect();
    let number = |(device, name): &Subscription<'_>| Some((*numbers.get(name.as_str())?, device.0));
    let (topics, devices): (Vec<i64>, Vec<i64>) = subscriptions.iter().filter_map(number).unzip();
    sqlx::query!(
        "delete from subscriptions s using unnest($1::bigint[], $2::bigint[]) as v(topic_id, device_id)
         where s.device_id = any($2) and s.device_id = v.device_id and s.topic_id = v.topic_id",
        &topics,
        &devices
    )
    .execute(conn)
    .await?;
    Ok(numbers.into_values().collect())
}

/// Those of these topics that have no subscriber at this moment.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn without_subscribers(conn: &mut Session, topics: &[TopicId]) -> Result<Vec<TopicId>, Error> {
    let found = sqlx::query_scalar!(
        "select topic_id from topics t
         where topic_id = any($1)
           and (select true from subscriptions s where s.topic_id = t.topic_id limit 1) is null
           and (select true from user_subscriptions u where u.topic_id = t.topic_id limit 1) is null",
        topics
    );
    Ok(found.fetch_all(conn).await?)
}

/// Deletes those of these topics that have no subscriber and are not locked, once the transaction has locked their
/// number. Returns how many.
///
/// Two statements: a topic may have got a subscriber by the time that it is locked, which only a new snapshot shows.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn purge(conn: &mut Session, app: AppId, topics: &[TopicId]) -> Result<u32, Error> {
    let locked = sqlx::query_scalar!(
        "select topic_id from topics where app_id = $2 and topic_id = any($1) for update skip locked",
        topics,
        app.0
    )
    .fetch_all(&mut *conn)
    .await?;
    let gone = sqlx::query_scalar!(
        r#"with gone as (
             delete from topics t
             where topic_id = any($1)
               and (select true from subscriptions s where s.topic_id = t.topic_id limit 1) is null
               and (select true from user_subscriptions u where u.topic_id = t.topic_id limit 1) is null
             returning topic_id),
           counted as (
             update apps set topic_count = topic_count - (select count(*) from gone) where app_id = $2)
           select count(*) as "count!" from gone"#,
        &locked,
        app.0
    )
    .fetch_one(conn)
    .await?;
    Ok(u32::try_from(gone).unwrap_or_default())
}

/// The next topics after `after`, at most `limit`. True beside a topic: it has no subscriber.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn page(
    conn: &mut Session,
    after: TopicId,
    limit: i64,
) -> Result<Vec<(AppId, TopicId, bool)>, Error> {
    let rows = sqlx::query!(
        r#"select app_id, topic_id,
                  (select true from subscriptions s where s.topic_id = t.topic_id limit 1) is null
                    and (select true from user_subscriptions u where u.topic_id = t.topic_id limit 1) is null as "empty!"
           from topics t where topic_id > $1 order by topic_id limit $2"#,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (AppId(row.app_id), row.topic_id, row.empty)).collect())
}
