//! Reads the log.
//!
//! Every statement bounds `logged_at` above, so that the days that are made ahead are left out when it begins. No entry is a day ahead
//! of Postgres's clock.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::domain::{AppId, DeviceId, FactKind, LogPosition, NotificationId};
use crate::store::{Error, Session};

/// The time of an entry may be earlier than that of the entry before by this much: the statement that wrote it had begun
/// earlier, or the clock of Postgres was set back.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::hours(1);

/// A receipt's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReceiptId(pub i64);

/// An entry of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Where it stands. Readers go on after it.
    pub at: LogPosition,
    /// What it tells.
    pub kind: FactKind,
    /// When the transaction of the fact began.
    pub happened_at: DateTime<Utc>,
    /// Of [`FactKind::Recorded`], the notification of each receipt; there may be further ones behind them. Of
    /// [`FactKind::Ended`], the notifications that have ended, each once.
    pub notifications: Vec<NotificationId>,
    /// The receipts of [`FactKind::Recorded`].
    pub receipts: Vec<ReceiptId>,
    /// The devices that the fact is about.
    pub devices: Vec<DeviceId>,
    /// JSON of the struct that belongs to the kind. None: there is none.
    pub fact: Option<Vec<u8>>,
}

/// Up to `limit` entries of an app after a position, the oldest first.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn page(
    conn: &mut Session,
    app: AppId,
    after: LogPosition,
    limit: i64,
) -> Result<Vec<LogEntry>, Error> {
    let rows = sqlx::query!(
        "select position, logged_at, kind, at, notifications, receipts, devices, fact from event_log
         where app_id = $1 and position > $2 and logged_at >= $3 and logged_at < now() + interval '1 day'
         order by position limit $4",
        app.0,
        after.position,
        start_of(after.day),
        limit
    )
    .fetch_all(conn)
    .await?;
    let entries = rows.into_iter().map(|row| {
        let odd = Error::Inconsistent { table: "event_log", column: "kind", row: row.position };
        Ok(LogEntry {
            at: LogPosition { position: row.position, day: row.logged_at.date_naive() },
            kind: FactKind::from_code(row.kind).ok_or(odd)?,
            happened_at: row.at,
            notifications: row.notifications.into_iter().map(NotificationId).collect(),
            receipts: row.receipts.into_iter().map(ReceiptId).collect(),
            devices: row.devices.into_iter().map(DeviceId).collect(),
            fact: row.fact,
        })
    });
    entries.collect()
}

/// The oldest kept entry of an app. None: there is none.
///
/// # Errors
/// Postgres is out of reach.
pub async fn oldest(conn: &mut Session, app: AppId) -> Result<Option<LogPosition>, Error> {
    let row = sqlx::query!(
        "select position, logged_at from event_log where app_id = $1 and logged_at < now() + interval '1 day'
         order by position limit 1",
        app.0
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| LogPosition { position: row.position, day: row.logged_at.date_naive() }))
}

/// The first day (UTC) of which the log is kept. What was logged before it is gone.
///
/// # Errors
/// Postgres is out of reach.
pub async fn first_day(conn: &mut Session) -> Result<NaiveDate, Error> {
    let day = sqlx::query_scalar!(
        r#"
        select coalesce(min(to_date(right(relname::text, 8), 'YYYYMMDD')), (now() at time zone 'UTC')::date) as "day!"
        from pg_inherits join pg_class c on c.oid = inhrelid where inhparent = 'event_log'::regclass
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(day)
}

/// The end of the log, over all apps: a reader that begins here gets what is logged from now on.
///
/// # Errors
/// Postgres is out of reach.
pub async fn head(conn: &mut Session) -> Result<LogPosition, Error> {
    let row = sqlx::query!(r#"select position, (now() at time zone 'UTC')::date as "day!" from event_head"#)
        .fetch_one(conn)
        .await?;
    Ok(LogPosition { position: row.position, day: row.day })
}

/// The position after which the entries of an app were logged at `time` or later. An entry near it may be on the other side, as far as
/// entries are out of the order of their times.
///
/// By halves, because an index has the entries in the order of their positions: about 40 reads of one row.
///
/// # Errors
/// Postgres is out of reach.
pub async fn since(conn: &mut Session, app: AppId, time: DateTime<Utc>) -> Result<LogPosition, Error> {
    let day = time.date_naive();
    let end = head(conn).await?;
    let first = first_at(conn, app, 0, start_of(day)).await?;
    let Some((first, _)) = first else { return Ok(end) };
    // Every entry up to `before` is too old; the first entry from `until` on is not.
    let (mut before, mut until) = (first - 1, end.position + 1);
    while before + 1 < until {
        let middle = before + (until - before) / 2;
        match first_at(conn, app, middle - 1, start_of(day)).await? {
            Some((position, logged_at)) if logged_at < time => before = position,
            Some(_) | None => until = middle,
        }
    }
    Ok(LogPosition { position: before, day: day.min(end.day) })
}

/// The first entry of an app after a position, among those that were logged at `from` or later.
async fn first_at(
    conn: &mut Session,
    app: AppId,
    after: i64,
    from: DateTime<Utc>,
) -> Result<Option<(i64, DateTime<Utc>)>, Error> {
    let row = sqlx::query!(
        "select position, logged_at from event_log
         where app_id = $1 and position > $2 and logged_at >= $3 and logged_at < now() + interval '1 day'
         order by position limit 1",
        app.0,
        after,
        from
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.position, row.logged_at)))
}

/// From when on entries behind a position of this day were logged.
fn start_of(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc() - CLOCK_TOLERANCE
}
