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
mod send_only;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::queue::membership::Membership;
use crate::store;
use crate::store::{Session, SessionPool};
use leadership::Leadership;

pub use dead_nodes::sweep;
pub use retention::Retention;

/// At most so long between two looks at what is due.
const ROUND: Duration = Duration::from_secs(1);
const EXPIRE: Duration = Duration::from_secs(2);
const ORPHANS: Duration = Duration::from_secs(60);
const HOURLY: Duration = Duration::from_secs(3600);
const AGAIN: Duration = Duration::from_secs(60);

/// What maintenance needs.
#[derive(Debug)]
pub struct Settings {
    /// Connections set up for the queue's statements.
    pub pool: SessionPool,
    /// This node.
    pub membership: Arc<Membership>,
    /// How long things are kept.
    pub retention: Retention,
}

/// Leads if no other node does, and then does the duties when they are due, until told to stop.
pub async fn run(settings: Settings, stop: CancellationToken) {
    let mut duties = Duties::new();
    let mut ticks = interval(ROUND.min(duties.leadership.review_interval(settings.membership.timeout())));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut conn: Option<Session> = None;
    let mut told = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        // Each statement has its deadline, so that a round as a whole needs none.
        let Err(error) = duties.round(&settings, &mut conn).await else {
            // A round in which nothing is due asks nothing of Postgres.
            if conn.is_some() {
                told = None;
            }
            continue;
        };
        tell_once(&mut told, &error, &settings.pool);
        duties.leadership.interrupt(&settings.membership);
        if let Some(conn) = conn.take() {
            conn.discard();
        }
    }
    if let Some(mut conn) = conn {
        // The node leaves at once: its leadership would end then as well.
        let _resigned = duties.leadership.resign(&mut conn).await;
    }
}

/// Logs a failure that goes on once, and again after a round that has succeeded. Each round fails while Postgres is out of
/// reach, which the heartbeat reports.
fn tell_once(told: &mut Option<String>, error: &store::Error, pool: &SessionPool) {
    let kind = if error.is_unavailable() { "Postgres is out of reach".to_owned() } else { error.to_string() };
    if told.as_ref() != Some(&kind) {
        tracing::warn!(server = pool.addresses(), %error, "maintenance failed; it is tried again");
        *told = Some(kind);
    }
}

/// When each duty is due next.
struct Duties {
    next_review: Instant,
    next_expire: Instant,
    next_orphans: Instant,
    next_hour: Instant,
    next_days: Instant,
    retention: retention::Duties,
    leadership: Leadership,
}

impl Duties {
    fn new() -> Self {
        let now = Instant::now();
        let leadership = Leadership::default();
        Self {
            next_review: now,
            next_expire: now,
            next_orphans: now,
            next_hour: now,
            next_days: now,
            retention: retention::Duties::new(now),
            leadership,
        }
    }

    async fn round(&mut self, settings: &Settings, conn: &mut Option<Session>) -> Result<(), store::Error> {
        let now = Instant::now();
        let membership = &settings.membership;
        if now < self.next_days.min(self.next_review) && !self.leadership.is_held(membership) {
            return Ok(());
        }
        let conn = match conn {
            Some(conn) => conn,
            None => conn.insert(settings.pool.acquire().await.map_err(store::Error::from)?),
        };
        if now >= self.next_days {
            let made = days::make(conn).await;
            self.next_days = now + if made.is_ok() { HOURLY } else { AGAIN };
            if let Err(error) = made {
                // A week is ahead; what dead nodes hold can't wait so long.
                tracing::error!(%error, "the next days' partitions can't be made");
            }
        }
        if now >= self.next_review {
            self.leadership.review(conn, membership).await?;
            self.next_review = now + self.leadership.review_interval(membership.timeout());
        }
        if now >= self.next_expire && self.leadership.is_held(membership) {
            self.next_expire = now + EXPIRE;
            expiry::run(conn).await?;
        }
        if now >= self.next_orphans && self.leadership.is_held(membership) {
            self.next_orphans = now + ORPHANS;
            let holders = store::jobs::unknown_holders(conn).await?;
            if !holders.is_empty() {
                dead_nodes::sweep(conn, &holders).await?;
            }
        }
        if now >= self.next_hour && self.leadership.is_held(membership) {
            self.next_hour = now + HOURLY;
            store::nodes::forget(conn).await?;
            store::fan_outs::expire(conn).await?;
        }
        if self.leadership.is_held(membership) {
            self.retention.round(conn, &settings.retention).await?;
        }
        Ok(())
    }
}
