//! What a receipt keeps of each device: its reason, its provider's id, whether an attempt was made
//! (docs/queue.md#receipt-words).

use std::time::Duration;

use pushpost::domain::{DeliveryStatus, Reason};
use pushpost::queue::recorder::Disposition;
use pushpost::store::deliveries::Delivery;

use pushpost_testkit::queue::TestQueue;
use pushpost_testkit::queue::{QueueNode, end, rejected};

fn taken(provider_id: &str) -> Disposition {
    Disposition::Final {
        status: DeliveryStatus::Accepted,
        attempted: true,
        reason: None,
        provider_id: Some(provider_id.to_owned()),
    }
}

fn untried(status: DeliveryStatus, word: &str) -> Disposition {
    Disposition::Final { status, attempted: false, reason: Some(Reason::new(word)), provider_id: None }
}

fn later(word: &str, attempted: bool) -> Disposition {
    let reason = Some(Reason::new(word));
    Disposition::Retry { lane: None, delay: Duration::from_secs(60), attempted, unanswered: false, reason }
}

type Line<'a> = (i64, &'a str, u16, Option<&'a str>, Option<&'a str>);

fn line(delivery: &Delivery) -> Line<'_> {
    let (word, id) = (delivery.reason.as_deref(), delivery.provider_id.as_deref());
    (delivery.device.0, delivery.status.as_str(), delivery.attempts, word, id)
}

#[tokio::test]
async fn a_mixed_receipt_keeps_every_devices_own_reason() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=7)).await;
    let endings = [
        taken("projects/p/messages/1"),
        rejected("INVALID_ARGUMENT"),
        Disposition::Final {
            status: DeliveryStatus::Accepted,
            attempted: true,
            reason: None,
            provider_id: None,
        },
        untried(DeliveryStatus::Cancelled, "user_changed"),
        rejected("INVALID_ARGUMENT"),
        later("UNAVAILABLE", true),
        later("moved", false),
    ];
    for (ticket, ending) in node.take(queue.lane).await.into_iter().zip(endings) {
        end(ticket, ending);
    }
    node.idle().await;
    assert_eq!(
        queue.database.count("select count(*) from receipts").await,
        1,
        "it is one receipt that is read"
    );

    let mut deliveries = queue.deliveries(id).await;
    deliveries.sort_by_key(|delivery| delivery.device);
    let lines: Vec<Line<'_>> = deliveries.iter().map(line).collect();
    let message = Some("projects/p/messages/1");
    assert_eq!(
        lines,
        [
            (1, "accepted", 1, None, message),
            (2, "rejected", 1, Some("INVALID_ARGUMENT"), None),
            (3, "accepted", 1, None, None),
            (4, "cancelled", 0, Some("user_changed"), None),
            (5, "rejected", 1, Some("INVALID_ARGUMENT"), None),
            (6, "pending", 1, Some("UNAVAILABLE"), None),
            (7, "pending", 0, Some("moved"), None),
        ]
    );
    assert!(deliveries[5].next_attempt_at.is_some() && deliveries[5].at.is_none());
    assert!(deliveries[0].next_attempt_at.is_none() && deliveries[0].at.is_some());
    node.stop().await;
}

/// The attempt comes from the job; one that ended without an attempt does not count the present one.
#[tokio::test]
async fn only_ended_attempts_are_counted() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=2)).await;
    for ticket in node.take(queue.lane).await {
        end(ticket, pushpost_testkit::queue::again("UNAVAILABLE"));
    }
    node.idle().await;
    let mut second = node.take(queue.lane).await;
    assert_eq!(second[0].leased_job().job.last_reason.as_ref().map(Reason::as_str), Some("UNAVAILABLE"));
    end(second.pop().unwrap(), untried(DeliveryStatus::TokenDead, "quarantined"));
    end(second.pop().unwrap(), taken("m"));
    node.idle().await;
    let deliveries = queue.deliveries(id).await;
    let lines: Vec<Line<'_>> = deliveries.iter().map(line).collect();
    assert_eq!(lines, [(1, "accepted", 2, None, Some("m")), (2, "token_dead", 1, Some("quarantined"), None)]);
    node.stop().await;
}
