//! Outcomes that come too late: their node was declared dead, and another node has the job (docs/queue.md#fenced-record,
//! #node-lease).

use pushpost::domain::{DeliveryCounts, DeliveryStatus, NotificationId};
use pushpost::queue::recorder::DeviceTicket;

use pushpost_testkit::held_time::until;
use pushpost_testkit::queue::TestQueue;
use pushpost_testkit::queue::{QueueNode, accepted, again, end, end_all, rejected};

fn devices(tickets: &[DeviceTicket]) -> Vec<i64> {
    tickets.iter().map(|ticket| ticket.device().0).collect()
}

async fn ended(queue: &TestQueue, id: NotificationId, many: u64) {
    until("outcomes go on record", async || {
        let counts = queue.counts(id).await;
        counts.targets() - counts.pending == many
    })
    .await;
}

/// docs/queue.md#fenced-record: a device with its bit set is not handed out again. Of two final outcomes the first
/// stays, whichever node has the lease. Retries of the late node are dropped.
#[tokio::test]
async fn the_first_final_outcome_wins_and_late_retries_are_dropped() {
    let queue = TestQueue::create().await;
    let (late, next) = (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    let id = late.accept(queue.wanted(1..=10)).await;
    let mut of_late = late.take(queue.lane).await;
    let job = of_late[0].leased_job().job.id;
    end_all(of_late.drain(..2), &accepted());
    ended(&queue, id, 2).await;

    queue.lose(late.id()).await;
    let mut of_next = next.take(queue.lane).await;
    assert_eq!(devices(&of_next), [3, 4, 5, 6, 7, 8, 9, 10]);
    end_all(of_next.drain(..2), &rejected("BadRequest"));
    ended(&queue, id, 4).await;

    // Late: accepted for device 3, which was rejected, and 5, which is open; another attempt for 6; nothing of the rest.
    let mut of_late: Vec<Option<DeviceTicket>> = of_late.into_iter().map(Some).collect();
    end(of_late[0].take().unwrap(), accepted());
    end(of_late[2].take().unwrap(), accepted());
    end(of_late[3].take().unwrap(), again("Busy"));
    drop(of_late);
    late.lets_go(job).await;
    ended(&queue, id, 5).await;
    assert_eq!(queue.database.count("select count(*) from jobs").await, 1, "no retry job of the late holder");
    queue.assert_sound().await;

    end_all(of_next, &rejected("BadRequest"));
    next.idle().await;
    let outcomes = queue.outcomes(id).await;
    let of = |device: i64| outcomes[&device];
    assert_eq!([of(1), of(2), of(5)], [DeliveryStatus::Accepted; 3]);
    assert_eq!([of(3), of(4), of(6), of(10)], [DeliveryStatus::Rejected; 4]);
    assert_eq!(
        queue.counts(id).await,
        DeliveryCounts { accepted: 3, rejected: 7, ..DeliveryCounts::default() }
    );
    assert_eq!(queue.database.count("select count(*) from jobs").await, 0);
    queue.assert_sound().await;
    late.stop().await;
    next.stop().await;
}

/// docs/queue.md#fenced-record: the present holder learns from the table what the late one has recorded, and does not
/// record it again.
#[tokio::test]
async fn the_present_node_does_not_record_a_device_that_a_late_node_has_ended() {
    let queue = TestQueue::create().await;
    let (late, next) = (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    let id = late.accept(queue.wanted(1..=4)).await;
    let of_late = late.take(queue.lane).await;
    queue.lose(late.id()).await;
    let mut of_next = next.take(queue.lane).await;
    end_all(of_late.into_iter().take(1), &accepted());
    ended(&queue, id, 1).await;
    // Its version is stale: the slow path.
    end(of_next.pop().unwrap(), rejected("BadRequest"));
    ended(&queue, id, 2).await;
    // Now it knows the job again. Devices 1 and 2 share a statement.
    end_all(of_next.drain(..2), &rejected("BadRequest"));
    ended(&queue, id, 3).await;
    queue.assert_sound().await;
    end_all(of_next, &rejected("BadRequest"));
    next.idle().await;
    queue.assert_sound().await;
    assert_eq!(
        queue.counts(id).await,
        DeliveryCounts { accepted: 1, rejected: 3, ..DeliveryCounts::default() }
    );
    assert_eq!(queue.outcomes(id).await[&1], DeliveryStatus::Accepted);
    late.stop().await;
    next.stop().await;
}

/// The late holder's outcome may be the last that was missing, while tickets of it are still out.
#[tokio::test]
async fn a_late_outcome_may_finish_a_job() {
    let queue = TestQueue::create().await;
    let (late, next) = (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    let id = late.accept(queue.wanted(1..=3)).await;
    let mut of_late = late.take(queue.lane).await;
    queue.lose(late.id()).await;
    let mut of_next = next.take(queue.lane).await;
    end_all(of_next.drain(..2), &rejected("BadRequest"));
    ended(&queue, id, 2).await;
    end(of_late.pop().unwrap(), accepted());
    ended(&queue, id, 3).await;
    end_all(of_late, &accepted());
    end_all(of_next, &rejected("BadRequest"));
    late.idle().await;
    next.idle().await;
    assert_eq!(
        queue.counts(id).await,
        DeliveryCounts { accepted: 1, rejected: 2, ..DeliveryCounts::default() }
    );
    queue.assert_sound().await;
    late.stop().await;
    next.stop().await;
}

/// Outcomes that are not on record yet stop claims (20,000 of them); those that never will be must not.
#[tokio::test]
async fn outcomes_of_recorded_jobs_take_up_no_room() {
    let queue = TestQueue::create().await;
    let (late, next) = (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    for job in 0..41 {
        late.accept(queue.wanted(job * 500 + 1..=job * 500 + 500)).await;
    }
    let of_late = late.take(queue.lane).await;
    queue.lose(late.id()).await;
    let is_last = |ticket: &DeviceTicket| ticket.device().0 % 500 == 0;
    let (_kept, of_next): (Vec<_>, Vec<_>) =
        next.take(queue.lane).await.into_iter().partition(|ticket| is_last(ticket));
    end_all(of_next, &rejected("BadRequest"));
    until("all but one of each are on record", async || {
        queue.database.count("select coalesce(sum(rejected), 0) from receipts").await == 41 * 499
    })
    .await;
    let (lasts, rest): (Vec<_>, Vec<_>) = of_late.into_iter().partition(|ticket| is_last(ticket));
    end_all(lasts, &accepted());
    late.idle().await;
    end_all(rest, &accepted());
    until("they are forgotten", async || late.recorder.has_room()).await;
    late.stop().await;
}

/// docs/queue.md#isolated-attempt: deaths without progress are counted, and progress forgives them.
#[tokio::test]
async fn a_death_without_progress_is_counted() {
    let queue = TestQueue::create().await;
    let mut lost = Vec::new();
    let mut id = None;
    for round in 0..5 {
        let node = QueueNode::enter(&queue).await;
        if id.is_none() {
            id = Some(node.accept(queue.wanted(1..=4)).await);
        }
        let mut tickets = node.take(queue.lane).await;
        lost.push(tickets[0].leased_job().job.node_deaths);
        if let Some(ended_so_far) =
            [(1, 1), (3, 2)].into_iter().find_map(|(at, n)| (at == round).then_some(n))
        {
            end(tickets.remove(0), accepted());
            ended(&queue, id.unwrap(), ended_so_far).await;
        }
        queue.lose(node.id()).await;
    }
    assert_eq!(
        lost,
        [0, 1, 1, 2, 3],
        "progress clears a job, but not of a suspicion that it is under already"
    );
    queue.assert_sound().await;
}

/// docs/queue.md#node-lease: a node that was called dead by mistake (it stood still for a while) goes on under a new id
/// and claims again what its own attempts are still out for. Its old tickets speak for the old lease, its new ones for
/// the new.
#[tokio::test]
async fn a_node_that_claims_its_own_job_again_keeps_the_two_leases_apart() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=3)).await;
    let mut old = node.take(queue.lane).await;
    let job = old[0].leased_job().job.id;
    queue.lose(node.id()).await;
    node.node_lease.beat(&mut queue.pool.acquire().await.unwrap()).await.unwrap();
    let mut new = node.take(queue.lane).await;
    assert_eq!(devices(&new), [1, 2, 3]);

    end(old.remove(0), accepted());
    end(new.remove(0), rejected("BadRequest"));
    end(old.remove(0), accepted());
    ended(&queue, id, 2).await;
    drop(old);
    // The old holding is over; the new one is in hand until its tickets have ended.
    until("the old holding is over", async || {
        queue.assert_sound().await;
        queue.counts(id).await.pending == 1
    })
    .await;
    assert!(node.leases.has(job), "device 3 is under way");
    end_all(new, &rejected("BadRequest"));
    node.idle().await;
    queue.assert_sound().await;
    let counts = queue.counts(id).await;
    assert_eq!((counts.targets(), counts.pending), (3, 0));
    assert_eq!(queue.outcomes(id).await[&3], DeliveryStatus::Rejected);
    assert_eq!(queue.database.count("select count(*) from jobs").await, 0);
    node.stop().await;
}

/// docs/queue.md#failover: where a number came again, an outcome of the one notification is not recorded as the
/// other's.
#[tokio::test]
async fn an_outcome_names_its_notification() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let one = node.accept(queue.wanted([1])).await;
    let tickets = node.take(queue.lane).await;
    let other = node.accept(queue.wanted([1])).await;
    node.claim(queue.lane).await;
    // The failover lost the one, and the other got its number.
    sqlx::query("delete from notifications where notification_id = $1")
        .bind(one.0)
        .execute(&queue.pool)
        .await
        .unwrap();
    sqlx::query("delete from jobs where job_id = $1")
        .bind(tickets[0].leased_job().job.id.0)
        .execute(&queue.pool)
        .await
        .unwrap();
    queue.database.execute("alter table jobs alter job_id set generated by default").await;
    sqlx::query("update jobs set job_id = $1")
        .bind(tickets[0].leased_job().job.id.0)
        .execute(&queue.pool)
        .await
        .unwrap();
    end_all(tickets, &accepted());
    node.idle().await;
    assert_eq!(queue.counts(other).await, DeliveryCounts { pending: 1, ..DeliveryCounts::default() });
    queue.assert_sound().await;
    node.stop().await;
}
