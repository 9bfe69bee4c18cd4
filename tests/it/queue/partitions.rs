//! All records of a notification are in the partition of its day, whenever they are written
//! (docs/queue.md#partition-by-notification-id).

use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use pushpost::domain::{DeliveryCounts, DeliveryStatus, NotificationId};
use pushpost::{maintenance, store};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use pushpost_testkit::apps::kept;
use pushpost_testkit::held_time::until;
use pushpost_testkit::queue::TestQueue;
use pushpost_testkit::queue::{QueueNode, accepted, end_all};

async fn now(queue: &TestQueue) -> DateTime<Utc> {
    sqlx::query_scalar("select now()").fetch_one(&queue.database.pool).await.unwrap()
}

/// A notification with one waiting job of these devices, as if it had been accepted `days` ago.
async fn accepted_days_ago(queue: &TestQueue, days: i64, devices: &[i64]) -> (NotificationId, NaiveDate) {
    let then = now(queue).await - TimeDelta::days(days);
    let id = NotificationId::new(then);
    let mut conn = queue.pool.acquire().await.unwrap();
    store::partitions::create_day(&mut conn, then.date_naive()).await.unwrap();
    sqlx::query(
        "with n as (insert into notifications (notification_id, app_id, priority, created_at, due_at, expires_at, target_count)
                    values ($1, $2, 5, $3, $3, now() + interval '1 day', $4))
         insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
         values ($1, $5, 5, $3, now() + interval '1 day', $4, $6)",
    )
    .bind(id.0)
    .bind(queue.app.id.0)
    .bind(then)
    .bind(i16::try_from(devices.len()).unwrap())
    .bind(queue.lane.0)
    .bind(devices)
    .execute(&mut conn)
    .await
    .unwrap();
    (id, then.date_naive())
}

async fn tables_of(queue: &TestQueue, id: NotificationId) -> Vec<String> {
    sqlx::query_scalar("select distinct tableoid::regclass::text from receipts where notification_id = $1")
        .bind(id.0)
        .fetch_all(&queue.database.pool)
        .await
        .unwrap()
}

async fn droppable(queue: &TestQueue, retention_days: i32) -> Vec<NaiveDate> {
    let mut conn = queue.pool.acquire().await.unwrap();
    store::partitions::droppable_days(&mut conn, retention_days).await.unwrap()
}

/// docs/queue.md#partition-by-notification-id: what is recorded after midnight counts, and is not handed out again
/// after a crash.
#[tokio::test]
async fn a_late_receipt_is_stored_in_its_notifications_partition() {
    let queue = TestQueue::create().await;
    let (first, second) = (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    let (id, day) = accepted_days_ago(&queue, 1, &[1, 2, 3]).await;
    let mut tickets = first.take(queue.lane).await;
    end_all(tickets.drain(..2), &accepted());
    until("two are on record", async || queue.counts(id).await.accepted == 2).await;
    assert_eq!(tables_of(&queue, id).await, [format!("receipts_{}", day.format("%Y%m%d"))]);

    queue.lose(first.id()).await;
    let rest = second.take(queue.lane).await;
    assert_eq!(rest.iter().map(|ticket| ticket.device().0).collect::<Vec<_>>(), [3]);
    end_all(rest, &accepted());
    second.idle().await;
    assert_eq!(queue.counts(id).await, DeliveryCounts { accepted: 3, ..DeliveryCounts::default() });
    let outcomes: Vec<_> = queue.outcomes(id).await.into_iter().collect();
    assert_eq!(outcomes, [1, 2, 3].map(|device| (device, DeliveryStatus::Accepted)));
    assert_eq!(tables_of(&queue, id).await.len(), 1);
    queue.assert_sound().await;
}

/// docs/queue.md#partition-by-notification-id: a job still needs its content and its receipts, however old they are.
#[tokio::test]
async fn a_partition_stays_while_one_of_its_jobs_is_open() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let (id, day) = accepted_days_ago(&queue, 5, &[1, 2]).await;
    let yesterday = now(&queue).await.date_naive() - TimeDelta::days(1);
    assert_eq!(droppable(&queue, 0).await, [yesterday], "a job waits on the older day");
    let mut tickets = node.take(queue.lane).await;
    assert_eq!(droppable(&queue, 0).await, [yesterday], "a leased job counts as well");
    assert_eq!(droppable(&queue, 1).await, [], "the retention has not passed");

    end_all(tickets.drain(..), &accepted());
    node.idle().await;
    let fan_out =
        "insert into fan_outs (notification_id, app_id, priority, due_at, expires_at, target_count, audience)
                   values ($1, 1, 5, now(), now(), 0, '')";
    sqlx::query(fan_out).bind(id.0).execute(&queue.database.pool).await.unwrap();
    assert_eq!(droppable(&queue, 4).await, [], "nor while others may be found for it");
    queue.database.execute("delete from fan_outs").await;
    assert_eq!(droppable(&queue, 4).await, [day]);
    let mut conn = queue.pool.acquire().await.unwrap();
    store::partitions::drop_day(&mut conn, day).await.unwrap();
    drop(conn);
    assert_eq!(droppable(&queue, 0).await, [yesterday]);
    assert_eq!(queue.database.count("select count(*) from receipts").await, 0);
    node.stop().await;
}

