//! Setting devices aside on a provider's verdict, and saying so in the log.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::domain::{DeviceId, Verdict};
use crate::store;

/// Sets aside the devices whose verdicts hold against their registration and their token; answers which. Meant to run
/// after the receipts, in a transaction of its own: a crash between costs one more verdict (docs/queue.md 9e).
///
/// # Errors
/// The database's; nothing was set aside then.
pub async fn quarantine(
    conn: &mut PgConnection,
    verdicts: &[Verdict],
) -> Result<Vec<DeviceId>, store::Error> {
    let quarantined = store::quarantine::apply(conn, verdicts).await?;
    if !verdicts.is_empty() {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for verdict in verdicts {
            *reasons.entry(verdict.reason.as_str()).or_default() += 1;
        }
        tracing::info!(
            verdicts = verdicts.len(),
            quarantined = quarantined.len(),
            ?reasons,
            "dead tokens set aside"
        );
    }
    Ok(quarantined)
}
