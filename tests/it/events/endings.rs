//! Each way in which a notification ends: the log tells all its deliveries, then its end, once.

use std::sync::Arc;

use pushpost::domain::{FactKind, NotificationId, Priority, PushpostReason, Reason, RejectedToken};
use pushpost::queue::accept::NewNotification;
use pushpost::registry::erasure;
use pushpost::{maintenance, store};

use super::log_of;
use crate::queue::scheduled_for_users;
use pushpost_testkit::apps::user;
use pushpost_testkit::queue::{QueueNode, TestQueue, accepted, again, end_all, nobody_later};

/// The log as kinds and numbers of receipts or notifications, up to what has happened now.
async fn told(queue: &TestQueue) -> Vec<(FactKind, usize)> {
    queue.sequence_all(500).await;
    let log = log_of(&queue.database.pool, queue.app.id).await;
    let of_notifications = log.iter().filter(|entry| !entry.notifications.is_empty());
    of_notifications
        .map(|entry| match entry.kind {
            RECORDED => (RECORDED, entry.receipts.len()),
            kind => (kind, entry.notifications.len()),
        })
        .collect()
}

const RECORDED: FactKind = FactKind::Recorded;
const ENDED: FactKind = FactKind::Ended;

async fn run_out_of_time(queue: &TestQueue) {
    for table in ["jobs", "fan_outs"] {
        queue.database.execute(&format!("update {table} set expires_at = now() - interval '1 hour'")).await;
    }
}

#[tokio::test]
async fn a_notification_without_targets_ends_when_it_is_accepted() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.accept(queue.wanted([])).await;
    assert_eq!(told(&queue).await, [(ENDED, 1)]);
    queue.assert_all_is_told().await;
    node.stop().await;
}

/// Refused devices, with others beside them, and tokens that no lane sends to.
#[tokio::test]
async fn what_is_refused_at_acceptance_is_told_at_once() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let mut some_refused = queue.wanted([1, 2, 3]);
    some_refused.targets[1].refused = Some(Reason::new("payload_too_large"));
    node.accept(some_refused).await;
    assert_eq!(told(&queue).await, [(RECORDED, 1)], "the others wait");
    let token = RejectedToken {
        platform: None,
        written_platform: None,
        reference: None,
        reason: PushpostReason::BadToken,
    };
    let all_refused = NewNotification { rejected_tokens: vec![token], ..queue.wanted([]) };
    node.accept(all_refused).await;
    assert_eq!(told(&queue).await, [(RECORDED, 1), (RECORDED, 1), (ENDED, 1)]);
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    assert_eq!(told(&queue).await[3..], [(RECORDED, 1), (ENDED, 1)]);
    queue.assert_all_is_told().await;
    node.stop().await;
}

#[tokio::test]
async fn retries_are_not_told() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.accept(queue.wanted([1, 2])).await;
    end_all(node.take(queue.lane).await, &again("ServiceUnavailable"));
    node.idle().await;
    assert_eq!(told(&queue).await, []);
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    assert_eq!(told(&queue).await, [(RECORDED, 1), (ENDED, 1)]);
    queue.assert_all_is_told().await;
    node.stop().await;
}

#[tokio::test]
async fn waiting_jobs_that_expire_end_their_notification() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.accept(queue.wanted([1, 2])).await;
    run_out_of_time(&queue).await;
    store::waiting_jobs::expire(&mut queue.pool.acquire().await.unwrap(), 500).await.unwrap();
    assert_eq!(told(&queue).await, [(RECORDED, 1), (ENDED, 1)]);
    queue.assert_all_is_told().await;
    node.stop().await;
}

/// A broadcast after its first page, of which one device is sent and one is not yet.
async fn half_a_broadcast(queue: &TestQueue, node: &QueueNode) -> NotificationId {
    queue.crowd(4).await;
    let id = node.accept(queue.wanted_by_all(Priority::High)).await;
    assert_eq!(queue.page(1).await, Some((id, 1)));
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    assert_eq!(queue.page(1).await, Some((id, 1)));
    assert_eq!(told(queue).await, [(RECORDED, 1)], "it has no job at times, but a fan-out");
    id
}

#[tokio::test]
async fn a_broadcast_ends_after_its_last_page() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    half_a_broadcast(&queue, &node).await;
    while queue.page(3).await.is_some() {}
    assert_eq!(told(&queue).await, [(RECORDED, 1)]);
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    let told = told(&queue).await;
    assert_eq!(told.last(), Some(&(ENDED, 1)));
    queue.assert_all_is_told().await;
    node.stop().await;
}

