//! How many receipts and statements outcomes cost, however they arrive (docs/queue.md#receipt-flush).

use std::time::Duration;

use pushpost::domain::DeliveryCounts;

use pushpost_testkit::held_time::{HeldTime, until};
use pushpost_testkit::queue::TestQueue;
use pushpost_testkit::queue::{QueueNode, accepted, end, end_all};

/// The recorder waits so long for more outcomes of a job that goes on.
const OLDEST_MS: u64 = 250;
/// Sessions of this database, besides the one that asks, that run a statement.
const OTHERS_AT_WORK: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and state = 'active' and pid <> pg_backend_pid()";

/// docs/queue.md#receipt-flush: at most four receipts a second for a job with outcomes that come in one by one.
#[tokio::test]
async fn slow_outcomes_share_receipts() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    // The recorder has its connection: opening one takes longer than the clock gives it.
    node.accept(queue.wanted([1_000])).await;
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    let id = node.accept(queue.wanted(1..=500)).await;
    let tickets = node.take(queue.lane).await;
    let time = HeldTime::hold();
    let mut passed_ms = 0;
    for ticket in tickets {
        end(ticket, accepted());
        time.pass(Duration::from_millis(4)).await;
        passed_ms += 4;
        // The clock stands still while the recorder writes.
        until("the recorder has written", async || queue.database.count(OTHERS_AT_WORK).await == 0).await;
    }
    until("all is on record", async || {
        time.pass(Duration::from_millis(1)).await;
        node.leases.is_empty()
    })
    .await;
    assert_eq!(queue.counts(id).await, DeliveryCounts { accepted: 500, ..DeliveryCounts::default() });
    let receipts = queue.database.count("select count(*) from receipts").await.unsigned_abs() - 1;
    let most = passed_ms / OLDEST_MS + 500 / 100 + 1;
    assert!(receipts <= most, "{receipts} receipts in {passed_ms} ms");
    assert!(receipts >= 5, "nothing waits for the job's end: {receipts}");
}

/// docs/queue.md#receipt-flush: outcomes of a job that goes on are on record after a quarter of a second.
#[tokio::test]
async fn an_outcome_does_not_wait_for_its_job_to_end() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=500)).await;
    let mut tickets = node.take(queue.lane).await;
    let time = HeldTime::hold();
    end_all(tickets.drain(..3), &accepted());
    for _ in 0..20 {
        queue.database.count("select 1::bigint").await;
    }
    assert_eq!(
        queue.counts(id).await,
        DeliveryCounts { pending: 500, ..DeliveryCounts::default() },
        "others may join them"
    );
    time.pass(Duration::from_millis(OLDEST_MS + 1)).await;
    until("they are on record", async || queue.counts(id).await.accepted == 3).await;
}

/// docs/queue.md#receipt-flush: a burst is written in hundreds.
#[tokio::test]
async fn a_burst_is_a_few_receipts() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.accept(queue.wanted(1..=500)).await;
    let tickets = node.take(queue.lane).await;
    end_all(tickets, &accepted());
    node.idle().await;
    let receipts = queue.database.count("select count(*) from receipts").await;
    assert!(receipts <= 6, "{receipts} receipts for 500 outcomes at once");
}

/// docs/queue.md#receipt-flush: jobs that end together share a transaction.
#[tokio::test]
async fn singles_share_statements() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    for device in 1..=100 {
        node.accept(queue.wanted([device])).await;
    }
    let tickets = node.take(queue.lane).await;
    assert_eq!(tickets.len(), 100);
    end_all(tickets, &accepted());
    node.idle().await;
    assert_eq!(queue.database.count("select count(*) from receipts").await, 100);
    let transactions = queue.database.count("select count(distinct xmin::text) from receipts").await;
    assert!(transactions <= 10, "{transactions} transactions for 100 singles at once");
}
