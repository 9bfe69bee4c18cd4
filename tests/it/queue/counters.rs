//! Counters of a job that only grow stop at the end of their column, because a record that does not fit would never be
//! stored, and the job would stay leased.

use std::time::Duration;

use pushpost::domain::{DeliveryStatus, Reason};
use pushpost::queue::recorder::Disposition;

use pushpost_testkit::queue::TestQueue;
use pushpost_testkit::queue::{QueueNode, end, end_all};

/// An attempt without an answer, after which the next one is due at once.
fn unanswered() -> Disposition {
    let reason = Some(Reason::new("no_answer"));
    Disposition::Retry { lane: None, delay: Duration::ZERO, attempted: true, unanswered: true, reason }
}

#[tokio::test]
async fn attempts_are_counted_up_to_the_end_of_their_columns() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.accept(queue.wanted([1])).await;
    queue.database.execute("update jobs set attempt = 32766, unanswered = 32765, in_doubt = true").await;
    let counters = "select attempt::int, unanswered::int from jobs";
    for _ in 0..2 {
        end_all(node.take(queue.lane).await, &unanswered());
        node.idle().await;
        let stored: (i32, i32) = sqlx::query_as(counters).fetch_one(&queue.pool).await.unwrap();
        assert_eq!(stored, (32_767, 32_767));
    }
    queue.assert_sound().await;
    node.stop().await;
}

#[tokio::test]
async fn deaths_of_nodes_are_counted_up_to_the_end_of_their_column() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let dead = QueueNode::enter(&queue).await;
    node.accept(queue.wanted([1, 2])).await;
    queue.database.execute("update jobs set node_deaths = 32767").await;
    let deaths = "select max(node_deaths)::bigint from jobs";
    assert_eq!(dead.claim(queue.lane).await.len(), 1);
    queue.lose(dead.id()).await;
    assert_eq!(queue.database.count(deaths).await, 32_767);

    // The first device is rejected without an attempt, which counts as one more death.
    let mut tickets = node.take(queue.lane).await;
    let reason = Some(Reason::new("internal"));
    let rejected =
        Disposition::Final { status: DeliveryStatus::Rejected, attempted: false, reason, provider_id: None };
    end(tickets.remove(0), rejected);
    drop(tickets);
    node.idle().await;
    assert_eq!(queue.database.count(deaths).await, 32_767);
    dead.stop().await;
    node.stop().await;
}
