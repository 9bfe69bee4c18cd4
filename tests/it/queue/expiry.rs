//! Waiting jobs that expire (docs/queue.md#expiry, #attempts-in-doubt).

use chrono::DateTime;
use pushpost::domain::{DeliveryCounts, DeliveryStatus, NotificationId, Reason};
use pushpost::provider::apns;
use pushpost::queue::recorder::Disposition;
use pushpost::store;

use pushpost_testkit::held_time::until;
use pushpost_testkit::queue::TestQueue;
use pushpost_testkit::queue::{QueueNode, accepted, again, end, end_all};

async fn expire(queue: &TestQueue) -> u64 {
    store::waiting_jobs::expire(&mut queue.pool.acquire().await.unwrap(), 500).await.unwrap()
}

async fn run_out_of_time(queue: &TestQueue, id: NotificationId) {
    sqlx::query("update jobs set expires_at = now() - interval '1 second' where notification_id = $1")
        .bind(id.0)
        .execute(&queue.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn only_expired_jobs_end() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let (late, early) = (node.accept(queue.wanted(1..=3)).await, node.accept(queue.wanted(4..=5)).await);
    run_out_of_time(&queue, late).await;
    assert_eq!(expire(&queue).await, 1);
    assert_eq!(queue.counts(late).await, DeliveryCounts { expired: 3, ..DeliveryCounts::default() });
    assert_eq!(queue.counts(early).await, DeliveryCounts { pending: 2, ..DeliveryCounts::default() });
    let of_late = queue.deliveries(late).await;
    assert!(of_late.iter().all(|d| (d.attempts, d.reason.as_deref()) == (0, Some("ttl"))), "{of_late:?}");
    assert_eq!(expire(&queue).await, 0);
    queue.assert_sound().await;
    node.stop().await;
}

/// docs/queue.md#expiry: a leased job is its holder's to end.
#[tokio::test]
async fn a_leased_job_is_left_alone() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=2)).await;
    let tickets = node.take(queue.lane).await;
    run_out_of_time(&queue, id).await;
    assert_eq!(expire(&queue).await, 0);
    end_all(tickets, &accepted());
    node.idle().await;
    assert_eq!(queue.counts(id).await, DeliveryCounts { accepted: 2, ..DeliveryCounts::default() });
    node.stop().await;
}

/// Only what is left of a job expires.
#[tokio::test]
async fn a_device_that_left_the_job_keeps_its_outcome() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=5)).await;
    let mut tickets = node.take(queue.lane).await;
    end(tickets.remove(3), accepted());
    end(tickets.remove(0), accepted());
    until("two are on record", async || queue.counts(id).await.accepted == 2).await;
    queue.lose(node.id()).await;
    run_out_of_time(&queue, id).await;
    assert_eq!(expire(&queue).await, 1);
    let outcomes: Vec<_> = queue.outcomes(id).await.into_values().collect();
    let (accepted, unknown) = (DeliveryStatus::Accepted, DeliveryStatus::Unknown);
    assert_eq!(outcomes, [accepted, unknown, unknown, accepted, unknown], "its node may have sent the rest");
    assert_eq!(queue.database.count("select count(*) from jobs").await, 0);
    queue.assert_sound().await;
}

/// docs/queue.md#attempts-in-doubt: `expired` says that no attempt is in doubt.
#[tokio::test]
async fn a_device_in_doubt_ends_as_unknown() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=2)).await;
    let mut tickets = node.take(queue.lane).await;
    let doubtful = match again("no_answer") {
        Disposition::Retry { lane, delay, attempted, reason, .. } => {
            Disposition::Retry { lane, delay, attempted, reason, unanswered: true }
        }
        other => other,
    };
    end(tickets.pop().unwrap(), doubtful);
    end(tickets.pop().unwrap(), again("Busy"));
    node.idle().await;
    run_out_of_time(&queue, id).await;
    assert_eq!(expire(&queue).await, 2);
    assert_eq!(
        queue.counts(id).await,
        DeliveryCounts { expired: 1, unknown: 1, ..DeliveryCounts::default() }
    );
    let mut deliveries = queue.deliveries(id).await;
    deliveries.sort_by_key(|delivery| delivery.device);
    let lines: Vec<_> =
        deliveries.iter().map(|d| (d.status.as_str(), d.attempts, d.reason.as_deref().unwrap())).collect();
    assert_eq!(lines, [("expired", 1, "Busy"), ("unknown", 1, "no_answer")]);
    queue.assert_sound().await;
    node.stop().await;
}

