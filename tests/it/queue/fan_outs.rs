//! Audiences that are found page by page (docs/queue.md#fan-out): each device once, whichever node
//! finds it, and though nodes die.

use std::sync::{Arc, Mutex};

use pushpost::audience::PageLimits;
use pushpost::domain::{Class, FanOut, Kind, LaneId, Priority};
use pushpost::provider::apns;
use pushpost::queue::accept::NewNotification;
use pushpost::store::fan_outs;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use pushpost_testkit::queue::{QueueNode, TestQueue, all_but};

/// Changes one device without the queue's knowledge.
async fn change(queue: &TestQueue, sql: &'static str, device: i64) {
    let changed = sqlx::query(sql).bind(device).execute(&queue.database.pool).await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
}

/// Several nodes that find audiences, until there is nothing left to be found.
async fn find_all(queue: &TestQueue, nodes: usize) -> Vec<(LaneId, Priority)> {
    find_until_none(queue, nodes, "select count(*) from fan_outs").await
}

/// Several nodes that find audiences, until this statement counts none. Returns what they told the lanes.
pub(super) async fn find_until_none(queue: &TestQueue, nodes: usize, left: &str) -> Vec<(LaneId, Priority)> {
    let (found, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let mut wake = Vec::new();
    for _ in 0..nodes {
        let fan_outs = queue.fan_outs(&found);
        wake.push(Arc::clone(&fan_outs.wake));
        tasks.spawn(fan_outs.run(stop.clone()));
    }
    while queue.database.count(left).await > 0 {
        wake.iter().for_each(|some| some.notify_one());
        tokio::task::yield_now().await;
    }
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    Arc::try_unwrap(found).unwrap().into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_resolve_each_device_once_in_full_jobs() {
    let queue = TestQueue::create().await;
    queue.crowd(25_250).await;
    let node = QueueNode::enter(&queue).await;
    let (high, low) = (queue.wanted_by_all(Priority::High), queue.wanted_by_all(Priority::Low));
    let mut ids = Vec::new();
    for new in [low, high] {
        ids.push(node.accept(new).await);
    }
    let found = find_all(&queue, 3).await;
    queue.assert_sound().await;
    for id in ids {
        let counts = queue.counts(id).await;
        assert_eq!((counts.targets(), counts.pending), (25_250, 25_250));
    }
    // 10,000 are 20 lists, 5,250 are 11.
    assert_eq!(queue.database.count("select count(*) from jobs").await, 2 * (20 + 20 + 11));
    let bulk = i64::from(Class::Bulk.code());
    assert_eq!(
        queue.database.count("select (max(class) + 10 * min(class))::bigint from jobs").await,
        11 * bulk
    );
    assert_eq!(found.iter().filter(|found| **found == (queue.lane, Priority::High)).count(), 3, "{found:?}");
}

#[tokio::test]
async fn the_more_urgent_fan_out_gets_the_next_page_and_no_page_is_shared() {
    let queue = TestQueue::create().await;
    queue.crowd(30).await;
    let node = QueueNode::enter(&queue).await;
    let low = node.accept(queue.wanted_by_all(Priority::Low)).await;
    assert_eq!(queue.page(10).await, Some((low, 10)));
    let high = node.accept(queue.wanted_by_all(Priority::High)).await;
    assert_eq!(queue.page(10).await, Some((high, 10)), "it waits for one page, not for all of the other");

    let mut one = queue.pool.acquire().await.unwrap();
    let mut tx = one.begin().await.unwrap();
    let locked = fan_outs::lock_next(&mut tx, &[queue.app.id], &[]).await.unwrap().unwrap();
    assert_eq!(locked.id, high);
    assert_eq!(queue.page(10).await, Some((low, 10)), "another node passes over what is being found");
    let none = fan_outs::lock_next(&mut tx, &[queue.app.id], &[high, low]).await.unwrap();
    assert!(none.is_none(), "and what it put aside");
    tx.rollback().await.unwrap();
    while queue.page(10).await.is_some() {}
    assert_eq!(queue.counts(high).await.targets(), 30);
    assert_eq!(queue.counts(low).await.targets(), 30);
    queue.assert_sound().await;
}

#[tokio::test]
async fn a_page_of_a_dead_node_is_resolved_again() {
    let queue = TestQueue::create().await;
    queue.crowd(25).await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted_by_all(Priority::Normal)).await;
    assert_eq!(queue.page(10).await, Some((id, 10)));
    let mut one = queue.pool.acquire().await.unwrap();
    let mut tx = one.begin().await.unwrap();
    let fan_out = fan_outs::lock_next(&mut tx, &[queue.app.id], &[]).await.unwrap().unwrap();
    assert_eq!(queue.write(&mut tx, &fan_out, PageLimits { devices: 10, ..PageLimits::DEFAULT }).await, 10);
    tx.rollback().await.unwrap();
    let counts = queue.counts(id).await;
    assert_eq!((counts.targets(), counts.pending), (10, 10), "what is found so far, and no more");
    assert_eq!(queue.page(10).await, Some((id, 10)));
    assert_eq!(queue.page(10).await, Some((id, 5)));
    assert_eq!(queue.page(10).await, None);
    assert_eq!(queue.counts(id).await.targets(), 25);
    queue.assert_sound().await;
}

#[tokio::test]
async fn a_page_is_resolved_with_the_devices_present_at_its_reading() {
    let queue = TestQueue::create().await;
    let (first, last) = queue.crowd(30).await;
    let node = QueueNode::enter(&queue).await;
    let named = queue.wanted([first, first + 15]);
    let new = NewNotification { fan_out: Some(all_but([first, first + 15, first + 16])), ..named };
    let id = node.accept(new).await;
    assert_eq!(queue.page(10).await, Some((id, 9)), "one of the ten was addressed by name");
    // In what follows: one is deleted, one set aside; others come, and one that was never registered.
    change(&queue, "delete from devices where device_id = $1", first + 20).await;
    change(&queue, "update devices set quarantined_at = now() where device_id = $1", first + 21).await;
    change(&queue, "update devices set source = 1 where device_id = $1", first + 22).await;
    let (_, newest) = queue.crowd(5).await;
    while queue.page(10).await.is_some() {}
    let outcomes = queue.outcomes(id).await;
    let expected: Vec<i64> =
        (first..=last).filter(|device| ![16, 20, 21, 22].contains(&(device - first))).collect();
    assert_eq!(outcomes.into_keys().collect::<Vec<_>>(), expected, "nobody up to {newest} who came later");
    queue.assert_sound().await;
}

#[tokio::test]
async fn an_audience_is_narrowed_by_service_user_and_what_tokens_are_for() {
    let queue = TestQueue::create().await;
    queue
        .database.execute(
            "insert into devices (app_id, platform, environment, kind, user_id, token, token_digest)
             select 1, p, e, k, u, g::text, substr(sha256(g::text::bytea), 1, 16)
             from (values (1, 1, 1, 0, null), (2, 1, 2, 0, 'a'), (3, 1, 1, 1, null), (4, 2, 0, 0, 'b'), (5, 2, 0, 0, null))
               as x(g, p, e, k, u)",
        )
        .await;
    let node = QueueNode::enter(&queue).await;
    let mut found = Vec::new();
    for narrow in [
        |_: &mut FanOut| {},
        |audience: &mut FanOut| audience.platforms = Some(vec![apns::PLATFORM.to_string()]),
        |audience: &mut FanOut| {
            audience.except_users = vec![pushpost_testkit::apps::user("a"), pushpost_testkit::apps::user("b")]
        },
        |audience: &mut FanOut| audience.kind = Kind::Voip,
    ] {
        let mut audience = all_but([]);
        narrow(&mut audience);
        let id = node.accept(NewNotification { fan_out: Some(audience), ..queue.wanted([]) }).await;
        while queue.page(10).await.is_some() {}
        found.push(queue.outcomes(id).await.into_keys().collect::<Vec<_>>());
    }
    assert_eq!(found, [vec![1, 2, 4, 5], vec![1, 2], vec![1, 5], vec![3, 4, 5]]);
    let lanes = "select count(distinct lane_id) from jobs where devices && array[1, 2, 4]::bigint[]";
    assert_eq!(queue.database.count(lanes).await, 3, "each in its lane");
}

#[tokio::test]
async fn a_fan_out_that_expires_cannot_be_read_or_has_no_app_ends() {
    let queue = TestQueue::create().await;
    queue.crowd(5).await;
    let node = QueueNode::enter(&queue).await;
    let late = node.accept(queue.wanted_by_all(Priority::Normal)).await;
    queue.database.execute("update fan_outs set expires_at = now()").await;
    let unreadable = node.accept(queue.wanted_by_all(Priority::Normal)).await;
    queue.database.execute("update fan_outs set audience = '{}' where expires_at > now()").await;
    find_all(&queue, 1).await;
    let foreign = node.accept(queue.wanted_by_all(Priority::Normal)).await;
    let mut conn = queue.pool.acquire().await.unwrap();
    fan_outs::expire(&mut conn).await.unwrap();
    assert_eq!(queue.database.count("select count(*) from fan_outs").await, 1, "it has time left");
    queue.database.execute("update fan_outs set expires_at = now()").await;
    fan_outs::expire(&mut conn).await.unwrap();
    for id in [late, unreadable, foreign] {
        assert_eq!(queue.counts(id).await.targets(), 0);
    }
    assert_eq!(
        queue.database.count("select count(*) from notifications where target_count = 0").await,
        3,
        "all are done"
    );
    assert_eq!(queue.database.count("select count(*) from fan_outs").await, 0);
}

#[tokio::test]
async fn a_fan_out_of_a_later_format_is_left_to_nodes_that_can_read_it() {
    let queue = TestQueue::create().await;
    queue.crowd(5).await;
    let node = QueueNode::enter(&queue).await;
    let later = node.accept(queue.wanted_by_all(Priority::High)).await;
    let formats = "select min(format)::bigint from fan_outs";
    assert_eq!(queue.database.count(formats).await, i64::from(FanOut::FORMAT));
    queue.database.execute("update fan_outs set format = format + 1").await;
    let now = node.accept(queue.wanted_by_all(Priority::Low)).await;
    assert_eq!(queue.page(10).await, Some((now, 5)));
    assert_eq!(queue.page(10).await, None);
    queue.database.execute("update fan_outs set format = format - 1").await;
    assert_eq!(queue.page(10).await, Some((later, 5)));
    queue.assert_sound().await;
}
