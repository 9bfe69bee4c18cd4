//! Duty: deletes the content of notifications that have been done for `retention.content`: title, body, data, and the
//! names in `unmatched`.
//!
//! A pass visits the notifications in the order of their ids. A notification that is not done yet is listed, and is
//! checked again after [`recheck_interval`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::store;
use crate::store::Session;

/// Notifications of one transaction.
const BATCH_NOTIFICATIONS: i64 = 200;
/// A notification is committed at most this long after its id was made, so no older notification can still appear.
const SETTLE_TIME: Duration = Duration::from_secs(600);
/// The longest time between two checks of a notification that is not done yet.
const RECHECK_MAX: Duration = Duration::from_secs(3600);
const RECHECK_MIN: Duration = Duration::from_secs(5);

/// The position of the present pass: the id that was visited last. None: the pass has not begun.
#[derive(Debug, Default)]
pub(super) struct Contents(Option<Uuid>);

impl Contents {
    /// Runs one transaction. True: the pass is not complete.
    pub(super) async fn step(&mut self, conn: &mut Session, content: Duration) -> Result<bool, store::Error> {
        let mut tx = conn.begin().await?;
        let listed = store::contents::due(&mut tx, BATCH_NOTIFICATIONS).await?;
        let after = match self.0 {
            Some(after) => after,
            None => store::contents::cursor(&mut tx).await?,
        };
        // Notifications are visited a little after they can be over, so that few of them must be checked again.
        let age = content + recheck_interval(content);
        let passed = store::contents::next(&mut tx, after, age.as_secs_f64(), BATCH_NOTIFICATIONS).await?;
        self.0 = passed.last().copied();
        settle(&mut tx, &listed, &passed, content).await?;
        if let Some(last) = passed.last() {
            store::contents::move_cursor(&mut tx, *last, content.max(SETTLE_TIME).as_secs_f64()).await?;
        }
        tx.commit().await?;
        let is_full = |ids: &[Uuid]| ids.len() as i64 == BATCH_NOTIFICATIONS;
        if !is_full(&passed) {
            self.0 = None;
        }
        Ok(is_full(&passed) || is_full(&listed))
    }
}

/// The time until a notification that is not done yet is checked again: a tenth of its retention, within limits.
pub(super) fn recheck_interval(content: Duration) -> Duration {
    (content / 10).clamp(RECHECK_MIN, RECHECK_MAX)
}

/// Deletes the contents that have been kept long enough, and lists the other notifications for a later check.
async fn settle(
    conn: &mut Session,
    listed: &[Uuid],
    passed: &[Uuid],
    content: Duration,
) -> Result<(), store::Error> {
    let (mut over, mut unmatched, mut kept) = (Vec::new(), Vec::new(), BTreeMap::new());
    let interval = recheck_interval(content).as_secs_f64();
    for ids in [listed, passed] {
        for state in store::contents::states(conn, ids, content.as_secs_f64()).await? {
            match (state.has_content, state.is_over) {
                (false, _) => {}
                // A scheduled notification is not checked again before it can be over.
                (true, false) => drop(kept.insert(state.id, state.kept_secs.unwrap_or(interval))),
                (true, true) if over.contains(&state.id) => {}
                (true, true) => {
                    over.push(state.id);
                    unmatched.push(state.unmatched.as_deref().and_then(without_names));
                }
            }
        }
    }
    if !over.is_empty() {
        store::contents::drop_all(conn, &over, &unmatched).await?;
    }
    let settled: Vec<Uuid> = listed.iter().chain(&over).copied().collect();
    if !settled.is_empty() {
        store::contents::unlist(conn, &settled).await?;
    }
    if !kept.is_empty() {
        let (ids, secs): (Vec<Uuid>, Vec<f64>) = kept.into_iter().unzip();
        store::contents::keep(conn, &ids, &secs).await?;
    }
    Ok(())
}

/// `unmatched` with its numbers and without its names. None: the stored document can't be read, so all of it is
/// deleted.
fn without_names(unmatched: &[u8]) -> Option<Vec<u8>> {
    let mut document: Value = serde_json::from_slice(unmatched).ok()?;
    for names in document.as_object_mut()?.values_mut().filter_map(Value::as_array_mut) {
        names.clear();
    }
    serde_json::to_vec(&document).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_deleted_and_numbers_are_kept() {
        let stored = br#"{"users":["u1"],"users_total":1,"devices":["dev_x"],"devices_total":7}"#;
        let kept = without_names(stored).expect("an object");
        assert_eq!(kept, br#"{"users":[],"users_total":1,"devices":[],"devices_total":7}"#);
        assert_eq!(without_names(b"?"), None);
    }

    #[test]
    fn a_notification_that_is_not_done_is_checked_at_least_hourly() {
        for (content, interval) in [(0, 5), (100, 10), (7 * 86_400, 3_600)] {
            assert_eq!(recheck_interval(Duration::from_secs(content)), Duration::from_secs(interval));
        }
    }
}