#[tokio::test]
async fn a_broadcast_to_nobody_ends_with_its_only_page() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.accept(queue.wanted_by_all(Priority::High)).await;
    assert_eq!(told(&queue).await, []);
    assert_eq!(queue.page(10).await.map(|(_, found)| found), Some(0));
    assert_eq!(told(&queue).await, [(ENDED, 1)]);
    queue.assert_all_is_told().await;
    node.stop().await;
}

#[tokio::test]
async fn a_broadcast_that_is_cancelled_half_way_ends_once() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = half_a_broadcast(&queue, &node).await;
    // A lane has one device in hand: the end waits for its answer.
    let tickets = node.take(queue.lane).await;
    queue.cancel(id).await;
    assert_eq!(told(&queue).await, [(RECORDED, 1)]);
    end_all(tickets, &accepted());
    node.idle().await;
    queue.sweep_cancelled().await;
    assert_eq!(told(&queue).await, [(RECORDED, 1), (RECORDED, 1), (ENDED, 1)]);
    queue.cancel(id).await;
    queue.assert_all_is_told().await;
    node.stop().await;
}

#[tokio::test]
async fn a_broadcast_that_is_cancelled_before_its_first_page_ends() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted_by_all(Priority::High)).await;
    queue.cancel(id).await;
    assert_eq!(told(&queue).await, [(ENDED, 1)]);
    queue.assert_all_is_told().await;
    node.stop().await;
}

#[tokio::test]
async fn a_broadcast_that_expires_half_way_ends_once() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    half_a_broadcast(&queue, &node).await;
    run_out_of_time(&queue).await;
    let mut conn = queue.pool.acquire().await.unwrap();
    store::fan_outs::expire(&mut conn).await.unwrap();
    assert_eq!(told(&queue).await, [(RECORDED, 1)], "a job is left");
    store::waiting_jobs::expire(&mut conn, 500).await.unwrap();
    assert_eq!(told(&queue).await, [(RECORDED, 1), (RECORDED, 1), (ENDED, 1)]);
    queue.assert_all_is_told().await;
    node.stop().await;
}

/// What waits for an erased user ends with the erasure; the broadcast goes on without that user.
#[tokio::test]
async fn a_broadcast_outlives_the_erasure_of_a_user() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = half_a_broadcast(&queue, &node).await;
    queue.database.execute("update devices set user_id = 'u1'").await;
    erasure::erase(&queue.pool, queue.app.id, &user("u1")).await.unwrap();
    assert_eq!(told(&queue).await, [(RECORDED, 1), (RECORDED, 1)], "pages may find others");
    assert_eq!(queue.page(10).await, Some((id, 0)));
    assert_eq!(told(&queue).await, [(RECORDED, 1), (RECORDED, 1), (ENDED, 1)]);
    queue.assert_all_is_told().await;
    let fact =
        "select count(*) from event_log where fact is not null and convert_from(fact, 'UTF8') like '%u1%'";
    assert_eq!(queue.database.count(fact).await, 0);
    node.stop().await;
}

/// No device is found when it is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_notification_ends_when_nobody_is_found() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.accept(queue.wanted_later(nobody_later())).await;
    let to_nobody = NewNotification {
        scheduled: Some(scheduled_for_users(&["nobody"])),
        ..queue.wanted_later(nobody_later())
    };
    node.accept(to_nobody).await;
    assert_eq!(told(&queue).await, []);
    queue.bring_forward(1.0).await;
    crate::queue::resolve_scheduled(&queue, 1).await;
    let ended: usize = told(&queue).await.iter().map(|(_, count)| count).sum();
    assert_eq!(ended, 2);
    queue.assert_all_is_told().await;
    node.stop().await;
}

/// A notification that is over is not told again by what comes late: the record of a node that was called dead.
#[tokio::test]
async fn a_late_record_tells_nothing() {
    let queue = TestQueue::create().await;
    let (late, other) = (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    late.accept(queue.wanted([1])).await;
    let tickets = late.take(queue.lane).await;
    queue.lose(late.id()).await;
    end_all(other.take(queue.lane).await, &accepted());
    other.idle().await;
    end_all(tickets, &accepted());
    late.idle().await;
    assert_eq!(told(&queue).await, [(RECORDED, 1), (ENDED, 1)]);
    queue.assert_all_is_told().await;
    maintenance::sweep(&mut queue.pool.acquire().await.unwrap(), &[late.id()]).await.unwrap();
    for node in [late, other] {
        node.stop().await;
    }
}

/// At a limit of 1 too.
#[tokio::test]
async fn many_notifications_of_one_record_end_once_each() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    for device in 1..=40 {
        let mut new = queue.wanted([device]);
        Arc::make_mut(&mut new.content).priority = Priority::High;
        node.accept(new).await;
    }
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    queue.sequence_all(1).await;
    queue.assert_all_is_told().await;
    node.stop().await;
}
