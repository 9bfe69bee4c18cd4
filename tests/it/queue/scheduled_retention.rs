//! How long the contents and days of scheduled notifications are kept: they may end months after they were accepted, without a
//! receipt, or with receipts from their acceptance alone.

use chrono::{DateTime, Utc};
use pushpost::domain::{NotificationId, PushpostReason, RejectedToken};
use pushpost::queue::accept::NewNotification;
use pushpost::store;
use pushpost::store::contents::ContentState;
use pushpost_testkit::queue::{QueueNode, TestQueue, nobody_later};

use super::scheduled::{for_users, resolve};

/// What the retention of contents knows of a notification, if contents are kept for a minute.
async fn content_state(queue: &TestQueue, id: NotificationId) -> ContentState {
    let mut conn = queue.pool.acquire().await.unwrap();
    store::contents::states(&mut conn, &[id.0], 60.0).await.unwrap().remove(0)
}

/// A notification without devices, with a token that cannot be read.
fn with_bad_token(queue: &TestQueue) -> NewNotification {
    let bad = RejectedToken {
        platform: None,
        written_platform: None,
        reason: PushpostReason::BadToken,
        reference: None,
    };
    NewNotification { rejected_tokens: vec![bad], ..queue.wanted_later(nobody_later()) }
}

#[tokio::test]
async fn its_content_is_not_checked_before_it_can_be_over() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted_later(for_users(&["u1"]))).await;
    let scheduled = content_state(&queue, id).await;
    assert!(!scheduled.is_over);
    let sql = "select extract(epoch from due_at - now())::float8 from notifications";
    let due_in: f64 = sqlx::query_scalar(sql).fetch_one(&queue.database.pool).await.unwrap();
    let kept_secs = scheduled.kept_secs.unwrap();
    assert!(kept_secs >= due_in + 60.0 && kept_secs < due_in + 3_600.0, "{kept_secs} {due_in}");
    queue.bring_forward(1.0).await;
    assert_eq!(content_state(&queue, id).await.kept_secs, None, "from then on it is checked as any other");
}

/// A scheduled notification may end months after its day, and without a receipt.
#[tokio::test]
async fn its_day_is_kept_until_it_has_ended_for_long_enough() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let days_ago = async |days: i32| {
        let then = sqlx::query_scalar("select now() - make_interval(days => $1)").bind(days);
        let then: DateTime<Utc> = then.fetch_one(&queue.database.pool).await.unwrap();
        let id = NotificationId::new(then);
        let mut conn = queue.pool.acquire().await.unwrap();
        store::partitions::create_day(&mut conn, then.date_naive()).await.unwrap();
        let accepted = node.accept(queue.wanted_later(nobody_later())).await;
        for table in ["notifications", "fan_outs"] {
            sqlx::query(sqlx::AssertSqlSafe(format!(
                "update {table} set notification_id = $2 where notification_id = $1"
            )))
            .bind(accepted.0)
            .bind(id.0)
            .execute(&queue.database.pool)
            .await
            .unwrap();
        }
        (id, then.date_naive())
    };
    let (waits, waiting_day) = days_ago(40).await;
    let (_, day) = days_ago(50).await;
    let mut conn = queue.pool.acquire().await.unwrap();
    let droppable =
        async |conn: &mut store::Session| store::partitions::droppable_days(conn, 30).await.unwrap();
    assert!(droppable(&mut conn).await.is_empty(), "both are still to be sent");
    queue.bring_forward(1.0).await;
    resolve(&queue, 1).await;
    assert_eq!(queue.database.count("select count(*) from receipts").await, 0);
    assert!(droppable(&mut conn).await.is_empty(), "both have just ended");
    let sql = format!(
        "update notifications set due_at = now() - interval '31 days' where notification_id <> '{}'",
        waits.0
    );
    queue.database.execute(&sql).await;
    assert_eq!(droppable(&mut conn).await, [day]);
    queue
        .database
        .execute("update notifications set due_at = now() - interval '31 days', cancelled_at = now()")
        .await;
    assert!(droppable(&mut conn).await.is_empty(), "a cancellation ends it later");
    queue.database.execute("update notifications set cancelled_at = now() - interval '31 days'").await;
    assert_eq!(droppable(&mut conn).await, [day, waiting_day]);
}

/// Tokens that can't be read are recorded at acceptance, which may have been months ago.
#[tokio::test]
async fn its_content_is_kept_from_the_time_when_it_was_due_although_a_receipt_is_older() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(with_bad_token(&queue)).await;
    queue.database.execute("update receipts set recorded_at = now() - interval '1 day'").await;
    queue.bring_forward(1.0).await;
    resolve(&queue, 1).await;
    assert_eq!(queue.counts(id).await.targets(), 1);
    let mut conn = queue.pool.acquire().await.unwrap();
    let status = store::status::read(&mut conn, queue.app.id, id).await.unwrap().unwrap();
    let due_at = sqlx::query_scalar("select due_at from notifications");
    let due_at: DateTime<Utc> = due_at.fetch_one(&queue.database.pool).await.unwrap();
    assert_eq!(status.done_at, Some(due_at), "the receipt is a day older");
    assert!(!content_state(&queue, id).await.is_over, "it ended a second ago");
    queue.database.execute("update notifications set due_at = now() - interval '61 s'").await;
    assert!(content_state(&queue, id).await.is_over);
}

#[tokio::test]
async fn the_content_of_a_cancelled_one_is_not_kept_until_it_would_have_been_due() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted_later(for_users(&["u1"]))).await;
    let mut conn = queue.pool.acquire().await.unwrap();
    let kept_secs = content_state(&queue, id).await.kept_secs.unwrap();
    store::contents::keep(&mut conn, &[id.0], &[kept_secs]).await.unwrap();
    assert!(store::contents::due(&mut conn, 10).await.unwrap().is_empty());
    queue.cancel(id).await;
    queue.sweep_cancelled().await;
    assert_eq!(store::contents::due(&mut conn, 10).await.unwrap(), [id.0]);
    let cancelled = content_state(&queue, id).await;
    assert!(!cancelled.is_over);
    assert!(cancelled.kept_secs.unwrap() <= 60.0, "{cancelled:?}");
    queue.database.execute("update notifications set cancelled_at = now() - interval '61 s'").await;
    assert!(content_state(&queue, id).await.is_over);
}
