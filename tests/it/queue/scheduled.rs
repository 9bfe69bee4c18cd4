//! Scheduled notifications (docs/queue.md#scheduled-notifications): the devices of the audience when they are due get them, each
//! once, whichever node resolves them.

use std::sync::{Arc, Mutex};

use pushpost::domain::{
    DeliveryStatus, DeviceId, FanOutPart, NotificationId, NotificationStatus, Priority, ScheduledAudience,
    ScheduledDevice, ScheduledToken, UserId,
};
use pushpost::queue::accept::NewNotification;
use pushpost::store::{self, erasures, fan_outs, scheduled};

use super::fan_outs::find_until_none;
use pushpost_testkit::apps::{topics, user};
use pushpost_testkit::queue::{QueueNode, TestQueue, nobody_later};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Resolves what is due by so many nodes, until nothing is left.
pub(crate) async fn resolve(queue: &TestQueue, nodes: usize) {
    find_until_none(queue, nodes, "select count(*) from fan_outs where due_at <= now()").await;
}

async fn status(queue: &TestQueue, id: NotificationId) -> NotificationStatus {
    let mut conn = queue.pool.acquire().await.unwrap();
    store::status::read(&mut conn, queue.app.id, id).await.unwrap().unwrap().status
}

async fn unmatched(queue: &TestQueue, id: NotificationId) -> Value {
    let sql = "select coalesce(convert_from(unmatched, 'UTF8')::jsonb, 'null') from notifications where notification_id = $1";
    sqlx::query_scalar(sql).bind(id.0).fetch_one(&queue.database.pool).await.unwrap()
}

/// Gives users of these names one device each, from the first one on.
async fn bind(queue: &TestQueue, first: i64, users: &[&str]) {
    for (device, user) in (first..).zip(users) {
        let sql = format!("update devices set user_id = '{user}' where device_id = {device}");
        assert_eq!(queue.database.execute(&sql).await, 1);
    }
}

