//! Lists devices of an app, page by page in id order.
//!
//! There are three statements and not one with optional conditions, because one plan for all filters uses the index of
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

/// Number of subscriptions that are read at a time.
const CHUNK: i64 = 5_000;

/// One page of the devices of an app.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn list(
    conn: &mut Session,
    app: AppId,
    filter: &DeviceFilter,
    page: DevicePage,
) -> Result<Vec<Device>, Error> {
    let topics = match &filter.topics {
        Some(names) => Some(topics::ids_of(conn, app, names).await?),
        None => None,
    };
    let query = ListQuery { app, page, filter, platforms: platform_codes(filter), topics };
    let rows = match (&filter.users, &query.topics) {
        (Some(users), _) => of_users(conn, &query, users).await,
        (None, Some(topics)) => of_topics(conn, &query, topics).await,
        (None, None) => of_app(conn, &query).await,
    };
    rows?.into_iter().map(|row| Device::from_row(row, conn.platforms())).collect()
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

/// Reads chunks of subscriptions, because their index has the order of the list. So a rare topic does not read all
/// devices of the app, and a page of a large topic does not read all of its subscribers.
async fn of_topics(
    conn: &mut Session,
    query: &ListQuery<'_>,
    topics: &[i64],
) -> Result<Vec<DeviceRow>, Error> {
    let wanted = usize::try_from(query.page.limit).unwrap_or_default();
    let mut found = Vec::new();
    let mut after = query.page.after;
    while found.len() < wanted {
        let chunk = topics::subscribers(conn, query.app, topics, after, CHUNK).await?;
        let Some(last) = chunk.last() else { break };
        after = *last;
        let ids: Vec<i64> = chunk.iter().map(|device| device.0).collect();
        let rows = devices_where!(
            "app_id = $1 and device_id = any($2)
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
        found.extend(rows.fetch_all(&mut *conn).await?);
    }
    found.truncate(wanted);
    Ok(found)
}

async fn of_app(conn: &mut Session, query: &ListQuery<'_>) -> Result<Vec<DeviceRow>, Error> {
    devices_where!(
        "app_id = $1 and app_id > 0 and device_id > $2
           and ($3::smallint[] is null or platform = any($3))
           and ($4::boolean is null or (quarantined_at is not null) = $4)
           and ($5::timestamptz is null or coalesce(registered_at, created_at) < $5)
           and ($6::timestamptz is null or quarantined_at > $6)
         order by device_id limit $7",
        query.app.0,
        query.page.after.0,
        query.platforms.as_deref(),
        query.filter.quarantined,
        query.filter.registered_before,
        query.filter.quarantined_after,
        query.page.limit
    )
    .fetch_all(conn)
    .await
    .map_err(Error::from)
}
