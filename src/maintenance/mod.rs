//! Maintenance: the duties that keep the database in order, one file each. One node leads and performs them while its
//! heartbeat is fresh. Two leaders at the same time do no harm. The runtime starts [`run`] on each node.
//!
//! A new duty is a file, a variant of [`Duty`] with its name and period, and a line in [`perform`]; a duty that deletes
//! much goes in steps, as those in [`retention`]. Clean-up runs are carried out between the rounds ([`cleanups`]). What the
//! leader counts for operators has a task of its own ([`read_figures`]).

mod cleanups;
mod contents;
mod dead_node_rows;
mod empty_topics;
mod erasures;
mod event_log;
mod expired_fan_outs;
mod expired_jobs;
mod figures;
mod heartbeat_watch;
mod idempotency_keys;
mod lane_changes;
mod lane_minutes;
mod leadership;
mod old_cleanup_runs;
mod old_partitions;
mod orphaned_jobs;
mod partitions;
mod pending_cancellations;
mod quarantined_devices;
mod retention;
mod schedule;
mod send_only_devices;
mod unreported_lanes;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::domain::ServedApps;
use crate::queue::node_lease::NodeLease;
use crate::store;
use crate::store::{Session, SessionPool};
use cleanups::Cleanups;
use leadership::Leadership;
use schedule::Schedule;

pub use event_log::step as drop_event_day;
pub use figures::{FigureSettings, run as read_figures};
pub use orphaned_jobs::sweep;
pub use retention::Retention;

/// The longest time between two rounds. In each round the duties that are due are performed.
const ROUND_MAX: Duration = Duration::from_secs(1);
/// Expired jobs end at most this long after their time.
const EXPIRY_PERIOD: Duration = Duration::from_secs(3);
/// Jobs of cancelled notifications end at most this long after they wait again. No lane sends them meanwhile.
const PENDING_CANCELLATIONS_PERIOD: Duration = Duration::from_secs(10);
const ORPHANED_JOBS_PERIOD: Duration = Duration::from_secs(60);
/// A lane without a living node keeps its throttle or outage at most this long.
const UNREPORTED_LANES_PERIOD: Duration = Duration::from_secs(20);
/// Rings of attempts may be longer than they should be for so long.
const WEBHOOKS_PERIOD: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);

/// The settings of maintenance.
#[derive(Debug)]
pub struct Settings {
    /// Connections set up for the queue's statements.
    pub pool: SessionPool,
    /// The lease of this node.
    pub node_lease: Arc<NodeLease>,
    /// How long data is kept.
    pub retention: Retention,
    /// The apps that this node serves, with their schedules of clean-up runs.
    pub apps: Arc<ServedApps>,
}

/// Runs until told to stop: leads if no other node does, and then performs the duties that are due.
pub async fn run(settings: Settings, stop: CancellationToken) {
    let mut duties = Duties::new();
    let mut ticks = interval(ROUND_MAX.min(Leadership::review_interval(&settings.node_lease)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cleanups = Cleanups::new(Instant::now());
    let mut conn: Option<Session> = None;
    loop {
        // Each statement has a deadline, so rounds and batches need none.
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => duties.round(&settings, &mut conn).await,
            () = cleanups.due() => duties.clean_up(&mut cleanups, &settings, &mut conn).await,
        }
    }
    if let Some(mut conn) = conn {
        // If it fails, the leadership ends when the node deregisters.
        let _resigned = Leadership::resign(&mut conn, &settings.node_lease).await;
    }
}

/// A duty that is performed as a whole. Every node creates partitions; only the leader performs the other duties.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Duty {
    Partitions,
    ExpiredJobs,
    PendingCancellations,
    OrphanedJobs,
    DeadNodeRows,
    ExpiredFanOuts,
    UnreportedLanes,
    Webhooks,
}

/// The duties and when each is due.
struct Duties {
    next_review: Instant,
    /// In the order of [`Duties::ALL`].
    schedules: [Schedule; Self::ALL.len()],
    retention: retention::RetentionDuties,
    leadership: Leadership,
    /// The failure that was logged last. During an outage of Postgres every round fails, and the heartbeat logs the
    /// outage.
    logged_failure: Option<String>,
}

impl Duties {
    const ALL: [Duty; 8] = [
        Duty::Partitions,
        Duty::ExpiredJobs,
        Duty::PendingCancellations,
        Duty::OrphanedJobs,
        Duty::DeadNodeRows,
        Duty::ExpiredFanOuts,
        Duty::UnreportedLanes,
        Duty::Webhooks,
    ];

    fn new() -> Self {
        let now = Instant::now();
        Self {
            next_review: now,
            schedules: [Schedule::new(now); Self::ALL.len()],
            retention: retention::RetentionDuties::new(now),
            leadership: Leadership::default(),
            logged_failure: None,
        }
    }

