//! Clean-up runs: their rows, their batches ([`batches`]), and the schedules that start them ([`schedules`]).

pub mod batches;
pub mod schedules;

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{
    AppId, CleanupCounts, CleanupCriteria, CleanupProblem, CleanupRunId, CleanupStatus, DeviceId,
    DottedVersion, Environment, FactKind, Platform, Platforms, ShareLimit,
};
use crate::store::Session;

/// A clean-up run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CleanupRun {
    /// The number of its row.
    pub id: CleanupRunId,
    /// The app that owns the devices.
    pub app: AppId,
    /// How the run stands.
    pub status: CleanupStatus,
    /// The run only counts.
    pub is_dry_run: bool,
    /// Which devices it quarantines.
    pub criteria: CleanupCriteria,
    /// What it has counted so far.
    pub counts: CleanupCounts,
    /// Every device was counted.
    pub is_counted: bool,
    /// All devices up to this one have been counted, quarantined or restored, whichever is under way.
    pub reached: DeviceId,
    /// The last device that existed when the run began.
    pub last: DeviceId,
    /// Number of devices that it quarantined.
    pub quarantined: i64,
    /// Number of devices that its restoration made active again.
    pub restored: i64,
    /// The first devices that matched.
    pub sample: Vec<DeviceId>,
    /// The name of the schedule that started it. None: a request or a command did.
    pub schedule: Option<String>,
    /// When it began. Inactivity is counted from then.
    pub created_at: DateTime<Utc>,
    /// When it, or its restoration, ended.
    pub done_at: Option<DateTime<Utc>>,
    /// Why it changed nothing.
    pub problem: Option<CleanupProblem>,
}

/// What starts a clean-up run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewCleanupRun<'a> {
    /// The app that owns the devices.
    pub app: AppId,
    /// Which devices are quarantined.
    pub criteria: &'a CleanupCriteria,
    /// Count the devices that match, and quarantine none.
    pub is_dry_run: bool,
    /// The name of the schedule. None: a request or a command.
    pub schedule: Option<&'a str>,
}

/// A checked query for whole runs: what stands before the columns, and what follows them.
macro_rules! runs {
    ($before:literal, $after:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            RunRow,
            $before
                + " run_id, app_id, status, dry_run, inactive_days, platforms, environments, app_version_below,
                    max_share_millionths, schedule, created_at, counted_at, done_at, last_device_id,
                    reached_device_id, scanned, matched, recently_quarantined, quarantined, restored, sample, problem "
                + $after,
            $($argument),+
        )
    };
}
use runs;

/// A row of the table `cleanup_runs`.
struct RunRow {
    run_id: i64,
    app_id: i16,
    status: i16,
    dry_run: bool,
    inactive_days: i32,
    platforms: Option<Vec<String>>,
    environments: Option<Vec<String>>,
    app_version_below: Option<String>,
    max_share_millionths: i32,
    schedule: Option<String>,
    created_at: DateTime<Utc>,
    counted_at: Option<DateTime<Utc>>,
    done_at: Option<DateTime<Utc>>,
    last_device_id: i64,
    reached_device_id: i64,
    scanned: i64,
    matched: i64,
    recently_quarantined: i64,
    quarantined: i64,
    restored: i64,
    sample: Vec<i64>,
    problem: Option<i16>,
}

impl CleanupRun {
    /// Reads a row; `known` are the platforms of this node.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] for a value that stands for nothing here.
    fn from_row(row: RunRow, known: &Platforms) -> Result<Self, Error> {
        let odd = |column| Error::Inconsistent { table: "cleanup_runs", column, row: row.run_id };
        let platform = |name: &String| known.parse(name).ok_or_else(|| odd("platforms"));
        let environment = |name: &String| {
            let mut all = known.stated_environments().into_iter();
            all.find(|environment| environment.as_str() == name).ok_or_else(|| odd("environments"))
        };
        let version = |text: String| DottedVersion::parse(&text).ok_or_else(|| odd("app_version_below"));
        let problem = |code| CleanupProblem::from_code(code).ok_or_else(|| odd("problem"));
        let max_share = ShareLimit::from_millionths(row.max_share_millionths);
        let criteria = CleanupCriteria {
            inactive_days: row.inactive_days.try_into().map_err(|_| odd("inactive_days"))?,
            platforms: row.platforms.map(|names| names.iter().map(platform).collect()).transpose()?,
            environments: row
                .environments
                .map(|names| names.iter().map(environment).collect())
                .transpose()?,
            app_version_below: row.app_version_below.map(version).transpose()?,
            max_share: max_share.ok_or_else(|| odd("max_share_millionths"))?,
        };
        Ok(Self {
            id: CleanupRunId(row.run_id),
            app: AppId(row.app_id),
            status: CleanupStatus::from_code(row.status).ok_or_else(|| odd("status"))?,
            is_dry_run: row.dry_run,
            criteria,
            counts: CleanupCounts {
                scanned: row.scanned,
                matched: row.matched,
                recently_quarantined: row.recently_quarantined,
            },
            is_counted: row.counted_at.is_some(),
            reached: DeviceId(row.reached_device_id),
            last: DeviceId(row.last_device_id),
            quarantined: row.quarantined,
            restored: row.restored,
            sample: row.sample.into_iter().map(DeviceId).collect(),
            schedule: row.schedule,
            created_at: row.created_at,
            done_at: row.done_at,
            problem: row.problem.map(problem).transpose()?,
        })
    }
}

