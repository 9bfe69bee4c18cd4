//! Topics and the subscriptions of devices to them.
//!
//! Where a statement reads the subscribers of a topic in the order of their ids, `any(array[…])` around the topic and the topic in `order by`
//! keep the planner from the index of devices. A plan that is made while the table is small would use that index and later read the
//! subscriptions of all those devices to all topics (docs/queue.md#stable-plans).

mod change;
mod members;
mod page;

use std::collections::HashMap;

use chrono::{DateTime, Utc};

pub use self::change::{
    Subscription, create, hold, lock_count, page, purge, subscribe_all, try_lock_count, unsubscribe_all,
    without_subscribers,
};
pub use self::members::{
    EndedPage, TopicSize, end_devices, end_users, of_users, sizes, subscribe_users, unsubscribe_devices,
    unsubscribe_users,
};
pub use self::page::{
    FirstSubscribers, first_subscribers, first_through_users, ids_by_name, topics_among, user_counts,
    user_topics_among,
};
use super::Error;
use crate::domain::{AppId, DeviceId, SubscriptionTerm, TopicName};
use crate::store::Session;

/// The number of a topic's row.
pub type TopicId = i64;

/// The row numbers of the named topics that exist.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn ids_of(conn: &mut Session, app: AppId, names: &[TopicName]) -> Result<Vec<TopicId>, Error> {
    let names = texts(names);
    let ids = sqlx::query_scalar!(
        "select topic_id from topics where app_id = $1 and name = any($2)",
        app.0,
        &names
    );
    Ok(ids.fetch_all(conn).await?)
}

/// How many topics an app has, and which, at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicUsage {
    /// The time of the statement, by Postgres's clock.
    pub at: DateTime<Utc>,
    /// Number of topics. 0 for an app that the database does not know yet.
    pub count: u32,
    /// Those of the names asked for that exist.
    pub existing: Vec<TopicName>,
}

/// Reads the number of topics of an app, and which of these names exist. Locks nothing.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn usage(conn: &mut Session, app: &str, names: &[TopicName]) -> Result<TopicUsage, Error> {
    let names = texts(names);
    let row = sqlx::query!(
        r#"select now() as "at!", (select topic_count from apps where name = $1) as count,
                  array(select t.name from topics t
                        where app_id = (select app_id from apps where name = $1) and t.name = any($2)) as "existing!""#,
        app,
        &names
    )
    .fetch_one(conn)
    .await?;
    Ok(TopicUsage {
        at: row.at,
        count: u32::try_from(row.count.unwrap_or_default()).unwrap_or_default(),
        existing: row.existing.into_iter().map(TopicName::stored).collect(),
    })
}

/// A topic of a device, and how long the device's subscription lasts.
pub type SubscribedTopic = (TopicName, SubscriptionTerm);

/// The topics of each of these devices, in the order of their names. A device without topics is missing.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn of_devices(
    conn: &mut Session,
    ids: &[DeviceId],
) -> Result<HashMap<DeviceId, Vec<SubscribedTopic>>, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let rows = sqlx::query!(
        "select s.device_id, s.is_bound, s.is_former, t.name from subscriptions s join topics t using (topic_id)
         where s.device_id = any($1) order by t.name collate \"C\"",
        &ids
    )
    .fetch_all(conn)
    .await?;
    let mut topics: HashMap<DeviceId, Vec<SubscribedTopic>> = HashMap::new();
    for row in rows {
        let term = match (row.is_bound, row.is_former) {
            (true, _) => SubscriptionTerm::Binding,
            (false, true) => SubscriptionTerm::Former,
            (false, false) => SubscriptionTerm::Device,
        };
        topics.entry(DeviceId(row.device_id)).or_default().push((TopicName::stored(row.name), term));
    }
    Ok(topics)
}

/// The first devices after the given one that have any of these topics, by a subscription of their own or of their user, in
/// id order.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn subscribers(
    conn: &mut Session,
    app: AppId,
    topics: &[TopicId],
    after: DeviceId,
    limit: i64,
) -> Result<Vec<DeviceId>, Error> {
    let own = sqlx::query_scalar!(
        "select distinct s.device_id
         from unnest($1::bigint[]) as t(topic_id)
         cross join lateral (
           select device_id from subscriptions
           where topic_id = any(array[t.topic_id]) and device_id > $2 order by topic_id, device_id limit $3) s
         order by s.device_id limit $3",
        topics,
        after.0,
        limit
    );
    let mut ids = own.fetch_all(&mut *conn).await?;
    let through_users = first_through_users(conn, app, topics, (after, DeviceId(i64::MAX)), limit).await?;
    ids.extend(through_users.into_iter().map(|device| device.0));
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(usize::try_from(limit).unwrap_or_default());
    Ok(ids.into_iter().map(DeviceId).collect())
}

fn texts(names: &[TopicName]) -> Vec<String> {
    names.iter().map(|name| name.as_str().to_owned()).collect()
}