    /// Performs what is due. A duty that fails is paused and the others continue: the jobs of dead nodes must not wait
    /// for a table that is locked.
    async fn round(&mut self, settings: &Settings, conn: &mut Option<Session>) {
        let now = Instant::now();
        if now >= self.next_review {
            match self.review(settings, conn).await {
                Ok(()) => {
                    self.logged_failure = None;
                    self.next_review = now + Leadership::review_interval(&settings.node_lease);
                }
                Err(error) => return self.failed("review", &error, settings, conn),
            }
        }
        for (position, duty) in Self::ALL.into_iter().enumerate() {
            let is_ours = duty == Duty::Partitions || settings.node_lease.leads();
            if !is_ours || !self.schedules[position].is_due(now) {
                continue;
            }
            match perform(duty, settings, conn).await {
                Ok(()) => self.schedules[position].succeeded(now, duty.period()),
                Err(error) => {
                    self.schedules[position].failed(now);
                    self.failed(duty.name(), &error, settings, conn);
                }
            }
        }
        if settings.node_lease.leads()
            && let Err((duty, error)) = self.retention.round(settings, conn).await
        {
            self.failed(duty, &error, settings, conn);
        }
    }

    /// Goes on with the clean-up runs, if this node leads.
    async fn clean_up(&mut self, cleanups: &mut Cleanups, settings: &Settings, conn: &mut Option<Session>) {
        if !settings.node_lease.leads() {
            return cleanups.postpone();
        }
        let step = match session(settings, conn).await {
            Ok(conn) => cleanups.step(settings, conn).await,
            Err(error) => Err(error),
        };
        if let Err(error) = step {
            cleanups.postpone();
            self.failed("clean-up runs", &error, settings, conn);
        }
    }

    async fn review(&mut self, settings: &Settings, conn: &mut Option<Session>) -> Result<(), store::Error> {
        let conn = session(settings, conn).await?;
        self.leadership.review(conn, &settings.node_lease).await
    }

    /// Logs a failure and closes the session. If Postgres is out of reach, no node can write its heartbeat: the
    /// heartbeats seen so far prove nothing, and another node may lead.
    fn failed(&mut self, duty: &str, error: &store::Error, settings: &Settings, conn: &mut Option<Session>) {
        let is_unavailable = error.is_unavailable() && !error.is_lock_timeout();
        let failure = match is_unavailable {
            true => "Postgres is out of reach".to_owned(),
            false => format!("{duty}: {error}"),
        };
        let server = settings.pool.addresses();
        if self.logged_failure.as_ref() == Some(&failure) {
            tracing::debug!(server, %error, duty, "maintenance still fails");
        } else if duty == Duty::Partitions.name() && !is_unavailable {
            let detail = "they are made a week ahead; without them nothing can be accepted";
            tracing::error!(server, %error, detail, "the next days' partitions can't be made");
        } else {
            tracing::warn!(server, %error, duty, "maintenance failed; it is tried again");
        }
        self.logged_failure = Some(failure);
        if is_unavailable {
            self.leadership.interrupt(&settings.node_lease);
        }
        if let Some(conn) = conn.take() {
            conn.discard();
        }
    }
}

impl Duty {
    /// The name in the log.
    fn name(self) -> &'static str {
        match self {
            Self::Partitions => "partitions",
            Self::ExpiredJobs => "expired jobs",
            Self::PendingCancellations => "pending cancellations",
            Self::OrphanedJobs => "orphaned jobs",
            Self::DeadNodeRows => "dead node rows",
            Self::ExpiredFanOuts => "expired fan-outs",
            Self::UnreportedLanes => "unreported lanes",
            Self::Webhooks => "webhooks",
        }
    }

    fn period(self) -> Duration {
        match self {
            Self::ExpiredJobs => EXPIRY_PERIOD,
            Self::PendingCancellations => PENDING_CANCELLATIONS_PERIOD,
            Self::OrphanedJobs => ORPHANED_JOBS_PERIOD,
            Self::UnreportedLanes => UNREPORTED_LANES_PERIOD,
            Self::Webhooks => WEBHOOKS_PERIOD,
            Self::Partitions | Self::DeadNodeRows | Self::ExpiredFanOuts => HOUR,
        }
    }
}

async fn perform(duty: Duty, settings: &Settings, conn: &mut Option<Session>) -> Result<(), store::Error> {
    let conn = session(settings, conn).await?;
    match duty {
        Duty::Partitions => partitions::run(conn).await,
        Duty::ExpiredJobs => expired_jobs::run(conn).await,
        Duty::PendingCancellations => pending_cancellations::run(conn).await,
        Duty::OrphanedJobs => orphaned_jobs::run(conn).await,
        Duty::DeadNodeRows => dead_node_rows::run(conn).await,
        Duty::ExpiredFanOuts => expired_fan_outs::run(conn).await,
        Duty::UnreportedLanes => unreported_lanes::run(conn).await,
        Duty::Webhooks => webhooks::run(conn, settings.retention.events).await,
    }
}

/// The session of maintenance. It is kept from round to round.
async fn session<'c>(
    settings: &Settings,
    conn: &'c mut Option<Session>,
) -> Result<&'c mut Session, store::Error> {
    match conn {
        Some(conn) => Ok(conn),
        None => Ok(conn.insert(settings.pool.acquire().await.map_err(store::Error::from)?)),
    }
}
