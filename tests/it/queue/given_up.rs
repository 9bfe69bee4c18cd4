//! Callers that go away while their transaction begins: a client that hangs up, a request that times out.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use pushpost::store::deliveries::{self, DeliveryFilter, DeliveryPosition};

use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::queue::QueueNode;
use pushpost_testkit::queue::{TestQueue, small_queue_pool};

/// Polls a future up to `times` times, with time for Postgres in between, and drops it. Says whether it had ended.
async fn give_up_after(times: usize, future: impl Future) -> bool {
    let mut future = pin!(future);
    for _ in 0..times {
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    false
}

/// The connection of a transaction that was given up is used again. Later statements must not join that transaction: they
/// would be acknowledged and never committed.
#[tokio::test]
async fn a_transaction_that_is_given_up_while_it_begins_leaves_nothing_behind() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted([1])).await;
    // The proxy runs on this thread, so that no answer comes while the future is polled: a poll is one round trip at most.
    let proxy = PostgresProxy::of(&queue.database).await;
    let pool = small_queue_pool(proxy.options(), 1);
    let mut inserted = 1;
    for times in 1.. {
        let filter = DeliveryFilter::default();
        let ended = give_up_after(
            times,
            deliveries::page(&pool, queue.app.id, id, &filter, DeliveryPosition::START, 10, true),
        )
        .await;
        sqlx::query("insert into apps (name) values ($1)")
            .bind(format!("app {times}"))
            .execute(&pool)
            .await
            .unwrap();
        inserted += 1;
        assert_eq!(
            queue.database.count("select count(*) from apps").await,
            inserted,
            "given up after {times} polls"
        );
        if ended {
            break;
        }
    }
    assert!(inserted > 4, "it was given up at several points");
    node.stop().await;
}
