//! The batches of clean-up runs. Each is a short transaction with the run's row locked: two nodes never work on the same
//! run at the same time, and a crash leaves whole batches.
//!
//! A batch never waits for a lock. A device that another transaction has locked, such as a registration, ends the batch
//! before it, and the next batch begins with it.

use chrono::{DateTime, TimeDelta, Utc};

use super::{CleanupRun, RunRow, runs};
use crate::domain::{
    CleanupCounts, CleanupProblem, CleanupRunId, CleanupStatus, CorrectionCause, DeviceId, DottedVersion,
    FactKind, Platform, Platforms, PushpostReason, QuarantineCause,
};
use crate::store::events::DEVICES_PER_FACT;
use crate::store::{Error, Session};

/// The result of a batch over devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceBatch {
    /// Devices that were looked at.
    pub seen: i64,
    /// Devices that were changed.
    pub changed: i64,
    /// The last device that was looked at, if there was any.
    pub last_seen: Option<DeviceId>,
    /// The first device that had to be changed and that another transaction has locked.
    pub locked: Option<DeviceId>,
}

/// The result of counting a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CountedPage {
    /// Devices that were looked at.
    pub seen: i64,
    /// The last device that was looked at, if there was any.
    pub last_seen: Option<DeviceId>,
    /// What was counted.
    pub counts: CleanupCounts,
    /// The first devices that matched, at most as many as were asked for.
    pub sample: Vec<DeviceId>,
}

/// The criteria of a run as the columns of `devices` have them.
#[derive(Debug)]
struct CriteriaColumns {
    inactive_since: DateTime<Utc>,
    /// Platform and environment in one number.
    lanes: Option<Vec<i32>>,
    app_version_below: Option<String>,
}

impl CriteriaColumns {
    fn of(run: &CleanupRun, known: &Platforms) -> Self {
        let number = |(platform, environment): (Platform, i16)| {
            (i32::from(platform.code()) << 16) | i32::from(environment)
        };
        let lanes = run.criteria.lanes(known);
        let version = run.criteria.app_version_below.as_ref().map(DottedVersion::as_str);
        Self {
            inactive_since: run.created_at - TimeDelta::days(run.criteria.inactive_days.into()),
            lanes: lanes.map(|lanes| lanes.into_iter().map(number).collect()),
            app_version_below: version.map(str::to_owned),
        }
    }
}

/// Locks the next run after `after` that is under way, and that no other transaction has locked. After the last run it
/// is the first one's turn.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn lock_next(conn: &mut Session, after: CleanupRunId) -> Result<Option<CleanupRun>, Error> {
    let row = runs!(
        "select",
        "from cleanup_runs where status in (0, 4) order by run_id <= $1, run_id limit 1 for update skip locked",
        after.0
    );
    let row = row.fetch_optional(&mut *conn).await?;
    row.map(|row| CleanupRun::from_row(row, conn.platforms())).transpose()
}

/// Counts the next `size` devices of a locked run, with up to `sample` of those that match.
///
/// # Errors
/// Postgres is out of reach.
pub async fn count_page(
    conn: &mut Session,
    run: &CleanupRun,
    size: i64,
    sample: i64,
) -> Result<CountedPage, Error> {
    let criteria = CriteriaColumns::of(run, conn.platforms());
    let row = sqlx::query!(
        r#"
        with page as materialized (
          select device_id, quarantined_at is null and source <> 1 as is_active,
                 quarantine_run is not null and quarantined_at > $5::timestamptz - interval '30 days' as is_recent,
                 coalesce(registered_at, created_at) as registered_at, app_version,
                 $6::int[] is null or (platform::int << 16 | environment::int) = any($6) as is_in_question
          from devices
          where app_id = $1 and app_id > 0 and device_id > $2 and device_id <= $3
          order by device_id limit $4),
        matching as materialized (
          select device_id from page
          where is_active and is_in_question and registered_at <= $7
            and ($8::text is null
              or is_version_below(app_version, $8)))
        select count(*) as "seen!", max(device_id) as last_seen,
               count(*) filter (where is_active and is_in_question) as "scanned!",
               count(*) filter (where is_recent and is_in_question) as "recent!",
               (select count(*) from matching) as "matched!",
               array(select device_id from matching order by device_id limit $9) as "sample!"
        from page
        "#,
        run.app.0,
        run.reached.0,
        run.last.0,
        size,
        run.created_at,
        criteria.lanes.as_deref(),
        criteria.inactive_since,
        criteria.app_version_below,
        sample
    )
    .fetch_one(conn)
    .await?;
    Ok(CountedPage {
        seen: row.seen,
        last_seen: row.last_seen.map(DeviceId),
        counts: CleanupCounts {
            scanned: row.scanned,
            matched: row.matched,
            recently_quarantined: row.recent,
        },
        sample: row.sample.into_iter().map(DeviceId).collect(),
    })
}

