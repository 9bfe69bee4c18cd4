//! Dropping title, body, data and the names in `unmatched` once a notification has been done for `retention.content`.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::store;
use crate::store::Session;

/// Notifications of one transaction.
const AT_ONCE: i64 = 200;
/// No acceptance takes longer from making an id to its commit.
const SETTLED: Duration = Duration::from_secs(600);
/// Longest time between two looks at a notification that is not done yet.
const LOOK_MAX: Duration = Duration::from_secs(3600);
const LOOK_MIN: Duration = Duration::from_secs(5);

/// How far the present pass over the notifications has come. None: it has not begun.
#[derive(Debug, Default)]
pub(super) struct Contents(Option<Uuid>);

impl Contents {
    /// One transaction. True: there is more to do at once.
    pub(super) async fn step(&mut self, conn: &mut Session, content: Duration) -> Result<bool, store::Error> {
        let mut tx = conn.begin().await?;
        let listed = store::contents::due(&mut tx, AT_ONCE).await?;
        let after = match self.0 {
            Some(after) => after,
            None => store::contents::cursor(&mut tx).await?,
        };
        // A little later than the first could be over, so that few are passed too early.
        let age = content + look_interval(content);
        let passed = store::contents::next(&mut tx, after, age.as_secs_f64(), AT_ONCE).await?;
        self.0 = passed.last().copied();
        settle(&mut tx, &listed, &passed, content).await?;
        if let Some(last) = passed.last() {
            store::contents::move_cursor(&mut tx, *last, content.max(SETTLED).as_secs_f64()).await?;
        }
        tx.commit().await?;
        let is_full = |ids: &[Uuid]| ids.len() as i64 == AT_ONCE;
        if !is_full(&passed) {
            self.0 = None;
        }
        Ok(is_full(&passed) || is_full(&listed))
    }
}

/// How long a notification that is not done yet is left alone.
pub(super) fn look_interval(content: Duration) -> Duration {
    (content / 10).clamp(LOOK_MIN, LOOK_MAX)
}

/// Drops the contents that are over, and lists those that are not.
async fn settle(
    conn: &mut Session,
    listed: &[Uuid],
    passed: &[Uuid],
    content: Duration,
) -> Result<(), store::Error> {
    let (mut over, mut unmatched, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for ids in [listed, passed] {
        for facts in store::contents::facts(conn, ids, content.as_secs_f64()).await? {
            match (facts.has_content, facts.is_over) {
                (false, _) => {}
                (true, false) => kept.push(facts.id),
                (true, true) if over.contains(&facts.id) => {}
                (true, true) => {
                    over.push(facts.id);
                    unmatched.push(facts.unmatched.as_deref().and_then(without_names));
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
    kept.sort_unstable();
    kept.dedup();
    if !kept.is_empty() {
        store::contents::keep(conn, &kept, look_interval(content).as_secs_f64()).await?;
    }
    Ok(())
}

/// What is stored of those who were addressed in vain, with numbers only. What can't be read goes as a whole.
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
    fn names_go_and_numbers_stay() {
        let stored = br#"{"users":["u1"],"users_total":1,"devices":["dev_x"],"devices_total":7}"#;
        let kept = without_names(stored).expect("an object");
        assert_eq!(kept, br#"{"users":[],"users_total":1,"devices":[],"devices_total":7}"#);
        assert_eq!(without_names(b"?"), None);
    }

    #[test]
    fn what_is_not_done_is_looked_at_at_least_hourly() {
        for (content, interval) in [(0, 5), (100, 10), (7 * 86_400, 3_600)] {
            assert_eq!(look_interval(Duration::from_secs(content)), Duration::from_secs(interval));
        }
    }
}
