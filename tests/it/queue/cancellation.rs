//! Cancelled notifications (docs/queue.md#cancellation): what waits ends at once, what lanes hold ends with them, what comes
//! to wait later ends by the leader. The sum is right at every moment.

use std::time::Duration;

use pushpost::audience::PageLimits;
use pushpost::domain::{DeliveryCounts, DeliveryStatus, NotificationId, NotificationStatus, Priority};
use pushpost::queue::accept::NewNotification;
use pushpost::queue::recorder::Disposition;
use pushpost::store::{self, fan_outs};
use pushpost_testkit::held_time::until;
use pushpost_testkit::queue::{QueueNode, TestQueue, accepted, again, end, end_all};
use tokio::task::JoinSet;

const WAITING_FOR_LOCK: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
const PENDING: &str = "select count(*) from pending_cancellations";

async fn status(queue: &TestQueue, id: NotificationId) -> NotificationStatus {
    let mut conn = queue.pool.acquire().await.unwrap();
    store::status::read(&mut conn, queue.app.id, id).await.unwrap().unwrap().status
}

#[tokio::test]
async fn what_waits_ends_at_once_and_nothing_else_does() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let (id, other) = (node.accept(queue.wanted(1..=700)).await, node.accept(queue.wanted(701..=703)).await);
    assert_eq!(queue.cancel(id).await, 700);
    assert_eq!(queue.counts(id).await, DeliveryCounts { cancelled: 700, ..DeliveryCounts::default() });
    assert_eq!(queue.counts(other).await.pending, 3);
    let deliveries = queue.deliveries(id).await;
    assert!(deliveries.iter().all(|d| (d.attempts, d.reason.as_deref()) == (0, Some("requested"))));
    assert_eq!(status(&queue, id).await, NotificationStatus::Cancelled);
    assert_eq!(queue.cancel(id).await, 0, "a repeat changes nothing");
    queue.sweep_cancelled().await;
    assert_eq!(queue.database.count(PENDING).await, 0);
    queue.assert_sound().await;
    node.stop().await;
}

#[tokio::test]
async fn what_is_done_stays_done() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=3)).await;
    let mut tickets = node.take(queue.lane).await;
    let gone = Disposition::Final {
        status: DeliveryStatus::Cancelled,
        attempted: false,
        reason: Some(pushpost::domain::PushpostReason::UserChanged.into()),
        provider_id: None,
    };
    end(tickets.remove(0), gone.clone());
    until("it is on record", async || queue.counts(id).await.cancelled == 1).await;
    queue.cancel(id).await;
    end_all(tickets, &accepted());
    node.idle().await;
    assert_eq!(status(&queue, id).await, NotificationStatus::Done, "no device was stopped by the request");
    let done = node.accept(queue.wanted(4..=4)).await;
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    queue.cancel(done).await;
    let marked = "select count(*) from notifications where cancelled_at is not null";
    assert_eq!(queue.database.count(marked).await, 1, "the other was done before");
    queue.assert_sound().await;
    node.stop().await;
}

