//! Topics as a backend manages them: subscribing and unsubscribing devices and users, listing and deleting topics.

use std::time::Duration;

use tokio::time::Instant;

use super::subscriptions;
use crate::domain::{App, AppId, DeviceId, SubscriptionTerm, TopicName, UserId};
use crate::store;
use crate::store::SessionPool;
use crate::store::topics::{TopicId, TopicSize};

/// Subscriptions that one transaction of a deletion ends, so that it holds no lock for long: about 50 ms.
const END_MAX: i64 = 5_000;

/// A page of a list ends after this time, however few topics it has. A topic of 1,000,000 devices is counted in 20 to 80 ms.
const LIST_TIME_MAX: Duration = Duration::from_secs(1);
/// Topics that one statement counts.
const COUNTED_TOGETHER: usize = 8;

/// Part of a list of topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicListPage {
    /// In the order of their names.
    pub topics: Vec<TopicSize>,
    /// No topics follow.
    pub is_last: bool,
}

/// The devices and users of a request about one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subscribers {
    /// Devices of the app, some of which may be deleted.
    pub devices: Vec<DeviceId>,
    /// Users, known or not: a subscription holds for devices that are bound to the user later.
    pub users: Vec<UserId>,
}

/// The result of subscribing or unsubscribing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MembersChanged {
    /// Number of subscriptions that were added or ended.
    pub changed: u64,
    /// The devices of the request that exist, ascending.
    pub known: Vec<DeviceId>,
}

/// Number of subscriptions that the deletion of a topic ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubscriptionsEnded {
    /// Subscriptions of devices.
    pub devices: u64,
    /// Subscriptions of users.
    pub users: u64,
}

/// Why no subscription was added. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The app would have more topics than this limit.
    #[error("the app would have more than {0} topics")]
    TooManyTopics(u32),
    /// Postgres is out of reach or refused the statement.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Subscribes devices and users to a topic, which is created if it is missing, in one transaction. A repeat changes
/// nothing.
///
/// # Errors
/// See [`SubscribeError`].
pub async fn subscribe(
    pool: &SessionPool,
    app: &App,
    topic: &TopicName,
    members: Subscribers,
) -> Result<MembersChanged, SubscribeError> {
    let users = sorted(members.users);
    let mut transaction = store::begin(pool).await?;
    let known = store::devices::lock_ids(&mut transaction, app.id, &members.devices).await?;
    if known.is_empty() && users.is_empty() {
        return Ok(MembersChanged::default());
    }
    let topic = subscriptions::hold_or_create(&mut transaction, app, topic)
        .await?
        .ok_or(SubscribeError::TooManyTopics(app.topics_max))?;
    let mut changed = 0;
    if !known.is_empty() {
        let rows: Vec<_> = known.iter().map(|device| (topic, *device, SubscriptionTerm::Device)).collect();
        changed += store::topics::subscribe_all(&mut transaction, &rows).await?;
    }
    if !users.is_empty() {
        changed += store::topics::subscribe_users(&mut transaction, app.id, topic, &users).await?;
    }
    store::commits::commit(pool, transaction).await?;
    Ok(MembersChanged { changed, known })
}

/// Ends subscriptions of devices and users to a topic, in one transaction. The topic goes with its last subscriber. A
/// repeat changes nothing.
///
/// # Errors
/// Postgres is out of reach.
pub async fn unsubscribe(
    pool: &SessionPool,
    app: AppId,
    topic: &TopicName,
    members: Subscribers,
) -> Result<MembersChanged, store::Error> {
    let users = sorted(members.users);
    let mut transaction = store::begin(pool).await?;
    let known = store::devices::lock_ids(&mut transaction, app, &members.devices).await?;
    let Some(topic) = find(&mut transaction, app, topic).await? else {
        return Ok(MembersChanged { changed: 0, known });
    };
    let mut changed = 0;
    if !known.is_empty() {
        changed += store::topics::unsubscribe_devices(&mut transaction, topic, &known).await?;
    }
    if !users.is_empty() {
        changed += store::topics::unsubscribe_users(&mut transaction, topic, &users).await?;
    }
    subscriptions::purge(&mut transaction, app, &[topic]).await?;
    store::commits::commit(pool, transaction).await?;
    Ok(MembersChanged { changed, known })
}

