//! Lists of devices, page by page in id order.
//!
//! Three statements, not one with optional conditions: a plan for every filter uses the index of none.

use chrono::{DateTime, Utc};

use super::Device;
use super::row::{DeviceRow, devices_where};
use crate::domain::{AppId, DeviceId, Platform, TopicName, UserId};
use crate::store::Session;
use crate::store::{Error, topics};

/// Which devices. What is none does not narrow; several values of one filter mean either.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceFilter {
    /// Those of these users.
    pub users: Option<Vec<UserId>>,
    /// Those subscribed to any of these.
    pub topics: Option<Vec<TopicName>>,
    /// Those of these services.
    pub platforms: Option<Vec<Platform>>,
    /// Those that are set aside, or those that are not.
    pub quarantined: Option<bool>,
    /// Those last registered (if ever, else known) before this.
    pub registered_before: Option<DateTime<Utc>>,
    /// Those set aside after this.
    pub quarantined_after: Option<DateTime<Utc>>,
}

/// The part of a list that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DevicePage {
    /// The last device of the page before; 0 at the start.
    pub after: DeviceId,
    /// Most devices.
    pub limit: i64,
}

/// How many subscribers are looked at in one go.
const CHUNK: i64 = 5_000;

/// One page of the devices of an app.
///
/// # Errors
/// The database's.
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
    let query = Query { app, page, filter, platforms: platform_codes(filter), topics };
    let rows = match (&filter.users, &query.topics) {
        (Some(users), _) => of_users(conn, &query, users).await,
        (None, Some(topics)) => of_topics(conn, &query, topics).await,
        (None, None) => of_app(conn, &query).await,
    };
    rows?.into_iter().map(Device::try_from).collect()
}

/// A filter as its columns hold it.
struct Query<'a> {
    app: AppId,
    page: DevicePage,
    filter: &'a DeviceFilter,
    platforms: Option<Vec<i16>>,
    topics: Option<Vec<i64>>,
}

fn platform_codes(filter: &DeviceFilter) -> Option<Vec<i16>> {
    filter.platforms.as_ref().map(|some| some.iter().map(|platform| platform.code()).collect())
}

async fn of_users(conn: &mut Session, query: &Query<'_>, users: &[UserId]) -> Result<Vec<DeviceRow>, Error> {
    let users: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    devices_where!(
        "device_id = any(array(select device_id from devices where app_id = $1 and user_id = any($8)))
           and device_id > $2
           and ($3::smallint[] is null or platform = any($3))
           and ($4::boolean is null or (quarantined_at is not null) = $4)
           and ($5::timestamptz is null or coalesce(registered_at, created_at) < $5)
           and ($6::timestamptz is null or quarantined_at > $6)
           and ($9::bigint[] is null or exists (
             select from subscriptions s where s.device_id = devices.device_id and s.topic_id = any($9)))
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

/// In chunks along the subscriptions, whose index has the order of the list: neither a rare topic reads the whole app
/// nor a page of a large one all of its subscribers.
async fn of_topics(conn: &mut Session, query: &Query<'_>, topics: &[i64]) -> Result<Vec<DeviceRow>, Error> {
    let wanted = usize::try_from(query.page.limit).unwrap_or_default();
    let mut found = Vec::new();
    let mut after = query.page.after;
    while found.len() < wanted {
        let chunk = topics::subscribers(conn, topics, after, CHUNK).await?;
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

async fn of_app(conn: &mut Session, query: &Query<'_>) -> Result<Vec<DeviceRow>, Error> {
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
