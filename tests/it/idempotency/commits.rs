//! Requests with keys that share a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use pushpost::domain::{Idempotency, IdempotencyKey, NotificationId, RequestDigest};
use pushpost::queue::accept::{AcceptedNotification, AnswerWriter, Error, KeyedRequest, NewNotification};
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
    let answer = AnswerWriter(Arc::new(move |id: NotificationId| format!("{id} {device}").into_bytes()));
    NewNotification { keyed: Some(KeyedRequest { idempotency, answer }), ..queue.wanted([device]) }
}

/// Hands requests to a node during a commit, so that they share the next one. Answers by the number of the request.
async fn share_a_commit(
    queue: &TestQueue,
    node: &QueueNode,
    requests: Vec<NewNotification>,
) -> BTreeMap<i64, Result<AcceptedNotification, Error>> {
    let mut answers = Answers::new();
    let accept = |answers: &mut Answers, number: i64, new: NewNotification| {
        let acceptor = node.acceptor.clone();
        answers.spawn(async move { (number, acceptor.accept(new).await) });
    };
    let waiting = queue.database.count(WAITING).await;
    let mut conn = queue.database.pool.acquire().await.unwrap();
    let mut busy = conn.begin().await.unwrap();
    sqlx::query("lock table receipts in access exclusive mode").execute(&mut *busy).await.unwrap();
    accept(&mut answers, 0, keyed(queue, 1, "first", 0));
    queue.database.until_count(WAITING, waiting + 1).await;
    for (number, new) in (1..).zip(requests) {
        accept(&mut answers, number, new);
    }
    // All of them are in the acceptor's hands before the first commit ends.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    busy.rollback().await.unwrap();
    answers.join_all().await.into_iter().collect()
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
                let text = format!("{} {}", firsts[place].id, 100 + place);
                assert_eq!((replay.id, replay.replayed), (firsts[place].id, Some(text.into_bytes())));
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
        "insert into idempotency_keys (app_id, key_digest, request_digest, notification_id, answer)
         values ($1, substr(sha256('k7'), 1, 16), '', gen_random_uuid(), '')",
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
