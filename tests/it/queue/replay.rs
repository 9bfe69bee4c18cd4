//! Recording one outcome twice (docs/queue.md#fenced-record).

use bit_vec::BitVec;
use pushpost::domain::{DeliveryCounts, DeviceId, Job, JobId, NodeId};
use pushpost::store::record::{NewReceipt, NewRetryJob, RecordBatch, record};

use pushpost_testkit::held_time::until;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::queue::{QueueNode, accepted, again, end, end_all};
use pushpost_testkit::queue::{TestQueue, small_queue_pool};

const SOMETHING_RECORDED: &str = "select exists (select from receipts where notification_id = $1)";

/// `accepted` for the devices at these positions of a job, and of those at `again` another attempt.
fn outcomes(batch: &mut RecordBatch, job: &Job, accepted: &[usize], again: &[usize], finished: bool) {
    let mut done = BitVec::from_elem(job.devices.len(), false);
    let mut all: Vec<usize> = accepted.iter().chain(again).copied().collect();
    all.sort_unstable();
    all.iter().for_each(|i| done.set(*i, true));
    let devices: Vec<DeviceId> = all.iter().map(|i| job.devices[*i]).collect();
    let count = |positions: &[usize]| i16::try_from(positions.len()).unwrap();
    batch.receipt(NewReceipt {
        job: job.id,
        notification: job.notification,
        node: Some(NodeId(1)),
        version: job.version,
        finished,
        done,
        counts: [count(accepted), 0, 0, 0, 0, 0, count(again)],
        devices: &devices,
        outcomes: all.iter().map(|i| u8::from(accepted.contains(i))).collect(),
        reasons: Vec::new(),
        reason_indexes: Vec::new(),
        provider_ids: Vec::new(),
        began_ms: 0,
        progress: true,
    });
    if !again.is_empty() {
        let devices: Vec<DeviceId> = again.iter().map(|i| job.devices[*i]).collect();
        let retry = NewRetryJob {
            parent: job.id,
            lane: None,
            delay_ms: 0,
            step: 1,
            unanswered: 0,
            reason: None,
            environment_probe_since: None,
            devices: &devices,
        };
        batch.retry(retry);
    }
}

async fn recorded(queue: &TestQueue, batch: &RecordBatch) -> Vec<JobId> {
    record(&mut queue.pool.acquire().await.unwrap(), batch).await.unwrap()
}

/// docs/queue.md#fenced-record: the receipt and the retry job are written once, and the sum stays at `targets`.
#[tokio::test]
async fn the_same_record_twice_is_one() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=500)).await;
    let job = node.claim(queue.lane).await.remove(0).job;

    let (ended, again): (Vec<usize>, Vec<usize>) = ((0..270).collect(), (270..300).collect());
    let mut partly = RecordBatch::default();
    outcomes(&mut partly, &job, &ended, &again, false);
    assert_eq!(recorded(&queue, &partly).await, [job.id]);
    assert_eq!(recorded(&queue, &partly).await, []);
    assert_eq!(
        queue.counts(id).await,
        DeliveryCounts { accepted: 270, pending: 230, ..DeliveryCounts::default() }
    );
    assert_eq!(queue.database.count("select count(*) from jobs").await, 2, "the job and one retry job");

    let rest: Vec<usize> = (300..500).collect();
    let mut all = RecordBatch::default();
    outcomes(&mut all, &Job { version: job.version + 1, ..job.clone() }, &rest, &[], true);
    assert_eq!(recorded(&queue, &all).await, [job.id]);
    assert_eq!(recorded(&queue, &all).await, []);
    assert_eq!(
        queue.counts(id).await,
        DeliveryCounts { accepted: 470, pending: 30, ..DeliveryCounts::default() }
    );
    queue.assert_sound().await;
}

/// docs/queue.md#fenced-record: a record that calls a job finished while a device of it has no outcome changes nothing.
#[tokio::test]
async fn a_job_is_not_deleted_while_a_device_has_no_outcome() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted(1..=3)).await;
    let job = node.claim(queue.lane).await.remove(0).job;
    let mut wrong = RecordBatch::default();
    outcomes(&mut wrong, &job, &[0, 2], &[], true);
    assert_eq!(recorded(&queue, &wrong).await, []);
    assert_eq!(queue.counts(id).await, DeliveryCounts { pending: 3, ..DeliveryCounts::default() });
    queue.assert_sound().await;
}

/// A queue with a node that reaches Postgres through a proxy: by one connection to accept, and by one for all else.
async fn behind_a_proxy() -> (TestQueue, PostgresProxy, QueueNode) {
    let queue = TestQueue::create().await;
    let proxy = PostgresProxy::of(&queue.database).await;
    let node = QueueNode::over(&queue, small_queue_pool(proxy.options(), 2)).await;
    (queue, proxy, node)
}

/// docs/queue.md#fenced-record, through the recorder: the connection is cut after the commit of a job's last outcomes.
#[tokio::test]
async fn an_answer_lost_after_the_last_record_of_a_job_costs_nothing() {
    let (queue, proxy, node) = behind_a_proxy().await;
    let id = node.accept(queue.wanted(1..=500)).await;
    let mut tickets = node.take(queue.lane).await;
    proxy.cut_once(&queue.database, SOMETHING_RECORDED, id);
    let retried = tickets.split_off(470);
    end_all(retried, &again("Busy"));
    end_all(tickets, &accepted());
    node.idle().await;
    assert!(proxy.has_cut());
    assert_eq!(
        queue.counts(id).await,
        DeliveryCounts { accepted: 470, pending: 30, ..DeliveryCounts::default() }
    );
    assert_eq!(queue.database.count("select count(*) from jobs").await, 1, "one retry job");
    queue.assert_sound().await;
    node.stop().await;
}

/// The same for a record that leaves devices in the job: what is reported later still finds the job.
#[tokio::test]
async fn an_answer_lost_after_a_partial_record_costs_nothing() {
    let (queue, proxy, node) = behind_a_proxy().await;
    let id = node.accept(queue.wanted(1..=500)).await;
    let mut tickets = node.take(queue.lane).await;
    let job = tickets[0].leased_job().job.id;
    proxy.cut_once(&queue.database, SOMETHING_RECORDED, id);
    let rest = tickets.split_off(150);
    let retried = tickets.split_off(100);
    end_all(tickets, &accepted());
    end_all(retried, &again("Busy"));
    until("the answer is lost", async || proxy.has_cut()).await;
    end_all(rest, &accepted());
    node.lets_go(job).await;
    assert_eq!(
        queue.counts(id).await,
        DeliveryCounts { accepted: 450, pending: 50, ..DeliveryCounts::default() }
    );
    queue.assert_sound().await;
    // The retry jobs hold exactly the retried devices, once each.
    let mut retried = node.take(queue.lane).await;
    assert_eq!(
        retried.iter().map(|ticket| ticket.device().0).collect::<Vec<_>>(),
        (101..=150).collect::<Vec<_>>()
    );
    let last = retried.pop().unwrap();
    assert_eq!(last.leased_job().job.attempt, 2);
    end(last, accepted());
    end_all(retried, &accepted());
    node.idle().await;
    assert_eq!(queue.counts(id).await, DeliveryCounts { accepted: 500, ..DeliveryCounts::default() });
    node.stop().await;
}
