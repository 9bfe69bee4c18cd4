//! The days' partitions: a week ahead, and gone when their retention has passed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use chrono::NaiveDate;
use tokio::time::Instant;
use uuid::Uuid;

use crate::store;
use crate::store::Session;

const SECONDS_PER_DAY: u64 = 86_400;
/// A few milliseconds' worth.
const RECEIPTS_AT_ONCE: i64 = 2_000;

/// Makes the days that are missing. A lock time-out is no fault: the next hour, or the next node, tries again, and a
/// week is ahead.
pub(super) async fn make(conn: &mut Session) -> Result<(), store::Error> {
    for day in store::partitions::missing_days(conn).await? {
        match store::partitions::create_day(conn, day).await {
            Ok(()) => tracing::info!(%day, "partitions made"),
            Err(error) if error.is_lock_timeout() => {
                tracing::warn!(%day, "partitions not made yet: somebody holds the tables");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Days whose retention has passed, on their way to be dropped: a day goes once the last of its notifications has ended so
/// long ago too. Its receipts tell, and are read page by page.
#[derive(Debug, Default)]
pub(super) struct OldDays {
    queue: VecDeque<NaiveDate>,
    /// The last receipt of the first day that was read.
    after: Option<(Uuid, i64)>,
    /// Days that have receipts which are to be kept until then.
    kept: HashMap<NaiveDate, Instant>,
}

impl OldDays {
    /// One page of receipts, or the end of a day. True: there is more.
    pub(super) async fn step(
        &mut self,
        conn: &mut Session,
        retention: Duration,
    ) -> Result<bool, store::Error> {
        let days = i32::try_from(retention.as_secs().div_ceil(SECONDS_PER_DAY)).unwrap_or(i32::MAX);
        let now = Instant::now();
        let Some(day) = self.queue.front().copied() else {
            self.kept.retain(|_, until| *until > now);
            let found = store::partitions::droppable_days(conn, days).await?;
            self.queue.extend(found.into_iter().filter(|day| !self.kept.contains_key(day)));
            return Ok(!self.queue.is_empty());
        };
        let after = self.after.unwrap_or_default();
        let page = store::partitions::day_page(conn, day, after, days, RECEIPTS_AT_ONCE).await?;
        self.after = page.next.filter(|_| page.kept_secs.is_none());
        if self.after.is_some() {
            return Ok(true);
        }
        self.queue.pop_front();
        match page.kept_secs {
            Some(secs) => {
                self.kept.insert(day, now + Duration::from_secs_f64(secs));
            }
            None => drop_day(conn, day).await?,
        }
        Ok(!self.queue.is_empty())
    }
}

/// A day that is held is left for the next pass.
async fn drop_day(conn: &mut Session, day: NaiveDate) -> Result<(), store::Error> {
    match store::partitions::drop_day(conn, day).await {
        Ok(()) => tracing::info!(%day, "partitions dropped: their retention has passed"),
        Err(error) if error.is_lock_timeout() => {
            tracing::warn!(%day, "partitions not dropped yet: another session holds them");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