pub(crate) fn for_users(users: &[&str]) -> ScheduledAudience {
    ScheduledAudience { users: users.iter().map(|name| user(name)).collect(), ..nobody_later() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_are_due_at_once_are_resolved_once_each_by_several_nodes() {
    let queue = TestQueue::create().await;
    let (first, _) = queue.crowd(3).await;
    bind(&queue, first, &["u1", "u2", "u3"]).await;
    let node = QueueNode::enter(&queue).await;
    let mut ids = Vec::new();
    for n in 0..1_200 {
        let users = [["u1", "u2"], ["u3", "nobody"]][n % 2];
        ids.push(node.accept(queue.wanted_later(for_users(&users))).await);
    }
    resolve(&queue, 1).await;
    assert_eq!(queue.database.count("select count(*) from jobs").await, 0, "nothing is due");
    assert_eq!(status(&queue, ids[0]).await, NotificationStatus::Scheduled);
    queue.bring_forward(1.0).await;
    assert_eq!(status(&queue, ids[0]).await, NotificationStatus::Queued);
    resolve(&queue, 3).await;
    queue.assert_sound().await;
    for (n, id) in ids.iter().enumerate() {
        let counts = queue.counts(*id).await;
        let expected = [2, 1][n % 2];
        assert_eq!((counts.targets(), counts.pending), (expected, expected), "{n}");
    }
    let names = json!({"users": ["nobody"], "users_total": 1, "devices": [], "devices_total": 0});
    assert_eq!((unmatched(&queue, ids[0]).await, unmatched(&queue, ids[1]).await), (Value::Null, names));
    let by_user = "select count(*) from notifications where by_user and target_count is not null";
    assert_eq!(queue.database.count(by_user).await, 1_200);
    assert_eq!(queue.database.count("select count(*) from targets where user_id like 'u_'").await, 1_800);
    let due = "select count(*) from jobs j join notifications n using (notification_id)
               where j.due_at = n.due_at and j.expires_at = n.expires_at";
    assert_eq!(queue.database.count(due).await, 1_200, "the time to live begins when it is due");
}

#[tokio::test]
async fn named_devices_are_no_targets_of_the_pages_again() {
    let queue = TestQueue::create().await;
    let (first, last) = queue.crowd(30).await;
    bind(&queue, first, &["u1", "u2"]).await;
    let node = QueueNode::enter(&queue).await;
    let audience = ScheduledAudience {
        devices: vec![
            ScheduledDevice { public_id: "known".to_owned(), device: Some(DeviceId(first + 5)) },
            ScheduledDevice { public_id: "other app's".to_owned(), device: None },
        ],
        parts: vec![FanOutPart::Topics(topics(&["news"])), FanOutPart::All],
        except_users: vec![user("u2")],
        except_devices: vec![DeviceId(last)],
        ..for_users(&["u1", "u2"])
    };
    let id = node.accept(queue.wanted_later(audience)).await;
    queue.bring_forward(1.0).await;
    let (_, newest) = queue.crowd(1).await;
    resolve(&queue, 2).await;
    let outcomes = queue.outcomes(id).await;
    let expected: Vec<i64> = (first..=newest).filter(|device| ![first + 1, last].contains(device)).collect();
    assert_eq!(
        outcomes.into_keys().collect::<Vec<_>>(),
        expected,
        "the device that came before it was due is there"
    );
    let names = json!({"users": ["u2"], "users_total": 1, "devices": ["other app's"], "devices_total": 1});
    assert_eq!(unmatched(&queue, id).await, names);
    assert_eq!(queue.counts(id).await.targets(), 29);
    queue.assert_sound().await;
}

/// A broadcast of many pages would hold up the devices that scheduled notifications name.
#[tokio::test]
async fn scheduled_ones_are_resolved_before_the_pages_of_their_priority() {
    let queue = TestQueue::create().await;
    queue.crowd(3).await;
    let node = QueueNode::enter(&queue).await;
    let normal = node.accept(queue.wanted_by_all(Priority::Normal)).await;
    let scheduled = node.accept(queue.wanted_later(for_users(&["u1"]))).await;
    queue.bring_forward(1.0).await;
    queue
        .database
        .execute("update fan_outs set due_at = now() - interval '1 hour' where not is_scheduled")
        .await;
    let high = node.accept(queue.wanted_by_all(Priority::High)).await;
    let mut conn = queue.pool.acquire().await.unwrap();
    let mut taken: Vec<NotificationId> = Vec::new();
    while let Some(next) = fan_outs::lock_next(&mut conn, &[queue.app.id], &taken).await.unwrap() {
        taken.push(next.id);
    }
    assert_eq!(taken, [high, scheduled, normal]);
}

#[tokio::test]
async fn a_node_that_dies_while_it_resolves_leaves_the_notification_to_another() {
    let queue = TestQueue::create().await;
    let (first, _) = queue.crowd(1).await;
    bind(&queue, first, &["u1"]).await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted_later(for_users(&["u1"]))).await;
    queue.bring_forward(1.0).await;
    let mut dying = queue.pool.acquire().await.unwrap();
    let mut tx = dying.begin().await.unwrap();
    let locked = fan_outs::lock_next(&mut tx, &[queue.app.id], &[]).await.unwrap().unwrap();
    assert!(locked.is_scheduled);
    let due = scheduled::lock_due(&mut tx, queue.app.id, locked.priority, &[], 500).await.unwrap();
    assert_eq!(due.iter().map(|one| one.id).collect::<Vec<_>>(), [id]);
    let mut other = queue.pool.acquire().await.unwrap();
    let none = fan_outs::lock_next(&mut other, &[queue.app.id], &[]).await.unwrap();
    assert!(none.is_none(), "no two nodes resolve one notification");
    drop(other);
    tx.rollback().await.unwrap();
    drop(dying);
    resolve(&queue, 1).await;
    assert_eq!(queue.counts(id).await.pending, 1);
    queue.assert_sound().await;
}

#[tokio::test]
async fn one_that_is_resolved_too_late_expires_the_devices_that_it_names() {
    let queue = TestQueue::create().await;
    let (first, _) = queue.crowd(5).await;
    bind(&queue, first, &["u1"]).await;
    let node = QueueNode::enter(&queue).await;
    let audience = ScheduledAudience { parts: vec![FanOutPart::All], ..for_users(&["u1"]) };
    let late = node.accept(queue.wanted_later(audience.clone())).await;
    // The time to live is an hour.
    queue.bring_forward(3_601.0).await;
    let mut conn = queue.pool.acquire().await.unwrap();
    fan_outs::expire(&mut conn).await.unwrap();
    resolve(&queue, 1).await;
    let batch = store::waiting_jobs::expire(&mut conn, 10).await.unwrap();
    assert_eq!(batch, 1);
    let outcomes: Vec<_> = queue.outcomes(late).await.into_iter().collect();
    assert_eq!(outcomes, [(first, DeliveryStatus::Expired)]);
    assert_eq!(status(&queue, late).await, NotificationStatus::Done);

    let foreign = node.accept(queue.wanted_later(audience)).await;
    queue.bring_forward(3_600.0 + 601.0).await;
    fan_outs::expire(&mut conn).await.unwrap();
    assert_eq!(status(&queue, foreign).await, NotificationStatus::Done, "no node serves its app");
    assert_eq!(queue.counts(foreign).await.targets(), 0);
    queue.assert_sound().await;
}

#[tokio::test]
async fn an_audience_that_cannot_be_read_or_is_of_a_later_format_holds_up_no_other() {
    let queue = TestQueue::create().await;
    let (first, _) = queue.crowd(1).await;
    bind(&queue, first, &["u1"]).await;
    let node = QueueNode::enter(&queue).await;
    let unreadable = node.accept(queue.wanted_later(for_users(&["u1"]))).await;
    queue.database.execute("update fan_outs set audience = '{}'").await;
    let later = node.accept(queue.wanted_later(for_users(&["u1"]))).await;
    let sql =
        format!("update fan_outs set format = {} where audience <> '{{}}'", ScheduledAudience::FORMAT + 1);
    queue.database.execute(&sql).await;
    let good = node.accept(queue.wanted_later(for_users(&["u1"]))).await;
    queue.bring_forward(1.0).await;
    let fan_outs = queue.fan_outs(&Arc::new(Mutex::new(Vec::new())));
    let (stop, wake) = (CancellationToken::new(), Arc::clone(&fan_outs.wake));
    let mut task = JoinSet::new();
    task.spawn(fan_outs.run(stop.clone()));
    while queue.database.count("select count(*) from fan_outs").await > 1 {
        wake.notify_one();
        tokio::task::yield_now().await;
    }
    stop.cancel();
    task.join_next().await.unwrap().unwrap();
    assert_eq!(queue.counts(good).await.pending, 1);
    assert_eq!(status(&queue, unreadable).await, NotificationStatus::Done);
    assert_eq!(status(&queue, later).await, NotificationStatus::Queued);
}

#[tokio::test]
async fn a_deleted_device_of_a_token_is_rejected_and_an_erased_user_is_not_named() {
    let queue = TestQueue::create().await;
    let (first, _) = queue.crowd(3).await;
    bind(&queue, first, &["u1", "u2"]).await;
    let node = QueueNode::enter(&queue).await;
    let token = |device: i64, reference: &str| ScheduledToken {
        device: DeviceId(device),
        lane: "fcm".to_owned(),
        references: vec![reference.to_owned()],
    };
    let audience = ScheduledAudience {
        tokens: vec![token(first + 1, "row 1"), token(first + 2, "row 2")],
        ..for_users(&["u1", "u2", "gone"])
    };
    let id = node.accept(queue.wanted_later(audience)).await;
    let mut conn = queue.pool.acquire().await.unwrap();
    erasures::hide_user(&mut conn, queue.app.id, &user("u1")).await.unwrap();
    erasures::hide_user(&mut conn, queue.app.id, &user("gone")).await.unwrap();
    queue.database.execute(&format!("delete from devices where device_id = {}", first + 2)).await;
    queue.bring_forward(1.0).await;
    resolve(&queue, 1).await;
    let outcomes: Vec<_> = queue.outcomes(id).await.into_iter().collect();
    // The user was erased, and has a device again: the notification from before does not reach it.
    assert_eq!(outcomes, [(first + 1, DeliveryStatus::Pending), (first + 2, DeliveryStatus::Rejected)]);
    let deliveries = queue.deliveries(id).await;
    let references: Vec<_> = deliveries.iter().map(|one| one.references.names()).collect();
    assert_eq!(references, [["row 1"], ["row 2"]]);
    assert_eq!(deliveries[1].reason.as_deref(), Some("device_gone"));
    assert_eq!(unmatched(&queue, id).await, Value::Null);
    queue.assert_sound().await;
}

#[tokio::test]
async fn a_cancelled_one_never_has_targets() {
    let queue = TestQueue::create().await;
    let (first, _) = queue.crowd(1).await;
    bind(&queue, first, &["u1"]).await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted_later(for_users(&["u1"]))).await;
    assert_eq!(queue.cancel(id).await, 0);
    assert_eq!(status(&queue, id).await, NotificationStatus::Cancelled);
    queue.bring_forward(1.0).await;
    resolve(&queue, 1).await;
    assert_eq!(status(&queue, id).await, NotificationStatus::Cancelled);
    assert_eq!(queue.counts(id).await.targets(), 0);
    assert_eq!(queue.database.count("select count(*) from jobs").await, 0);
}

