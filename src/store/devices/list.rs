//! Lists devices of an app, page by page in id order. What a call reads is bounded, however few devices a filter lets pass.
//!
//! There are several statements and not one with optional conditions, because one plan for all filters uses the index of
//! none.

use chrono::{DateTime, Utc};

use super::Device;
use super::row::{DeviceRow, devices_where};
use crate::domain::{AppId, DeviceId, Platform, TopicName, UserId};
use crate::store::Session;
use crate::store::{Error, topics};

/// Which devices of an app are listed. A filter that is None lets all pass; several values of one filter mean any of
/// them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceFilter {
    /// Devices of any of these users.
    pub users: Option<Vec<UserId>>,
    /// Devices subscribed to any of these topics, themselves or through their user.
    pub topics: Option<Vec<TopicName>>,
    /// Devices of any of these providers.
    pub platforms: Option<Vec<Platform>>,
    /// True: only quarantined devices; false: only the others.
    pub quarantined: Option<bool>,
    /// Devices last registered before this time; if never registered, created before it.
    pub registered_before: Option<DateTime<Utc>>,
    /// Devices quarantined after this time.
    pub quarantined_after: Option<DateTime<Utc>>,
}

/// Which page of a list is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DevicePage {
    /// The last device of the page before; 0 at the start.
    pub after: DeviceId,
    /// Most devices of the page.
    pub limit: i64,
}

/// Part of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedDevices {
    /// In id order, at most as many as asked for.
    pub devices: Vec<Device>,
    /// If there are fewer: all devices up to this one were looked at. None: all of the list.
    pub reached: Option<DeviceId>,
}

/// Subscriptions that a call reads.
const SUBSCRIPTIONS_MAX: i64 = 5_000;
/// Devices that a call looks at, where no index leads to those that the filter lets pass. That takes Postgres 3 ms, and up to 140 ms
/// where the topics of each device are asked for (both measured on a busy machine).
const SEEN_MAX: i64 = 20_000;
/// With more subscribed users, the devices of a topic are not looked up by its users.
const USERS_MAX: i64 = 2_000;

/// The next devices of an app after `page.after` that the filter lets pass, as far as a bounded number of devices leads.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn list(
    conn: &mut Session,
    app: AppId,
    filter: &DeviceFilter,
    page: DevicePage,
) -> Result<ListedDevices, Error> {
    let topics = match &filter.topics {
        Some(names) => Some(topics::ids_of(conn, app, names).await?),
        None => None,
    };
    let query = ListQuery { app, page, filter, platforms: platform_codes(filter), topics };
    let (rows, reached) = match (&filter.users, &query.topics) {
        (Some(users), _) => (of_users(conn, &query, users).await?, None),
        (None, Some(topics)) if has_few_users(conn, topics).await? => of_topics(conn, &query, topics).await?,
        (None, None) if *filter == DeviceFilter::default() => (of_app(conn, &query).await?, None),
        (None, _) => of_range(conn, &query).await?,
    };
    let devices: Result<Vec<Device>, Error> =
        rows.into_iter().map(|row| Device::from_row(row, conn.platforms())).collect();
    Ok(ListedDevices { devices: devices?, reached })
}

async fn has_few_users(conn: &mut Session, topics: &[i64]) -> Result<bool, Error> {
    let counts = topics::user_counts(conn, topics, USERS_MAX + 1).await?;
    Ok(counts.values().sum::<usize>() <= usize::try_from(USERS_MAX).unwrap_or_default())
}

/// A page of a list, with its filter as the columns store it.
struct ListQuery<'a> {
    app: AppId,
    page: DevicePage,
    filter: &'a DeviceFilter,
    platforms: Option<Vec<i16>>,
    topics: Option<Vec<i64>>,
}

fn platform_codes(filter: &DeviceFilter) -> Option<Vec<i16>> {
    filter.platforms.as_ref().map(|some| some.iter().map(|platform| platform.code()).collect())
}

