//! The leader deletes what was kept long enough: contents, quarantined devices, devices known only from sends.

use std::time::Duration;

use pushpost::config::RETENTION_MAX;
use pushpost::domain::NotificationId;
use pushpost::maintenance::{self, Retention};
use pushpost::store;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use pushpost_testkit::apps::kept;
use pushpost_testkit::held_time::until;
use pushpost_testkit::queue::TestQueue;
use pushpost_testkit::queue::{QueueNode, accepted, end_all};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The leader's rounds while something is waited for.
async fn lead(
    queue: &TestQueue,
    node: &QueueNode,
    retention: Retention,
    what: &str,
    condition: impl AsyncFn() -> bool,
) {
    let settings = maintenance::Settings {
        pool: queue.pool.clone(),
        node_lease: std::sync::Arc::clone(&node.node_lease),
        retention,
        apps: std::sync::Arc::default(),
    };
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(maintenance::run(settings, stop.clone()));
    until(what, condition).await;
    stop.cancel();
    let ended = async { while tasks.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(120), ended).await.unwrap();
}

async fn has_content(queue: &TestQueue, id: NotificationId) -> bool {
    let sql = "select content is not null from notifications where notification_id = $1";
    sqlx::query_scalar(sql).bind(id.0).fetch_one(&queue.pool).await.unwrap()
}

#[tokio::test]
async fn content_is_deleted_once_its_notification_is_done() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let mut new = queue.wanted([1]);
    let unmatched = json!({"users": ["u1"], "users_total": 1, "devices": [], "devices_total": 0});
    (new.unmatched, new.metadata) = (Some(unmatched.to_string().into()), Some(b"{}".to_vec()));
    let done = node.accept(new).await;
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    let waits = node.accept(queue.wanted([2])).await;
    let nothing = node.accept(queue.wanted([])).await;
    let retention = Retention { content: Duration::ZERO, ..kept(30) };
    lead(&queue, &node, retention, "the contents of what is done are gone", async || {
        !has_content(&queue, done).await && !has_content(&queue, nothing).await
    })
    .await;
    assert!(has_content(&queue, waits).await);
    let stored = "select convert_from(unmatched, 'UTF8')::jsonb, metadata is not null from notifications
                  where notification_id = $1";
    let (names, metadata): (serde_json::Value, bool) =
        sqlx::query_as(stored).bind(done.0).fetch_one(&queue.pool).await.unwrap();
    assert_eq!(names, json!({"users": [], "users_total": 1, "devices": [], "devices_total": 0}));
    assert!(metadata, "metadata is no content");
    assert_eq!(queue.counts(done).await.accepted, 1);

    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    lead(&queue, &node, retention, "and so does what was passed too early", async || {
        !has_content(&queue, waits).await
    })
    .await;
    assert_eq!(queue.database.count("select count(*) from kept_contents").await, 0);
    node.stop().await;
}

/// Notifications of two days ago, with one device each, which has ended so many hours ago.
async fn ended(queue: &TestQueue, hours: &[i32]) -> Vec<NotificationId> {
    let then: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select now() - interval '2 days'").fetch_one(&queue.pool).await.unwrap();
    let mut conn = queue.pool.acquire().await.unwrap();
    pushpost::store::partitions::create_day(&mut conn, then.date_naive()).await.unwrap();
    let mut ids = Vec::new();
    for hours in hours {
        let id = NotificationId::new(then);
        sqlx::query(
            "with n as (
               insert into notifications (notification_id, app_id, priority, created_at, due_at, expires_at, target_count, content)
               values ($1, 1, 5, $2, $2, $2, 1, '{}'))
             insert into receipts (notification_id, job_id, lane_id, recorded_at, attempt, accepted, shape, first_device, last_device,
                                   devices, outcomes)
             values ($1, 1, 1, now() - make_interval(hours => $3), 1, 1, '1', 1, 1, array[1], '\\x01')",
        )
        .bind(id.0)
        .bind(then)
        .bind(hours)
        .execute(&mut conn)
        .await
        .unwrap();
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn content_stays_for_its_retention_after_the_last_outcome() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let ids = ended(&queue, &[5, 3, 30]).await;
    let retention = Retention { content: 4 * HOUR, ..kept(30) };
    lead(&queue, &node, retention, "what ended longer ago has no content", async || {
        !has_content(&queue, ids[0]).await && !has_content(&queue, ids[2]).await
    })
    .await;
    assert!(has_content(&queue, ids[1]).await);
    assert_eq!(queue.database.count("select count(*) from kept_contents where recheck_at > now()").await, 1);
    node.stop().await;
}