/// 500 are resolved in one transaction, and one large audience alone.
#[tokio::test]
async fn a_transaction_resolves_as_many_as_their_audiences_allow() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let users: Vec<UserId> = (0..20_000).map(|n| user(&format!("a-rather-long-user-{n}"))).collect();
    let large = ScheduledAudience { users, ..nobody_later() };
    let mut accepted = Vec::new();
    for audience in [for_users(&["u1"]), large.clone(), for_users(&["u2"]), large] {
        let new: NewNotification = queue.wanted_later(audience);
        accepted.push(node.accept(new).await);
    }
    queue.bring_forward(1.0).await;
    let mut conn = queue.pool.acquire().await.unwrap();
    let mut taken = Vec::new();
    while taken.len() < 4 {
        let mut tx = conn.begin().await.unwrap();
        let locked = fan_outs::lock_next(&mut tx, &[queue.app.id], &taken).await.unwrap().unwrap();
        let due = scheduled::lock_due(&mut tx, queue.app.id, locked.priority, &taken, 500).await.unwrap();
        assert!(!due.is_empty());
        assert!(due.len() <= 3, "two large ones never share a transaction");
        taken.extend(due.into_iter().map(|one| one.id));
        tx.rollback().await.unwrap();
    }
    taken.sort_unstable();
    assert_eq!(taken, accepted);
}
