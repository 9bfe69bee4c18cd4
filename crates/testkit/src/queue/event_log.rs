//! What the event log of a [`TestQueue`] must hold once all notifications have ended.

use pushpost::store::events;

use super::TestQueue;

/// Receipts that the log does not tell once, notifications that it does not end once or ends too early, and gaps.
const LOG_FAULTS: &str = "
    with told as materialized (
      select position, receipt_id, notification_id
      from event_log, unnest(receipts, notifications) as told(receipt_id, notification_id)
      where kind = 1 and receipt_id is not null),
    ends as materialized (select position, n as notification_id from event_log, unnest(notifications) n where kind = 2)
    select 'receipt ' || r.receipt_id || ' is told ' || count(t.position) || ' times'
    from receipts r left join told t on t.receipt_id = r.receipt_id and t.notification_id = r.notification_id
    group by r.receipt_id, r.retried < cardinality(r.devices)
    having count(t.position) <> (r.retried < cardinality(r.devices))::int
    union all
    select 'the log tells of receipt ' || receipt_id || ', which there is not' from told t
    where not exists (select from receipts r where r.receipt_id = t.receipt_id and r.notification_id = t.notification_id)
    union all
    select n.notification_id || ' ends ' || count(e.position) || ' times'
    from notifications n left join ends e using (notification_id) group by n.notification_id having count(e.position) <> 1
    union all
    select e.notification_id || ' ends at ' || e.position || ', before its receipt at ' || t.position
    from ends e join told t using (notification_id) where t.position > e.position
    union all
    select 'the log has ' || count(*) || ' entries up to ' || max(position) from event_log having count(*) <> max(position)
    union all
    select 'facts wait' where exists (select from event_outbox) or exists (select from event_ending)";

impl TestQueue {
    /// Runs the sequencer until nothing waits, so many rows at a time.
    pub async fn sequence_all(&self, limit: i64) {
        let mut conn = self.pool.acquire().await.unwrap();
        loop {
            let moved = events::sequence(&mut conn, limit).await.unwrap();
            if moved.taken == 0 && moved.ended_late == 0 {
                return;
            }
        }
    }

    /// Every receipt is told once, every notification ended once after its receipts, and nothing waits. Fails while a
    /// notification has devices left.
    pub async fn assert_all_is_told(&self) {
        let faults: Vec<String> =
            sqlx::query_scalar(LOG_FAULTS).fetch_all(&self.database.pool).await.unwrap();
        assert_eq!(faults, Vec::<String>::new());
    }
}
