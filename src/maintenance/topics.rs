//! Deleting topics without subscribers that the transactions which emptied them left: those of deleted devices, and those
//! that two transactions emptied at once.

use std::collections::BTreeMap;

use crate::domain::AppId;
use crate::store;
use crate::store::Session;
use crate::store::topics::TopicId;

const AT_ONCE: i64 = 1_000;

/// How far the present pass over the topics has come.
#[derive(Debug, Default)]
pub(super) struct Topics(TopicId);

impl Topics {
    /// One page. True: there is more.
    pub(super) async fn step(&mut self, conn: &mut Session) -> Result<bool, store::Error> {
        let page = store::topics::page(conn, self.0, AT_ONCE).await?;
        let mut empty: BTreeMap<AppId, Vec<TopicId>> = BTreeMap::new();
        for (app, topic, _) in page.iter().filter(|(_, _, is_empty)| *is_empty) {
            empty.entry(*app).or_default().push(*topic);
        }
        for (app, topics) in empty {
            let mut tx = conn.begin().await?;
            if store::topics::try_lock_count(&mut tx, app).await? {
                store::topics::purge(&mut tx, app, &topics).await?;
            }
            tx.commit().await?;
        }
        let is_full = page.len() as i64 == AT_ONCE;
        self.0 = page.last().filter(|_| is_full).map_or(0, |(_, topic, _)| *topic);
        Ok(is_full)
    }
}