/// Lists at most `limit` topics of an app after a name, with the numbers of their subscribers. The page is shorter if counting
/// takes long.
///
/// # Errors
/// Postgres is out of reach.
pub async fn list(
    pool: &SessionPool,
    app: AppId,
    after: &str,
    limit: usize,
) -> Result<TopicListPage, store::Error> {
    let begun = Instant::now();
    let mut conn = pool.acquire().await?;
    let mut topics: Vec<TopicSize> = Vec::new();
    loop {
        // One more than fits tells whether there is a next page.
        let wanted = (limit + 1 - topics.len()).min(COUNTED_TOGETHER);
        let after = topics.last().map_or(after, |topic| topic.name.as_str());
        let sizes =
            store::topics::sizes(&mut conn, app, after, i64::try_from(wanted).unwrap_or(i64::MAX)).await?;
        let is_last = sizes.len() < wanted;
        topics.extend(sizes);
        let has_more = topics.len() > limit;
        topics.truncate(limit);
        if has_more || is_last || begun.elapsed() >= LIST_TIME_MAX {
            return Ok(TopicListPage { topics, is_last: is_last && !has_more });
        }
    }
}

/// Ends every subscription to a topic, page by page, each in a short transaction. Subscriptions that are added meanwhile may
/// stay, and then the topic stays too. A failure leaves the rest; a repeat ends it.
///
/// # Errors
/// Postgres is out of reach. After `OutcomeUnknown` some may have ended.
pub async fn delete(
    pool: &SessionPool,
    app: AppId,
    topic: &TopicName,
) -> Result<SubscriptionsEnded, store::Error> {
    let mut ended = SubscriptionsEnded::default();
    match end_all(pool, app, topic, &mut ended).await {
        Ok(()) => Ok(ended),
        Err(error) if ended != SubscriptionsEnded::default() => Err(error.of_partial_work()),
        Err(error) => Err(error),
    }
}

/// As [`delete`]. `ended` is what was ended, also after an error.
async fn end_all(
    pool: &SessionPool,
    app: AppId,
    topic: &TopicName,
    ended: &mut SubscriptionsEnded,
) -> Result<(), store::Error> {
    let mut conn = pool.acquire().await?;
    let Some(topic) = find(&mut conn, app, topic).await? else { return Ok(()) };
    let mut after = DeviceId(0);
    loop {
        let page = store::topics::end_devices(&mut conn, topic, after, END_MAX).await?;
        ended.devices += page.ended;
        // One by one, because a statement that waits for a lock must hold none.
        for device in page.skipped {
            ended.devices += store::topics::unsubscribe_devices(&mut conn, topic, &[device]).await?;
        }
        let Some(last) = page.last else { break };
        after = last;
    }
    let mut after = String::new();
    loop {
        let page = store::topics::end_users(&mut conn, topic, &after, END_MAX).await?;
        ended.users += page.ended;
        for user in page.skipped {
            ended.users += store::topics::unsubscribe_users(&mut conn, topic, &[user]).await?;
        }
        let Some(last) = page.last else { break };
        after = last.as_str().to_owned();
    }
    drop(conn);
    let mut transaction = store::begin(pool).await?;
    subscriptions::purge(&mut transaction, app, &[topic]).await?;
    store::commits::commit(pool, transaction).await
}

async fn find(
    conn: &mut store::Session,
    app: AppId,
    topic: &TopicName,
) -> Result<Option<TopicId>, store::Error> {
    let found = store::topics::ids_of(conn, app, std::slice::from_ref(topic)).await?;
    Ok(found.first().copied())
}

/// In the order in which rows of users are locked.
fn sorted(mut users: Vec<UserId>) -> Vec<UserId> {
    users.sort_unstable();
    users.dedup();
    users
}