async fn of_users(
    conn: &mut Session,
    query: &ListQuery<'_>,
    users: &[UserId],
) -> Result<Vec<DeviceRow>, Error> {
    let users: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    devices_where!(
        "device_id = any(array(select device_id from devices where app_id = $1 and user_id = any($8)))
           and device_id > $2
           and ($3::smallint[] is null or platform = any($3))
           and ($4::boolean is null or (quarantined_at is not null) = $4)
           and ($5::timestamptz is null or coalesce(registered_at, created_at) < $5)
           and ($6::timestamptz is null or quarantined_at > $6)
           and ($9::bigint[] is null
             or exists (
               select from subscriptions s where s.device_id = devices.device_id and s.topic_id = any($9))
             or exists (
               select from user_subscriptions u where u.user_id = devices.user_id and u.topic_id = any($9)))
         order by device_id limit $7",
        query.app.0,
        query.page.after.0,
        query.platforms.as_deref(),
        query.filter.quarantined,
        query.filter.registered_before,
        query.filter.quarantined_after,
        query.page.limit,
        &users,
        query.topics.as_deref()
    )
    .fetch_all(conn)
    .await
    .map_err(Error::from)
}

/// Reads subscriptions, because their index has the order of the list. So a rare topic does not read all devices of the app, and
/// a page of a large topic does not read all of its subscribers.
async fn of_topics(
    conn: &mut Session,
    query: &ListQuery<'_>,
    topics: &[i64],
) -> Result<(Vec<DeviceRow>, Option<DeviceId>), Error> {
    let after = query.page.after;
    let subscribed = topics::subscribers(conn, query.app, topics, after, SUBSCRIPTIONS_MAX).await?;
    let is_last = i64::try_from(subscribed.len()).is_ok_and(|count| count < SUBSCRIPTIONS_MAX);
    let reached = subscribed.last().copied().filter(|_| !is_last);
    let ids: Vec<i64> = subscribed.iter().map(|device| device.0).collect();
    let rows = devices_where!(
        "app_id + 0::smallint = $1 and device_id = any($2)
           and ($3::smallint[] is null or platform = any($3))
           and ($4::boolean is null or (quarantined_at is not null) = $4)
           and ($5::timestamptz is null or coalesce(registered_at, created_at) < $5)
           and ($6::timestamptz is null or quarantined_at > $6)
         order by device_id limit $7",
        query.app.0,
        &ids,
        query.platforms.as_deref(),
        query.filter.quarantined,
        query.filter.registered_before,
        query.filter.quarantined_after,
        query.page.limit
    );
    Ok((rows.fetch_all(conn).await?, reached))
}

/// Looks at the next devices of the app, whatever the filter lets pass of them.
async fn of_range(
    conn: &mut Session,
    query: &ListQuery<'_>,
) -> Result<(Vec<DeviceRow>, Option<DeviceId>), Error> {
    let reached = sqlx::query_scalar!(
        "select device_id from devices where app_id = $1 and app_id > 0 and device_id > $2
         order by device_id offset $3 limit 1",
        query.app.0,
        query.page.after.0,
        SEEN_MAX - 1
    )
    .fetch_optional(&mut *conn)
    .await?;
    // A scalar subquery is asked for each device. `exists` may read all subscriptions of the topics beforehand.
    let rows = devices_where!(
        "app_id = $1 and app_id > 0 and device_id > $2 and device_id <= $8
           and ($3::smallint[] is null or platform = any($3))
           and ($4::boolean is null or (quarantined_at is not null) = $4)
           and ($5::timestamptz is null or coalesce(registered_at, created_at) < $5)
           and ($6::timestamptz is null or quarantined_at > $6)
           and ($9::bigint[] is null
             or (select true from subscriptions s
                 where s.device_id = devices.device_id and s.topic_id = any($9) limit 1)
             or (select true from user_subscriptions u
                 where u.user_id = devices.user_id and u.topic_id = any($9) limit 1))
         order by device_id limit $7",
        query.app.0,
        query.page.after.0,
        query.platforms.as_deref(),
        query.filter.quarantined,
        query.filter.registered_before,
        query.filter.quarantined_after,
        query.page.limit,
        reached.unwrap_or(i64::MAX),
        query.topics.as_deref()
    );
    Ok((rows.fetch_all(conn).await?, reached.map(DeviceId)))
}

async fn of_app(conn: &mut Session, query: &ListQuery<'_>) -> Result<Vec<DeviceRow>, Error> {
    devices_where!(
        "app_id = $1 and app_id > 0 and device_id > $2 order by device_id limit $3",
        query.app.0,
        query.page.after.0,
        query.page.limit
    )
    .fetch_all(conn)
    .await
    .map_err(Error::from)
}