/// The longest retention reaches back before 1970, where the ids of notifications begin.
#[tokio::test]
async fn nothing_is_too_old_for_the_longest_retention() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted([1])).await;
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    queue
        .database
        .execute(
            "insert into devices (app_id, platform, environment, source, token, token_digest, quarantined_at)
             values (1, 2, 0, 0, 'dead', substr(sha256('dead'), 1, 16), now() - interval '40 years')",
        )
        .await;
    let mut conn = queue.pool.acquire().await.unwrap();
    let secs = RETENTION_MAX.as_secs_f64();
    let old = store::contents::next(&mut conn, Uuid::nil(), secs, 10).await.unwrap();
    assert!(old.is_empty(), "{old:?}");
    store::contents::move_cursor(&mut conn, id.0, secs).await.unwrap();
    assert_eq!(store::contents::cursor(&mut conn).await.unwrap(), Uuid::nil());
    assert!(!store::contents::states(&mut conn, &[id.0], secs).await.unwrap()[0].is_over);
    assert_eq!(store::devices::delete_quarantined(&mut conn, secs, 10).await.unwrap(), 0);
    let days = i32::try_from(RETENTION_MAX.as_secs() / DAY.as_secs()).unwrap();
    assert!(store::partitions::droppable_days(&mut conn, days).await.unwrap().is_empty());
    let today = id.at().date_naive();
    let page = store::partitions::day_page(&mut conn, today, (Uuid::nil(), 0), days, 10).await.unwrap();
    assert!(page.kept_secs.is_some_and(|kept| kept > secs - 60.0), "{page:?}");
    node.stop().await;
}

#[tokio::test]
async fn unused_devices_are_deleted_after_their_retention() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    queue
        .database.execute(
            "insert into devices (app_id, platform, environment, source, token, token_digest, quarantined_at, last_sent_on)
             select 1, 2, 0, source, token, substr(sha256(token::bytea), 1, 16), now() - make_interval(days => quarantined),
                    current_date - sent
             from (values (0::smallint, 'dead for 91 days', 91, null::int), (0, 'held', 91, null), (0, 'dead for 89 days', 89, null),
                          (0, 'active', null, null), (1, 'sent 31 days ago', null, 31), (1, 'sent 30 days ago', null, 30),
                          (2, 'imported', null, 31)) as d(source, token, quarantined, sent);
             insert into topics (app_id, name) values (1, 'dead'), (1, 'news');
             update apps set topic_count = 2 where app_id = 1;
             insert into subscriptions select topic_id, device_id from topics, devices
             where (name = 'dead' and token = 'dead for 91 days') or (name = 'news' and quarantined_at is not null)",
        )
        .await;
    let mut other = PgConnection::connect(queue.database.url()).await.unwrap();
    let mut holder = other.begin().await.unwrap();
    sqlx::query("select from devices where token = 'held' for no key update")
        .execute(&mut *holder)
        .await
        .unwrap();
    let retention = Retention { quarantine: 90 * DAY, ..kept(30) };
    lead(&queue, &node, retention, "two devices and a topic are gone", async || {
        queue.database.count("select (select count(*) from devices) + (select count(*) from topics)").await
            == 6
    })
    .await;
    let left: Vec<String> =
        sqlx::query_scalar("select token from devices order by token").fetch_all(&queue.pool).await.unwrap();
    assert_eq!(left, ["active", "dead for 89 days", "held", "imported", "sent 30 days ago"]);
    assert_eq!(
        queue.database.count("select count(*) from subscriptions").await,
        2,
        "those of devices that are there"
    );
    assert_eq!(queue.database.count("select topic_count::bigint from apps").await, 1);
    holder.rollback().await.unwrap();
    lead(&queue, &node, retention, "what was held goes the next time", async || {
        queue.database.count("select count(*) from devices").await == 4
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn states_of_lanes_stay_as_long_as_the_days_of_notifications() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    // The oldest day that is kept is that of two days ago, because its notification has ended an hour ago.
    ended(&queue, &[1]).await;
    for sql in [
        "insert into apps (name) values ('of lanes')",
        "insert into lanes (app_id, platform, environment) select app_id, p, 0 from apps, unnest(array[8, 9]) p
         where name = 'of lanes'",
        "insert into lane_changes (lane_id, began_at, ended_at, state)
         select lane_id, now() - make_interval(days => d + 1), now() - make_interval(days => d), 2
         from lanes, generate_series(1, 5) d where platform in (8, 9)",
        "insert into lane_changes (lane_id, began_at, state)
         select lane_id, now() - interval '1 day', 0 from lanes where platform in (8, 9)",
    ] {
        queue.database.execute(sql).await;
    }
    let old = "select count(*) from lane_changes where ended_at < ((now() at time zone 'UTC')::date - 2) at time zone 'UTC'";
    assert_eq!(queue.database.count(old).await, 6, "of each lane what ended three days ago, and before");
    lead(&queue, &node, kept(1), "what ended before that day is gone", async || {
        queue.database.count(old).await == 0
    })
    .await;
    let left = "select count(*) from lane_changes";
    assert_eq!(queue.database.count(left).await, 6, "of each lane what ended later, and what lasts");
    node.stop().await;
}