/// docs/queue.md#partition-changes: seven days are ahead; whatever keeps the next one from being made must not keep the
/// other duties.
#[tokio::test]
async fn a_partition_that_cannot_be_made_delays_no_other_duty() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted([1])).await;
    let last = now(&queue).await.date_naive() + TimeDelta::days(7);
    let mut conn = queue.pool.acquire().await.unwrap();
    store::partitions::drop_day(&mut conn, last).await.unwrap();
    drop(conn);
    queue
        .database
        .execute(
            "create or replace procedure create_day(day date) language plpgsql as $$
             begin raise exception 'not allowed' using errcode = '42501'; end $$;
             update jobs set expires_at = now()",
        )
        .await;
    let settings = maintenance::Settings {
        pool: queue.pool.clone(),
        node_lease: std::sync::Arc::clone(&node.node_lease),
        retention: kept(30),
        apps: std::sync::Arc::default(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(maintenance::run(settings, CancellationToken::new()));
    until("what is out of time ends", async || queue.counts(id).await.expired == 1).await;
    node.stop().await;
}

/// Ends what waits of a notification, with a receipt if it is said how many hours ago.
async fn end(queue: &TestQueue, id: NotificationId, hours: Option<i32>) {
    sqlx::query(
        "with gone as (delete from jobs where notification_id = $1)
         insert into receipts (notification_id, job_id, lane_id, recorded_at, attempt, accepted, shape, first_device, last_device,
                               devices, outcomes)
         select $1, 1, 1, now() - make_interval(hours => $2), 1, 1, '1', 2, 2, array[2], '\\x01'
         where $2 is not null",
    )
    .bind(id.0)
    .bind(hours)
    .execute(&queue.pool)
    .await
    .unwrap();
}

/// docs/queue.md#partition-by-notification-id, through the leader's own round: a day goes one retention after the last
/// of its notifications has ended, not after the day.
#[tokio::test]
async fn the_leader_drops_only_partitions_without_open_jobs() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let (waits, _) = accepted_days_ago(&queue, 6, &[1]).await;
    for (days, hours) in [(5, None), (7, Some(25)), (8, Some(23))] {
        let (done, _) = accepted_days_ago(&queue, days, &[2]).await;
        end(&queue, done, hours).await;
    }
    let settings = maintenance::Settings {
        pool: queue.pool.clone(),
        node_lease: std::sync::Arc::clone(&node.node_lease),
        retention: kept(1),
        apps: std::sync::Arc::default(),
    };
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(maintenance::run(settings, stop.clone()));
    until("the days that are over are gone", async || {
        queue.database.count("select count(*) from notifications").await == 2
    })
    .await;
    stop.cancel();
    let ended = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(120), ended).await.unwrap();
    let left: Vec<uuid::Uuid> =
        sqlx::query_scalar("select notification_id from notifications").fetch_all(&queue.pool).await.unwrap();
    let times = left.iter().map(|id| NotificationId(*id)).collect::<Vec<_>>();
    assert_eq!(times.len(), 2);
    assert!(
        times[0] != waits && times[1] == waits,
        "the one whose last device ended 23 hours ago, and the one that waits"
    );
}