/// Stores a run that is to be carried out. None: another run of the app is under way. Devices of earlier runs that were
/// deleted since count towards the share as if they were still quarantined.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn insert(conn: &mut Session, new: NewCleanupRun<'_>) -> Result<Option<CleanupRun>, Error> {
    let NewCleanupRun { app, criteria, is_dry_run, schedule } = new;
    let names = |all: &[Platform]| all.iter().map(|one| one.as_str().to_owned()).collect();
    let platforms: Option<Vec<String>> = criteria.platforms.as_deref().map(names);
    let names = |all: &[Environment]| all.iter().map(|one| one.as_str().to_owned()).collect();
    let environments: Option<Vec<String>> = criteria.environments.as_deref().map(names);
    let row = runs!(
        "insert into cleanup_runs (app_id, dry_run, inactive_days, platforms, environments, app_version_below,
                                   max_share_millionths, schedule, last_device_id, recently_quarantined)
         values ($1, $2, $3, $4, $5, $6, $7, $8,
                 coalesce((select max(device_id) from devices where app_id = $1 and app_id > 0), 0),
                 coalesce((select sum(deleted) from cleanup_runs
                           where app_id = $1 and created_at > now() - interval '30 days'), 0))
         on conflict (app_id) where status in (0, 4) do nothing
         returning",
        "",
        app.0,
        is_dry_run,
        i32::from(criteria.inactive_days),
        platforms.as_deref(),
        environments.as_deref(),
        criteria.app_version_below.as_ref().map(DottedVersion::as_str),
        criteria.max_share.millionths(),
        schedule
    );
    let row = row.fetch_optional(&mut *conn).await?;
    row.map(|row| CleanupRun::from_row(row, conn.platforms())).transpose()
}

/// Finds a run of an app.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn find(conn: &mut Session, app: AppId, id: CleanupRunId) -> Result<Option<CleanupRun>, Error> {
    let row = runs!("select", "from cleanup_runs where run_id = $2 and app_id = $1", app.0, id.0);
    let row = row.fetch_optional(&mut *conn).await?;
    row.map(|row| CleanupRun::from_row(row, conn.platforms())).transpose()
}

/// Those of these runs that the app has.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn find_all(
    conn: &mut Session,
    app: AppId,
    ids: &[CleanupRunId],
) -> Result<Vec<CleanupRun>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = ids.iter().map(|run| run.0).collect();
    let rows = runs!("select", "from cleanup_runs where run_id = any($2) and app_id = $1", app.0, &ids);
    let rows = rows.fetch_all(&mut *conn).await?;
    rows.into_iter().map(|row| CleanupRun::from_row(row, conn.platforms())).collect()
}

/// The runs of an app before `before`, the newest first, at most `limit`. `statuses`: only runs that stand so. None: all.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn list(
    conn: &mut Session,
    app: AppId,
    statuses: Option<&[CleanupStatus]>,
    before: CleanupRunId,
    limit: i64,
) -> Result<Vec<CleanupRun>, Error> {
    let codes: Option<Vec<i16>> = statuses.map(|some| some.iter().map(|status| status.code()).collect());
    let rows = runs!(
        "select",
        "from cleanup_runs where app_id = $1 and run_id < $2 and ($3::smallint[] is null or status = any($3))
         order by run_id desc limit $4",
        app.0,
        before.0,
        codes.as_deref(),
        limit
    );
    let rows = rows.fetch_all(&mut *conn).await?;
    rows.into_iter().map(|row| CleanupRun::from_row(row, conn.platforms())).collect()
}

/// Stops a run, or its restoration, if it is under way, and tells the event log of its end. It waits for the batch that is
/// being written, so nothing is quarantined or restored after the commit.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn cancel(conn: &mut Session, app: AppId, id: CleanupRunId) -> Result<bool, Error> {
    let cancelled = sqlx::query_scalar!(
        r#"with changed as (
             update cleanup_runs set status = 3, done_at = now()
             where run_id = $2 and app_id = $1 and status in (0, 4) returning app_id, run_id),
           facts as (
             insert into event_outbox (app_id, kind, fact)
             select app_id, $3, convert_to(json_build_object('run', run_id)::text, 'UTF8') from changed
             where logs_events())
           select true as "is_cancelled!" from changed"#,
        app.0,
        id.0,
        FactKind::CleanupDone.code()
    );
    let is_cancelled = cancelled.fetch_optional(&mut *conn).await?.is_some();
    conn.note_events();
    Ok(is_cancelled)
}

/// Begins to restore what a run quarantined. True if the restoration begins now; false if the run is under way, was
/// refused, only counted, or is restored already.
///
/// # Errors
/// A unique violation if another run of the app is under way. Postgres is out of reach.
pub async fn begin_restoration(conn: &mut Session, app: AppId, id: CleanupRunId) -> Result<bool, Error> {
    let begun = sqlx::query!(
        "update cleanup_runs set status = 4, done_at = null, reached_device_id = 0
         where run_id = $2 and app_id = $1 and status in (1, 3) and not dry_run",
        app.0,
        id.0
    );
    Ok(begun.execute(conn).await?.rows_affected() == 1)
}

/// True if a run of any app is under way.
///
/// # Errors
/// Postgres is out of reach.
pub async fn is_any_active(conn: &mut Session) -> Result<bool, Error> {
    let found =
        sqlx::query_scalar!(r#"select exists (select from cleanup_runs where status in (0, 4)) as "found!""#);
    Ok(found.fetch_one(conn).await?)
}

/// Deletes up to `limit` runs that ended more than `secs` ago. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn delete_old(conn: &mut Session, secs: f64, limit: i64) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        "delete from cleanup_runs where run_id = any(array(
           select run_id from cleanup_runs where done_at < now() - make_interval(secs => $1)
           order by done_at limit $2 for update skip locked))",
        secs,
        limit
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}
