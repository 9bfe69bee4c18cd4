//! Waits that end: each has a limit, and says what it waited for.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep, timeout};

/// For what ought to take milliseconds.
pub(crate) const SHORT: Duration = Duration::from_secs(30);

/// Does something that must be over by then.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    match timeout(limit, work).await {
        Ok(done) => done.with_context(|| what.to_owned()),
        Err(_) => bail!("{what}: not done within {} s", limit.as_secs()),
    }
}

/// Looks every `step` until `look` has found it.
pub(crate) async fn until<T>(
    limit: Duration,
    step: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await.with_context(|| what.to_owned())? {
            return Ok(found);
        }
        if begun.elapsed() > limit {
            bail!("{what}: waited {} s in vain", limit.as_secs());
        }
        sleep(step).await;
    }
}

/// As [`until`], for something that grows: only as long as it does.
pub(crate) async fn while_growing(
    patience: Duration,
    step: Duration,
    what: &str,
    goal: u64,
    mut look: impl AsyncFnMut() -> anyhow::Result<u64>,
) -> anyhow::Result<()> {
    let (mut seen, mut grew) = (0, Instant::now());
    loop {
        let now = look().await.with_context(|| what.to_owned())?;
        if now >= goal {
            return Ok(());
        }
        if now > seen {
            (seen, grew) = (now, Instant::now());
        } else if grew.elapsed() > patience {
            bail!("{what}: {now} of {goal}, and no more for {} s", patience.as_secs());
        }
        sleep(step).await;
    }
}