/// docs/queue.md#attempts-in-doubt: what a dead node held may have been sent, until a later attempt is answered. A job
/// that its node gave back was not.
#[tokio::test]
async fn a_dead_nodes_devices_are_in_doubt_until_a_later_attempt_is_answered() {
    let queue = TestQueue::create().await;
    let (dying, node) = (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    let given_back = dying.accept(queue.wanted(1..=2)).await;
    drop(dying.take(queue.lane).await);
    dying.idle().await;
    let held = dying.accept(queue.wanted(3..=6)).await;
    let in_hand: Vec<_> = dying.claim(queue.lane).await;
    assert_eq!(in_hand.len(), 2);
    let (of_held, rest): (Vec<_>, Vec<_>) = in_hand.into_iter().partition(|one| one.job.notification == held);
    for one in rest {
        drop(dying.recorder.open(one));
    }
    dying.idle().await;
    queue.lose(dying.id()).await;
    drop(of_held);

    run_out_of_time(&queue, given_back).await;
    assert_eq!(expire(&queue).await, 1);
    assert_eq!(queue.counts(given_back).await, DeliveryCounts { expired: 2, ..DeliveryCounts::default() });
    // A later attempt: answered for good, answered with a wish to come again, in another lane, and given back unmade.
    let mut tickets = node.take(queue.lane).await;
    assert_eq!(tickets.len(), 4);
    assert!(tickets[0].leased_job().job.in_doubt);
    let other = queue.app.lane(apns::lane(apns::SANDBOX)).id;
    let delay = std::time::Duration::ZERO;
    let moved =
        Disposition::Retry { lane: Some(other), delay, attempted: false, unanswered: false, reason: None };
    end(tickets.remove(0), accepted());
    end(tickets.remove(0), again("Busy"));
    end(tickets.remove(0), moved);
    drop(tickets);
    node.idle().await;
    run_out_of_time(&queue, held).await;
    assert_eq!(expire(&queue).await, 3);
    assert_eq!(
        queue.counts(held).await,
        DeliveryCounts { accepted: 1, unknown: 3, ..DeliveryCounts::default() }
    );
    let mut deliveries = queue.deliveries(held).await;
    deliveries.sort_by_key(|delivery| delivery.device);
    for delivery in deliveries.iter().skip(1) {
        let line = (delivery.status.as_str(), delivery.attempts, delivery.reason.as_deref().unwrap());
        assert_eq!(line, ("unknown", 1, "no_answer"), "device {}", delivery.device);
    }
    queue.assert_sound().await;
    node.stop().await;
}

/// docs/queue.md#environment-probe: the probe was not made, so the first reason stays.
#[tokio::test]
async fn an_expired_environment_probe_ends_with_the_first_reason() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=4)).await;
    let other = queue.app.lane(apns::lane(apns::SANDBOX)).id;
    let trial = || Disposition::EnvironmentProbe {
        lane: other,
        since: DateTime::UNIX_EPOCH,
        reason: Reason::new("BadDeviceToken"),
    };
    let mut tickets = node.take(queue.lane).await;
    end(tickets.pop().unwrap(), again("Busy"));
    end_all(tickets, &trial());
    node.idle().await;
    assert_eq!(queue.counts(id).await, DeliveryCounts { pending: 4, ..DeliveryCounts::default() });
    assert_eq!(expire(&queue).await, 0, "it has a minute");
    queue.database.execute("update jobs set due_at = due_at - interval '1 minute'").await;
    assert_eq!(expire(&queue).await, 1, "not the other retry, which is due as long");
    let dead = DeliveryCounts { token_dead: 3, pending: 1, ..DeliveryCounts::default() };
    assert_eq!(queue.counts(id).await, dead);
    for delivery in queue.deliveries(id).await.iter().filter(|d| d.status != DeliveryStatus::Pending) {
        assert_eq!((delivery.attempts, delivery.reason.as_deref()), (1, Some("BadDeviceToken")));
        assert_eq!(delivery.lane, other);
    }
    queue.assert_sound().await;
    node.stop().await;
}

/// What is to be known of a trial survives the way through the table: the claim gives it back.
#[tokio::test]
async fn an_environment_probe_is_claimed_with_time_and_reason_of_the_first_verdict() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.accept(queue.wanted(1..=2)).await;
    let other = queue.app.lane(apns::lane(apns::SANDBOX)).id;
    let mut tickets = node.take(queue.lane).await;
    let since = |secs: i64| DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap();
    for secs in [1, 2] {
        let reason = Reason::new("BadDeviceToken");
        end(
            tickets.pop().unwrap(),
            Disposition::EnvironmentProbe { lane: other, since: since(secs), reason },
        );
    }
    node.idle().await;
    let trials = node.claim(other).await;
    assert_eq!(trials.len(), 1, "they share a job");
    let job = &trials[0].job;
    assert_eq!((job.attempt, job.devices.len(), job.environment_probe_since), (2, 2, Some(since(1))));
    assert_eq!(job.last_reason, Some(Reason::new("BadDeviceToken")));
    let tickets: Vec<_> = trials.into_iter().flat_map(|held| node.recorder.open(held).1).collect();
    end_all(tickets, &accepted());
    node.stop().await;
}
