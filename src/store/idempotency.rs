//! Idempotency keys of accepted requests. [`super::accept`] stores them, in the statement that stores the notification.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::Error;
use crate::domain::{AppId, IdempotencyKey, NotificationId, RequestDigest};
use crate::store::Session;

/// What the answer to an accepted request says besides the id. Repeats of the request get the same answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoredAcceptance {
    /// The notification is queued, its devices are found, and nothing was addressed in vain.
    Complete {
        /// The number of its targets.
        targets: i32,
    },
    /// Anything else, as JSON.
    Other(Vec<u8>),
}

/// What is stored with a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredKey {
    /// The request that the key was stored with.
    pub request: RequestDigest,
    /// The notification of that request.
    pub notification: NotificationId,
    /// What that request was answered.
    pub acceptance: StoredAcceptance,
}

/// Reads what is stored with these keys. Keys that are free are left out.
///
/// # Errors
/// Postgres is out of reach.
pub async fn find(
    conn: &mut Session,
    keys: &[(AppId, IdempotencyKey)],
) -> Result<HashMap<(AppId, IdempotencyKey), StoredKey>, Error> {
    let apps: Vec<i16> = keys.iter().map(|(app, _)| app.0).collect();
    let digests: Vec<Uuid> = keys.iter().map(|(_, key)| Uuid::from_bytes(key.0)).collect();
    // One probe of the unique index of each day per key, whatever the planner expects (docs/queue.md#stable-plans). The
    // oldest first, so that of two days the later one stays. A key that was found to be taken must be found here a moment
    // later, hence the minute.
    let rows = sqlx::query!(
        r#"
        select k.app_id, k.key_digest, k.request_digest, k.notification_id as "notification_id: Uuid", k.target_count,
               k.acceptance
        from (select (now() at time zone 'UTC')::date + ahead as on_day from generate_series(-1, 1) ahead) days
        cross join unnest($1::smallint[], $2::uuid[]) as wanted(app, key)
        cross join lateral (
          select * from idempotency_keys
          where day = on_day and app_id = app and key_digest = key and created_at > now() - interval '24:01' offset 0) k
        "#,
        &apps,
        &digests
    )
    .fetch_all(conn)
    .await?;
    let found = rows.into_iter().map(|row| {
        let acceptance = match row.acceptance {
            Some(json) => StoredAcceptance::Other(json),
            None => StoredAcceptance::Complete { targets: row.target_count.unwrap_or_default() },
        };
        let key = (AppId(row.app_id), IdempotencyKey(row.key_digest.into_bytes()));
        let request = RequestDigest(row.request_digest.into_bytes());
        (key, StoredKey { request, notification: NotificationId(row.notification_id), acceptance })
    });
    Ok(found.collect())
}

/// The day before today (UTC), as Postgres says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FormerDay {
    /// In UTC, by Postgres's clock.
    pub day: NaiveDate,
    /// False: a transaction that began on the day may still store keys of it.
    pub is_complete: bool,
    /// The size of its keys, in pages of the table. None: it has no table.
    pub pages: Option<i64>,
    /// When the server that says so started. Another server may have other keys.
    pub server_started_at: DateTime<Utc>,
}

/// Which day is the day before.
///
/// # Errors
/// Postgres is out of reach.
pub async fn former_day(conn: &mut Session) -> Result<FormerDay, Error> {
    // A transaction that stores keys holds this lock until its keys are visible, however long its commit takes. The two minutes
    // are for transactions that have not come to their keys yet: these take less than a minute (`store_idempotency_keys`).
    let former = sqlx::query_as!(
        FormerDay,
        r#"
        select today - 1 as "day!",
               utc >= today + interval '2 minutes' and not exists (
                 select from pg_locks
                 where locktype = 'relation' and database = (select oid from pg_database where datname = current_database())
                   and relation = child and mode = 'RowExclusiveLock') as "is_complete!",
               pg_relation_size(child) / current_setting('block_size')::bigint as pages,
               pg_postmaster_start_time() as "server_started_at!"
        from (select utc, utc::date as today,
                     to_regclass('idempotency_keys_' || to_char(utc::date - 1, 'YYYYMMDD')) as child
              from (select now() at time zone 'UTC' as utc) clock) x
        "#
    );
    Ok(former.fetch_one(conn).await?)
}

/// The keys of a day in these pages of its table. Keys of several apps may be equal.
///
/// # Errors
/// Postgres is out of reach.
pub async fn keys_in_pages(
    conn: &mut Session,
    day: NaiveDate,
    pages: Range<i64>,
) -> Result<Vec<IdempotencyKey>, Error> {
    let keys = sqlx::query_scalar!(
        "select key_digest from idempotency_keys
         where day = $1 and ctid >= format('(%s,0)', $2::bigint)::tid and ctid < format('(%s,0)', $3::bigint)::tid",
        day,
        pages.start,
        pages.end
    )
    .fetch_all(conn)
    .await?;
    Ok(keys.into_iter().map(|key| IdempotencyKey(key.into_bytes())).collect())
}

/// From now on, statements of this session wait this long for locks of other sessions.
///
/// # Errors
/// Postgres is out of reach.
pub async fn limit_lock_wait(conn: &mut Session, wait: Duration) -> Result<(), Error> {
    let wait_ms = wait.as_millis().to_string();
    sqlx::query!("select set_config('lock_timeout', $1, false)", wait_ms).fetch_one(conn).await?;
    Ok(())
}
