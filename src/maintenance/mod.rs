//! The duties that keep the queue healthy, one file each. One node leads and does them; two leaders would be harmless.
//! Partitions any node makes that finds tomorrow's missing.

mod days;
mod dead_nodes;
mod expiry;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::pool::PoolConnection;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::queue::membership::Membership;
use crate::store;
use dead_nodes::Watch;

pub use dead_nodes::sweep;

const ROUND: Duration = Duration::from_secs(1);
const WATCH: Duration = Duration::from_secs(3);
const EXPIRE: Duration = Duration::from_secs(2);
const HOURLY: Duration = Duration::from_secs(3600);
const AGAIN: Duration = Duration::from_secs(60);
/// A duty that takes longer is given up together with its connection, and leadership with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What maintenance needs.
#[derive(Debug)]
pub struct Settings {
    /// Connections set up for the queue's statements.
    pub pool: PgPool,
    /// This node.
    pub membership: Arc<Membership>,
    /// Notifications and what became of them are kept so long, in days.
    pub retention_days: i32,
}

/// Leads if nobody else does, and then does the duties when they are due, until told to stop.
pub async fn run(settings: Settings, stop: CancellationToken) {
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut duties = Duties::new();
    let mut lead: Option<PoolConnection<sqlx::Postgres>> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let result = tokio::time::timeout(PATIENCE, duties.round(&settings, &mut lead)).await;
        let error = match result {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(error, "maintenance failed; it is tried again");
        duties.watch.interrupted();
        if let Some(conn) = lead.take() {
            drop(conn.detach());
        }
    }
    if let Some(mut conn) = lead {
        // Closing the connection would end it as well, a little later.
        let _unlocked = store::leader::resign(&mut conn).await;
    }
}

/// When each duty is due next.
struct Duties {
    next_watch: Instant,
    next_expire: Instant,
    next_hour: Instant,
    next_days: Instant,
    watch: Watch,
}

impl Duties {
    fn new() -> Self {
        let now = Instant::now();
        Self { next_watch: now, next_expire: now, next_hour: now, next_days: now, watch: Watch::default() }
    }

    async fn round(
        &mut self,
        settings: &Settings,
        lead: &mut Option<PoolConnection<sqlx::Postgres>>,
    ) -> Result<(), store::Error> {
        let now = Instant::now();
        if now >= self.next_days {
            let made = days::make(&settings.pool).await;
            self.next_days = now + if made.is_ok() { HOURLY } else { AGAIN };
            if let Err(error) = made {
                // A week is ahead; what dead nodes hold can't wait so long.
                tracing::error!(%error, "the next days' partitions can't be made");
            }
        }
        if now < self.next_watch && lead.is_none() {
            return Ok(());
        }
        let conn = match lead {
            Some(conn) => conn,
            None => {
                self.next_watch = now + WATCH;
                let mut conn = settings.pool.acquire().await.map_err(store::Error::from)?;
                if !store::leader::try_lead(&mut conn).await? {
                    return Ok(());
                }
                tracing::info!(node = settings.membership.id().0, "this node leads");
                self.watch = Watch::default();
                self.next_watch = now;
                lead.insert(conn)
            }
        };
        if now >= self.next_watch {
            self.next_watch = now + WATCH;
            self.watch.look(conn, settings.membership.timeout()).await?;
        }
        if now >= self.next_expire {
            self.next_expire = now + EXPIRE;
            expiry::run(conn).await?;
        }
        if now >= self.next_hour {
            self.next_hour = now + HOURLY;
            store::nodes::forget(conn).await?;
            store::fan_outs::expire(conn).await?;
            days::drop_old(conn, settings.retention_days).await?;
        }
        Ok(())
    }
}
