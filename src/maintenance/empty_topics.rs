//! Duty: deletes topics without subscribers that their last transaction could not delete: topics of deleted devices,
//! and topics that two transactions emptied at the same time.

use std::collections::BTreeMap;

use crate::domain::AppId;
use crate::store;
use crate::store::Session;
use crate::store::topics::TopicId;

/// Topics that one step reads.
const PAGE_TOPICS: i64 = 1_000;

/// The position of the present pass over the topics.
#[derive(Debug, Default)]
pub(super) struct EmptyTopics(TopicId);

impl EmptyTopics {
    /// Reads one page and deletes its empty topics. True: there are more pages.
    pub(super) async fn step(&mut self, conn: &mut Session) -> Result<bool, store::Error> {
        let page = store::topics::page(conn, self.0, PAGE_TOPICS).await?;
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
        let is_full = page.len() as i64 == PAGE_TOPICS;
        self.0 = page.last().filter(|_| is_full).map_or(0, |(_, topic, _)| *topic);
        Ok(is_full)
    }
}
