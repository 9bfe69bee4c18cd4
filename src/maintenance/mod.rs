//! The duties that keep the queue healthy, one file each. One node leads and does them while its heartbeat is fresh; two
//! leaders would be harmless.
//! Partitions any node makes that finds tomorrow's missing.

mod contents;
mod days;
mod dead_nodes;
mod expiry;
mod leadership;
mod quarantined;
mod retention;
mod schedule;
mod send_only;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::queue::node_lease::NodeLease;
use crate::store;
use crate::store::{Session, SessionPool};
use leadership::Leadership;
use schedule::Schedule;

pub use dead_nodes::sweep;
pub use retention::Retention;

/// At most so long between two looks at what is due.
const ROUND: Duration = Duration::from_secs(1);
const EXPIRE: Duration = Duration::from_secs(2);
const ORPHANS: Duration = Duration::from_secs(60);
const HOURLY: Duration = Duration::from_secs(3600);

/// What maintenance needs.
#[derive(Debug)]
pub struct Settings {
    /// Connections set up for the queue's statements.
    pub pool: SessionPool,
    /// This node.
    pub node_lease: Arc<NodeLease>,
    /// How long things are kept.
    pub retention: Retention,
}

/// Leads if no other node does, and then does the duties when they are due, until told to stop.
pub async fn run(settings: Settings, stop: CancellationToken) {
    let mut duties = Duties::new();
    let mut ticks = interval(ROUND.min(duties.leadership.review_interval(settings.node_lease.timeout())));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut conn: Option<Session> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        // Each statement has its deadline, so that a round as a whole needs none.
        duties.round(&settings, &mut conn).await;
    }
    if let Some(mut conn) = conn {
        // The node leaves at once: its leadership would end then as well.
        let _resigned = duties.leadership.resign(&mut conn).await;
    }
}

/// What is done besides the reviews. Only a leader does them; partitions are made by every node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Duty {
    Partitions,
    Expiry,
    UnknownHolders,
    Hourly,
}

/// When each duty is due next.
struct Duties {
    next_review: Instant,
    schedules: [Schedule; Self::ALL.len()],
    retention: retention::Duties,
    leadership: Leadership,
    /// The failure that was logged last. While Postgres is out of reach each round fails, and the heartbeat reports that.
    told: Option<String>,
}

impl Duties {
    const ALL: [Duty; 4] = [Duty::Partitions, Duty::Expiry, Duty::UnknownHolders, Duty::Hourly];

    fn new() -> Self {
        let now = Instant::now();
        let leadership = Leadership::default();
        Self {
            next_review: now,
            schedules: [Schedule::new(now); Self::ALL.len()],
            retention: retention::Duties::new(now),
            leadership,
            told: None,
        }
    }

    /// A duty that fails waits, and the others go on: what dead nodes hold can't wait for a table that is locked.
    async fn round(&mut self, settings: &Settings, conn: &mut Option<Session>) {
        let now = Instant::now();
        if now >= self.next_review {
            match self.review(settings, conn).await {
                Ok(()) => {
                    self.told = None;
                    self.next_review = now + self.leadership.review_interval(settings.node_lease.timeout());
                }
                Err(error) => return self.fail("review", &error, settings, conn),
            }
        }
        for (place, duty) in Self::ALL.into_iter().enumerate() {
            let is_ours = duty == Duty::Partitions || self.leadership.is_held(&settings.node_lease);
            if !is_ours || !self.schedules[place].is_due(now) {
                continue;
            }
            match perform(duty, settings, conn).await {
                Ok(()) => self.schedules[place].done(now, period(duty)),
                Err(error) => {
                    self.schedules[place].failed(now);
                    self.fail(duty.name(), &error, settings, conn);
                }
            }
        }
        if self.leadership.is_held(&settings.node_lease)
            && let Err((duty, error)) = self.retention.round(settings, conn).await
        {
            self.fail(duty, &error, settings, conn);
        }
    }

    async fn review(&mut self, settings: &Settings, conn: &mut Option<Session>) -> Result<(), store::Error> {
        let conn = session(settings, conn).await?;
        self.leadership.review(conn, &settings.node_lease).await
    }

    /// Where Postgres was out of reach, its nodes could not count up their heartbeats: what was watched proves nothing,
    /// and another node may lead.
    fn fail(&mut self, duty: &str, error: &store::Error, settings: &Settings, conn: &mut Option<Session>) {
        let is_away = error.is_unavailable() && !error.is_lock_timeout();
        let kind = if is_away { "Postgres is out of reach".to_owned() } else { format!("{duty}: {error}") };
        let server = settings.pool.addresses();
        if self.told.as_ref() == Some(&kind) {
            tracing::debug!(server, %error, duty, "maintenance fails still");
        } else if duty == Duty::Partitions.name() {
            // They are made a week ahead. Without them nothing is accepted.
            tracing::error!(server, %error, "the next days' partitions can't be made");
        } else {
            tracing::warn!(server, %error, duty, "maintenance failed; it is tried again");
        }
        self.told = Some(kind);
        if is_away {
            self.leadership.interrupt(&settings.node_lease);
        }
        if let Some(conn) = conn.take() {
            conn.discard();
        }
    }
}

impl Duty {
    fn name(self) -> &'static str {
        match self {
            Self::Partitions => "partitions",
            Self::Expiry => "expiry",
            Self::UnknownHolders => "unknown holders",
            Self::Hourly => "hourly",
        }
    }
}

async fn perform(duty: Duty, settings: &Settings, conn: &mut Option<Session>) -> Result<(), store::Error> {
    let conn = session(settings, conn).await?;
    match duty {
        Duty::Partitions => days::make(conn).await,
        Duty::Expiry => expiry::run(conn).await,
        Duty::UnknownHolders => {
            let holders = store::jobs::unknown_holders(conn).await?;
            if holders.is_empty() { Ok(()) } else { sweep(conn, &holders).await }
        }
        Duty::Hourly => {
            store::nodes::purge(conn).await?;
            store::fan_outs::expire(conn).await.map(|_| ())
        }
    }
}

fn period(duty: Duty) -> Duration {
    match duty {
        Duty::Expiry => EXPIRE,
        Duty::UnknownHolders => ORPHANS,
        Duty::Partitions | Duty::Hourly => HOURLY,
    }
}

/// The session is kept from round to round.
async fn session<'c>(
    settings: &Settings,
    conn: &'c mut Option<Session>,
) -> Result<&'c mut Session, store::Error> {
    match conn {
        Some(conn) => Ok(conn),
        None => Ok(conn.insert(settings.pool.acquire().await.map_err(store::Error::from)?)),
    }
}
