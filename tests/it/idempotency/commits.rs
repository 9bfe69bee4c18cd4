//! Requests with keys that share a commit.

use std::collections::BTreeMap;

use pushpost::domain::{Idempotency, IdempotencyKey, RequestDigest};
use pushpost::queue::accept::{AcceptedNotification, Error, KeyedRequest, NewNotification};
use pushpost::store::idempotency::StoredAcceptance;
use tokio::task::JoinSet;

use pushpost_testkit::queue::{QueueNode, TestQueue};

use super::{KEYS, NOTIFICATIONS};

const WAITING: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'";

type Answers = JoinSet<(i64, Result<AcceptedNotification, Error>)>;

/// A request to one device, with a key.
fn keyed(queue: &TestQueue, device: i64, key: &str, request: u8) -> NewNotification {
    let key = IdempotencyKey::parse(key).unwrap();
    let idempotency = Idempotency { key, request: RequestDigest([request; 16]) };
    let keyed = KeyedRequest { idempotency, acceptance: acceptance(device) };
    NewNotification { keyed: Some(keyed), ..queue.wanted([device]) }
}

/// What a request to one device is answered. Half of them say more, which is kept as JSON and names the device.
fn acceptance(device: i64) -> StoredAcceptance {
    match device % 2 {
        1 => StoredAcceptance::Complete { targets: 1 },
        _ => StoredAcceptance::Other(device.to_string().into_bytes()),
    }
}

/// Hands requests to a node during a commit, so that they share the next one. Answers by the number of the request.
async fn share_a_commit(
    queue: &TestQueue,
    node: &QueueNode,
    requests: Vec<NewNotification>,
) -> BTreeMap<i64, Result<AcceptedNotification, Error>> {
    share_commits(queue, vec![(node, requests)]).await.remove(0)
}

/// As [`share_a_commit`] for several nodes at once. The request with the number 0 is in the commit before.
async fn share_commits(
    queue: &TestQueue,
    of_nodes: Vec<(&QueueNode, Vec<NewNotification>)>,
) -> Vec<BTreeMap<i64, Result<AcceptedNotification, Error>>> {
    let accept = |answers: &mut Answers, node: &QueueNode, number: i64, new: NewNotification| {
        let acceptor = node.acceptor.clone();
        answers.spawn(async move { (number, acceptor.accept(new).await) });
    };
    let waiting = queue.database.count(WAITING).await;
    let mut conn = queue.database.pool.acquire().await.unwrap();
    let mut busy = conn.begin().await.unwrap();
    sqlx::query("lock table receipts in access exclusive mode").execute(&mut *busy).await.unwrap();
    let mut all = Vec::new();
    for (node, _) in &of_nodes {
        let mut answers = Answers::new();
        accept(&mut answers, node, 0, keyed(queue, 1, &format!("first-{}", all.len()), 0));
        all.push(answers);
    }
    queue.database.until_count(WAITING, waiting + i64::try_from(all.len()).unwrap()).await;
    for (answers, (node, requests)) in all.iter_mut().zip(of_nodes) {
        for (number, new) in (1..).zip(requests) {
            accept(answers, node, number, new);
        }
    }
    // All of them are in the acceptor's hands before the first commit ends.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    busy.rollback().await.unwrap();
    let mut answered = Vec::new();
    for answers in all {
        answered.push(answers.join_all().await.into_iter().collect());
    }
    answered
}

#[tokio::test]
async fn twins_of_one_commit_are_joined() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let requests = (0..30).map(|number| {
        // The last request of each key is another one.
        keyed(&queue, 100 + number, &format!("k{}", number % 3), u8::from(number >= 27))
    });
    let mut answers = share_a_commit(&queue, &node, requests.collect()).await;
    assert!(answers.remove(&0).unwrap().unwrap().replayed.is_none());
    let firsts: Vec<_> = (1..=3).map(|number| answers.remove(&number).unwrap().unwrap()).collect();
    assert!(firsts.iter().all(|first| first.replayed.is_none()), "the first one of each key is stored");
    for (number, answer) in answers {
        let place = usize::try_from((number - 1) % 3).unwrap();
        match answer {
            Ok(replay) => {
                let first = acceptance(100 + i64::try_from(place).unwrap());
                assert_eq!((replay.id, replay.replayed), (firsts[place].id, Some(first)));
                assert!(number <= 27, "{number} is another request");
            }
            Err(Error::KeyReused) => assert!(number > 27, "{number} is the same request"),
            Err(error) => panic!("{number}: {error}"),
        }
    }
    assert_eq!(queue.database.count(NOTIFICATIONS).await, 4);
    assert_eq!(queue.database.count("select count(*) from jobs").await, 4);
    assert_eq!(queue.database.count("select count(distinct xmin::text) from notifications").await, 2);
    queue.assert_sound().await;
}