/// The leader's sweep sees what the request could not: retries, jobs that were given back, and those of a dead node.
#[tokio::test]
async fn what_comes_to_wait_after_the_request_ends_by_the_leader() {
    let queue = TestQueue::create().await;
    let (node, dying) = (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    let id = node.accept(queue.wanted(1..=4)).await;
    let mut tickets = node.take(queue.lane).await;
    let lost = node.accept(queue.wanted(5..=6)).await;
    let held = dying.take(queue.lane).await;
    for id in [id, lost] {
        assert_eq!(queue.cancel(id).await, 0, "nodes hold all of it");
    }
    queue.sweep_cancelled().await;
    assert_eq!(queue.counts(id).await.pending, 4);
    end(tickets.pop().unwrap(), accepted());
    let unanswered = match again("no_answer") {
        Disposition::Retry { lane, delay, attempted, reason, .. } => {
            Disposition::Retry { lane, delay, attempted, reason, unanswered: true }
        }
        other => other,
    };
    end(tickets.pop().unwrap(), unanswered);
    end(tickets.pop().unwrap(), again("Busy"));
    drop(tickets);
    node.idle().await;
    assert_eq!(queue.counts(id).await.pending, 3, "two retries, and a device that its lane gave back");
    queue.lose(dying.id()).await;
    queue.sweep_cancelled().await;
    let counts = DeliveryCounts { accepted: 1, unknown: 1, cancelled: 2, ..DeliveryCounts::default() };
    assert_eq!(queue.counts(id).await, counts);
    // docs/queue.md#attempts-in-doubt: the dead node may have sent them.
    assert_eq!(queue.counts(lost).await, DeliveryCounts { unknown: 2, ..DeliveryCounts::default() });
    assert_eq!(
        status(&queue, lost).await,
        NotificationStatus::Done,
        "no device is known to have been stopped"
    );
    assert_eq!(queue.database.count(PENDING).await, 0);
    end_all(held, &accepted());
    dying.idle().await;
    assert_eq!(queue.counts(lost).await.unknown, 2, "too late");
    queue.assert_sound().await;
}

/// docs/queue.md#cancellation: the sweep comes after the page that was being written.
#[tokio::test]
async fn a_page_that_is_being_written_is_stopped_too() {
    let queue = TestQueue::create().await;
    queue.crowd(30).await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted_by_all(Priority::Normal)).await;
    assert_eq!(queue.page(10).await, Some((id, 10)));
    let mut one = queue.pool.acquire().await.unwrap();
    let mut tx = one.begin().await.unwrap();
    let fan_out = fan_outs::lock_next(&mut tx, &[queue.app.id], &[]).await.unwrap().unwrap();
    let limits = PageLimits { devices: 10, ..PageLimits::DEFAULT };
    assert_eq!(queue.write(&mut tx, &fan_out, limits).await, 10);
    let finish = async {
        queue.database.until_count(WAITING_FOR_LOCK, 1).await;
        assert_eq!(queue.counts(id).await.pending, 10, "the page is not committed yet");
        tx.commit().await.unwrap();
    };
    let (stopped, ()) = tokio::join!(queue.cancel(id), finish);
    assert_eq!(stopped, 20, "and the last ten devices never were targets");
    assert_eq!(queue.page(10).await, None);
    assert_eq!(queue.counts(id).await, DeliveryCounts { cancelled: 20, ..DeliveryCounts::default() });
    queue.assert_sound().await;
}

#[tokio::test]
async fn an_audience_of_which_nothing_was_found_is_cancelled_without_targets() {
    let queue = TestQueue::create().await;
    queue.crowd(3).await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted_by_all(Priority::Normal)).await;
    assert_eq!(queue.cancel(id).await, 0);
    assert_eq!(
        (queue.counts(id).await.targets(), status(&queue, id).await),
        (0, NotificationStatus::Cancelled)
    );
    assert_eq!(queue.page(10).await, None);
    queue.assert_sound().await;
}

/// Pages, claims and requests to cancel at the same time: the sum is right whenever it is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_is_right_while_a_broadcast_is_cancelled_twice_at_once() {
    let queue = TestQueue::create().await;
    queue.crowd(60_000).await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted_by_all(Priority::Normal)).await;
    let (found, stop) = (std::sync::Arc::default(), tokio_util::sync::CancellationToken::new());
    let fan_outs = queue.fan_outs(&found);
    let mut tasks = JoinSet::new();
    tasks.spawn(fan_outs.run(stop.clone()));
    until("two pages are found", async || queue.counts(id).await.targets() >= 20_000).await;
    let in_hand = node.take(queue.lane).await;
    let (sent, held) = (in_hand.len(), node.leases.is_empty());
    assert!(sent >= 20_000 && !held);
    let watch = async {
        let mut last = 0;
        loop {
            // Until the fan-out is gone, a further page may come.
            let is_cut_off = queue.database.count("select count(*) from fan_outs").await == 0;
            let counts = queue.counts(id).await;
            assert!(counts.targets() >= last, "{counts:?} after {last}");
            last = counts.targets();
            if is_cut_off && counts.pending == sent as u64 {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (one, other, targets) = tokio::join!(queue.cancel(id), queue.cancel(id), watch);
    assert_eq!(one + other + sent as u64, targets, "each device was stopped once");
    end_all(in_hand, &accepted());
    node.idle().await;
    let counts = queue.counts(id).await;
    assert_eq!((counts.accepted, counts.cancelled, counts.pending), (sent as u64, targets - sent as u64, 0));
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    queue.assert_sound().await;
    node.stop().await;
}

#[tokio::test]
async fn a_named_device_of_a_broadcast_is_stopped_with_it() {
    let queue = TestQueue::create().await;
    let (first, _) = queue.crowd(5).await;
    let node = QueueNode::enter(&queue).await;
    let fan_out = Some(pushpost_testkit::queue::all_but([first]));
    let id = node.accept(NewNotification { fan_out, ..queue.wanted([first]) }).await;
    assert_eq!(queue.cancel(id).await, 1);
    assert_eq!(queue.counts(id).await.targets(), 1);
    queue.assert_sound().await;
}
