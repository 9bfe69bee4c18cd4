//! The idempotency keys of the day before, in memory: Postgres looks up only those keys of a batch that may be among them
//! (docs/queue.md#idempotency-keys).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::NaiveDate;
use fastbloom::BloomFilter;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::IdempotencyKey;
use crate::store;
use crate::store::SessionPool;
use crate::store::accept::KeyColumns;
use crate::store::idempotency::{FormerDay, former_day, keys_in_pages};

/// Share of the keys that are looked up although they are free.
const FALSE_POSITIVES: f64 = 0.001;
/// Most keys of a day that are read and held: 185 a second for a day. They take 29 MB. With more of them each key is looked up.
const KEYS_MAX: i64 = 16_000_000;
/// Upper bound of the keys in a page of 8 KiB.
const KEYS_PER_PAGE: i64 = 90;
/// Pages of the table that are read at once: 8 MB, with 80,000 keys.
const PAGES_AT_ONCE: i64 = 1_000;
/// Pause between two reads, so that a node that starts does not keep the disk busy.
const PAUSE: Duration = Duration::from_millis(50);
/// Time until the next attempt if Postgres is out of reach.
const RETRY: Duration = Duration::from_secs(30);

/// What this node knows of the keys of the day before. Without it nothing is wrong, but each key is looked up.
#[derive(Debug, Default)]
pub struct FormerKeys {
    known: Mutex<Option<Arc<DayKeys>>>,
}

#[derive(Debug)]
struct DayKeys {
    day: NaiveDate,
    filter: BloomFilter,
}

impl FormerKeys {
    /// Reads the keys of each day that has ended, until told to stop.
    pub async fn run(self: Arc<Self>, pool: SessionPool, stop: CancellationToken) {
        loop {
            let pause = tokio::select! {
                refreshed = self.refresh(&pool) => refreshed.unwrap_or_else(|error| {
                    tracing::debug!(%error, "idempotency keys of the day before not read, will retry");
                    RETRY
                }),
                () = stop.cancelled() => return,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Reads the keys of the day before, unless they are known or still become more. Returns the time until the next day's
    /// can be read.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn refresh(&self, pool: &SessionPool) -> Result<Duration, store::Error> {
        let former = former_day(&mut pool.acquire().await?).await?;
        if !former.is_complete {
            // Midnight was a moment ago.
            return Ok(RETRY);
        }
        if self.known().is_none_or(|known| known.day != former.day) {
            let keys = read(pool, former).await?.map(Arc::new);
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        }
        Ok(former.until_next)
    }

    /// Names those of `keys` that Postgres must look up.
    pub(super) fn limit_look_up(&self, keys: &mut KeyColumns) {
        if let Some(known) = self.known() {
            keys.look_up_only(known.day, |key| known.filter.contains(&key.0));
        }
    }

    /// False: the key was not stored on the day before. None: which keys were stored is not known.
    pub fn may_have(&self, key: IdempotencyKey) -> Option<bool> {
        self.known().map(|known| known.filter.contains(&key.0))
    }

    fn known(&self) -> Option<Arc<DayKeys>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// None: there are too many.
async fn read(pool: &SessionPool, former: FormerDay) -> Result<Option<DayKeys>, store::Error> {
    let keys_max = former.pages.saturating_mul(KEYS_PER_PAGE);
    if keys_max > KEYS_MAX {
        tracing::info!(day = %former.day, keys_max, "too many idempotency keys for memory: each new one is looked up");
        return Ok(None);
    }
    let expected = usize::try_from(keys_max).unwrap_or_default().max(1);
    let mut filter = BloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(expected);
    let mut from = 0;
    while from < former.pages {
        let pages = from..from + PAGES_AT_ONCE;
        for key in keys_in_pages(&mut pool.acquire().await?, former.day, pages).await? {
            filter.insert(&key.0);
        }
        from += PAGES_AT_ONCE;
        sleep(PAUSE).await;
    }
    tracing::debug!(day = %former.day, pages = former.pages, "idempotency keys of the day before read");
    Ok(Some(DayKeys { day: former.day, filter }))
}