/// Quarantines those of the next `size` active devices of a locked run that match. The criteria are checked again after
/// the devices are locked, so that a phone that registers meanwhile is spared. The evidence is the inactivity: a
/// registration after its time brings the device back. The event log is told.
///
/// # Errors
/// Postgres is out of reach. Nothing of the page is written then.
pub async fn quarantine_page(conn: &mut Session, run: &CleanupRun, size: i64) -> Result<DeviceBatch, Error> {
    let criteria = CriteriaColumns::of(run, conn.platforms());
    let row = sqlx::query!(
        r#"
        with page as materialized (
          select device_id, coalesce(registered_at, created_at) as registered_at, app_version,
                 (platform::int << 16 | environment::int) as lane
          from devices
          where app_id = $1 and quarantined_at is null and source <> 1 and device_id > $2 and device_id <= $3
          order by device_id limit $4),
        wanted as materialized (
          select device_id from page
          where registered_at <= $6 and ($5::int[] is null or lane = any($5))
            and ($7::text is null
              or is_version_below(app_version, $7))),
        locked as materialized (
          select device_id, quarantined_at is null and source <> 1 as is_active,
                 coalesce(registered_at, created_at) as registered_at, app_version,
                 (platform::int << 16 | environment::int) as lane
          from devices where device_id = any(array(select device_id from wanted))
          order by device_id for no key update skip locked),
        still as (
          select device_id from locked
          where is_active and registered_at <= $6 and ($5::int[] is null or lane = any($5))
            and ($7::text is null
              or is_version_below(app_version, $7))),
        changed as (
          update devices
          set quarantined_at = now(), quarantine_reason = $8, evidence_at = $6, quarantine_run = $9
          where device_id = any(array(select device_id from still))
          returning device_id),
        numbered as (select device_id, row_number() over () as place from changed where logs_events()),
        facts as (
          insert into event_outbox (app_id, kind, devices, fact)
          select $1, $10, array_agg(device_id order by device_id),
                 convert_to(json_build_object('cause', $11::text, 'run', $9::bigint, 'reasons', json_agg($8::text),
                                              'evidence_at', json_agg($6::timestamptz))::text, 'UTF8')
          from numbered group by (place - 1) / $12)
        select (select count(*) from page) as "seen!", (select max(device_id) from page) as last_seen,
               (select count(*) from changed) as "changed!",
               (select min(device_id) from (select device_id from wanted except select device_id from locked) skipped)
                 as locked
        "#,
        run.app.0,
        run.reached.0,
        run.last.0,
        size,
        criteria.lanes.as_deref(),
        criteria.inactive_since,
        criteria.app_version_below,
        PushpostReason::Inactive.as_str(),
        run.id.0,
        FactKind::Quarantined.code(),
        QuarantineCause::Inactive.as_str(),
        DEVICES_PER_FACT
    )
    .fetch_one(&mut *conn)
    .await?;
    if row.changed > 0 {
        conn.note_events();
    }
    Ok(DeviceBatch {
        seen: row.seen,
        changed: row.changed,
        last_seen: row.last_seen.map(DeviceId),
        locked: row.locked.map(DeviceId),
    })
}

/// Restores the next `size` devices that a locked run quarantined and that are still quarantined by it. `device_id + 0` is
/// what the index `devices_cleanup` has. The event log is told.
///
/// # Errors
/// Postgres is out of reach. Nothing of the page is written then.
pub async fn restore_page(conn: &mut Session, run: &CleanupRun, size: i64) -> Result<DeviceBatch, Error> {
    let row = sqlx::query!(
        r#"
        with page as materialized (
          select device_id from devices
          where quarantine_run = $1 and device_id + 0 > $2::bigint order by device_id + 0 limit $3),
        locked as materialized (
          select device_id, quarantine_run from devices where device_id = any(array(select device_id from page))
          order by device_id for no key update skip locked),
        changed as (
          update devices
          set quarantined_at = null, quarantine_reason = null, evidence_at = null, quarantine_run = null
          where device_id = any(array(select device_id from locked where quarantine_run = $1))
          returning device_id),
        numbered as (select device_id, row_number() over () as place from changed where logs_events()),
        facts as (
          insert into event_outbox (app_id, kind, devices, fact)
          select $4, $5, array_agg(device_id order by device_id),
                 convert_to(json_build_object('cause', $6::text, 'run', $1::bigint)::text, 'UTF8')
          from numbered group by (place - 1) / $7)
        select (select count(*) from page) as "seen!", (select max(device_id) from page) as last_seen,
               (select count(*) from changed) as "changed!",
               (select min(device_id) from (select device_id from page except select device_id from locked) skipped)
                 as locked
        "#,
        run.id.0,
        run.reached.0,
        size,
        run.app.0,
        FactKind::Restored.code(),
        CorrectionCause::Run.as_str(),
        DEVICES_PER_FACT
    )
    .fetch_one(&mut *conn)
    .await?;
    if row.changed > 0 {
        conn.note_events();
    }
    Ok(DeviceBatch {
        seen: row.seen,
        changed: row.changed,
        last_seen: row.last_seen.map(DeviceId),
        locked: row.locked.map(DeviceId),
    })
}

/// Stores how far a locked run has come: its counts, its device, and how it stands. The status decides whether it has ended,
/// which the event log is told.
///
/// # Errors
/// Postgres is out of reach.
pub async fn save(conn: &mut Session, run: &CleanupRun) -> Result<(), Error> {
    let sample: Vec<i64> = run.sample.iter().map(|device| device.0).collect();
    sqlx::query!(
        "with facts as (
           insert into event_outbox (app_id, kind, fact)
           select $13, $14, convert_to(json_build_object('run', $1::bigint)::text, 'UTF8') where $12 and logs_events())
         update cleanup_runs
         set status = $2, reached_device_id = $3, scanned = $4, matched = $5, recently_quarantined = $6,
             quarantined = $7, restored = $8, sample = $9, problem = $10,
             counted_at = case when $11 then coalesce(counted_at, now()) end,
             done_at = case when $12 then now() end
         where run_id = $1",
        run.id.0,
        run.status.code(),
        run.reached.0,
        run.counts.scanned,
        run.counts.matched,
        run.counts.recently_quarantined,
        run.quarantined,
        run.restored,
        &sample,
        run.problem.map(CleanupProblem::code),
        run.is_counted,
        !CleanupStatus::is_active(run.status),
        run.app.0,
        FactKind::CleanupDone.code()
    )
    .execute(&mut *conn)
    .await?;
    conn.note_events();
    Ok(())
}