#[tokio::test]
async fn a_poisoned_request_fails_alone_and_leaves_its_key_free() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let requests = (0..20).map(|number| {
        let mut new = keyed(&queue, 100 + number, &format!("k{}", number % 10), 0);
        if number == 7 {
            new.targets[0].references = Some("row\0 1".to_owned()).into();
        }
        new
    });
    let answers = share_a_commit(&queue, &node, requests.collect()).await;
    for (number, answer) in &answers {
        match (number, answer) {
            (8, Err(Error::Poisoned(_))) => {}
            // Its twin is stored instead.
            (18, Ok(accepted)) => assert_eq!(accepted.replayed, None),
            (11.., Ok(accepted)) => assert!(accepted.replayed.is_some(), "{number}"),
            (_, Ok(accepted)) => assert_eq!(accepted.replayed, None, "{number}"),
            (_, Err(error)) => panic!("{number}: {error}"),
        }
    }
    assert_eq!(queue.database.count(NOTIFICATIONS).await, 11);
    assert_eq!(queue.database.count(KEYS).await, 11);
    queue.assert_sound().await;
}

#[tokio::test]
async fn a_key_that_another_transaction_holds_fails_alone() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let mut conn = queue.database.pool.acquire().await.unwrap();
    let mut busy = conn.begin().await.unwrap();
    sqlx::query(
        "insert into idempotency_keys (day, app_id, created_at, key_digest, request_digest, notification_id)
         values ((now() at time zone 'UTC')::date, $1, now(), encode(substr(sha256('k7'), 1, 16), 'hex')::uuid,
                 gen_random_uuid(), gen_random_uuid())",
    )
    .bind(queue.app.id.0)
    .execute(&mut *busy)
    .await
    .unwrap();
    let requests = (0..20).map(|number| keyed(&queue, 100 + number, &format!("k{number}"), 0));
    let answers = share_a_commit(&queue, &node, requests.collect()).await;
    for (number, answer) in &answers {
        match (number, answer) {
            (8, Err(Error::KeyInUse)) => {}
            (_, Ok(accepted)) => assert_eq!(accepted.replayed, None, "{number}"),
            (_, Err(error)) => panic!("{number}: {error}"),
        }
    }
    busy.rollback().await.unwrap();
    assert!(node.acceptor.accept(keyed(&queue, 108, "k7", 0)).await.unwrap().replayed.is_none());
    assert_eq!(queue.database.count(NOTIFICATIONS).await, 21);
    queue.assert_sound().await;
}

#[tokio::test]
async fn a_taken_key_keeps_no_other_one_of_its_commit_from_being_stored() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    for key in ["k3", "k7"] {
        assert!(node.acceptor.accept(keyed(&queue, 50, key, 0)).await.unwrap().replayed.is_none());
    }
    // One of today, and one of yesterday.
    queue
        .database
        .execute(
            "update idempotency_keys set day = day - 1, created_at = created_at - interval '23:00'
             where key_digest = encode(substr(sha256('k7'), 1, 16), 'hex')::uuid",
        )
        .await;
    let requests = (0..20).map(|number| keyed(&queue, 100 + number, &format!("k{number}"), 0));
    let answers = share_a_commit(&queue, &node, requests.collect()).await;
    for (number, answer) in answers {
        let is_taken = matches!(number, 4 | 8);
        assert_eq!(answer.unwrap().replayed, is_taken.then(|| acceptance(50)), "{number}");
    }
    assert_eq!(queue.database.count(NOTIFICATIONS).await, 21);
    assert_eq!(queue.database.count(KEYS).await, 21);
    assert_eq!(queue.database.count("select count(*) from jobs").await, 21);
    queue.assert_sound().await;
}

#[tokio::test]
async fn two_nodes_with_the_same_keys_in_opposite_orders_store_each_once() {
    let queue = TestQueue::create().await;
    let nodes = [QueueNode::enter(&queue).await, QueueNode::enter(&queue).await];
    let requests = |number: i64| keyed(&queue, 100 + number, &format!("k{number}"), 0);
    let both = vec![
        (&nodes[0], (0..200).map(requests).collect()),
        (&nodes[1], (0..200).rev().map(requests).collect()),
    ];
    let answers = share_commits(&queue, both).await;
    let (one, other) = (&answers[0], &answers[1]);
    let stored = |answers: &BTreeMap<i64, Result<AcceptedNotification, Error>>| {
        answers.values().filter(|answer| answer.as_ref().unwrap().replayed.is_none()).count()
    };
    assert_eq!(stored(one) + stored(other), 202, "200 and the two that came first");
    for number in 1..=200 {
        assert_eq!(one[&number].as_ref().unwrap().id, other[&(201 - number)].as_ref().unwrap().id);
    }
    assert_eq!(queue.database.count(NOTIFICATIONS).await, 202);
    queue.assert_sound().await;
}
