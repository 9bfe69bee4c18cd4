//! Requests with the same key at the same time, on one node and on two.

use std::collections::{BTreeMap, BTreeSet};

use pushpost::runtime::Role;
use pushpost_testkit::json::assert_problem;
use pushpost_testkit::seeds::seeds;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use pushpost_testkit::answer::Answer;
use pushpost_testkit::request::{ApiRequest, SEND, service_without_workers};
use pushpost_testkit::service::{TestService, sent};

use super::{KEYS, NOTIFICATIONS, assert_replays, body, is_replay, post, send_first};

const HELD: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'";

/// Stores the key `held`.
const HOLD: &str = "
    insert into idempotency_keys (day, app_id, created_at, key_digest, request_digest, notification_id)
    select (now() at time zone 'UTC')::date, app_id, now(), encode(substr(sha256('held'), 1, 16), 'hex')::uuid,
           gen_random_uuid(), gen_random_uuid()
    from apps where name = 'shop'";

async fn two_nodes() -> TestService {
    TestService::builder().node(Role::All).node(Role::All).build().await
}

/// Posts all of it at once, each to one of two nodes.
async fn at_once(
    service: &TestService,
    requests: impl IntoIterator<Item = (usize, ApiRequest)>,
) -> Vec<Answer> {
    let posts = requests.into_iter().map(|(node, request)| request.of_node(service, node));
    futures_util::future::join_all(posts).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_get_one_answer() {
    let service = two_nodes().await;
    let s = service.key("send").await;
    for round in 0..5 {
        let key = format!("k{round}");
        let twins = (0..40).map(|number| (number % 2, post(&s, &key, &body(&key))));
        let answers = at_once(&service, twins).await;
        let firsts: Vec<_> = answers.iter().filter(|answer| !is_replay(answer)).collect();
        assert_eq!(firsts.len(), 1, "{answers:?}");
        for answer in answers.iter().filter(|answer| is_replay(answer)) {
            assert_replays(answer, firsts[0]);
        }
        service.notifications().until_done(firsts[0].body["id"].as_str().unwrap()).await;
    }
    assert_eq!(service.database.count(NOTIFICATIONS).await, 5);
    assert_eq!(sent(&service.ledger()).len(), 5);
    service.stop().await;
}

/// Requests with few keys and two bodies, in another order on each node: nothing deadlocks, each key has one notification,
/// and each request gets the answer that its body deserves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_interleaving_gives_one_notification_a_key() {
    let service = two_nodes().await;
    let s = service.key("send").await;
    // Then their devices exist. A request that waits for another one's new device is answered 503 after 3 s, for instance
    // while the disk is slow.
    for token in ["f1", "other", "plain"] {
        assert_eq!(ApiRequest::post(SEND, &body(token)).key(&s).of(&service).await.status, 202);
    }
    for seed in seeds(&[1, 2, 3, 4]) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut drawn = Vec::new();
        for node in 0..2 {
            let mut keys: Vec<usize> = (0..30).flat_map(|key| [key, key]).collect();
            keys.shuffle(&mut rng);
            let variant = |rng: &mut StdRng| if rng.random_bool(0.15) { "other" } else { "f1" };
            drawn.extend(keys.into_iter().map(|key| (node, key, variant(&mut rng))));
        }
        let key = |number: usize| format!("{seed}-{number}");
        let requests =
            drawn.iter().map(|(node, number, token)| (*node, post(&s, &key(*number), &body(token))));
        let without_keys = (0..20).map(|number| (number % 2, ApiRequest::post(SEND, &body("plain")).key(&s)));
        let before = service.database.count(NOTIFICATIONS).await;
        let answers = at_once(&service, requests.chain(without_keys)).await;
        let mut accepted: BTreeMap<usize, BTreeSet<(&str, Vec<u8>)>> = BTreeMap::new();
        for ((_, number, token), answer) in drawn.iter().zip(&answers) {
            match answer.status.as_u16() {
                202 => drop(accepted.entry(*number).or_default().insert((token, answer.bytes.clone()))),
                _ => assert_problem(answer, 422, "idempotency_key_reused", &json!([])),
            }
        }
        assert_eq!(accepted.len(), 30, "{seed}: each key has an answer");
        for (number, answers) in &accepted {
            assert_eq!(answers.len(), 1, "{seed}: {number} has one body and one answer: {answers:?}");
        }
        let firsts =
            answers[..drawn.len()].iter().filter(|answer| answer.status == 202 && !is_replay(answer));
        assert_eq!(firsts.count(), 30, "{seed}");
        for ((_, number, token), answer) in drawn.iter().zip(&answers) {
            let of_key = accepted[number].first().unwrap().0;
            assert_eq!(answer.status == 202, of_key == *token, "{seed}: {number} {token}");
        }
        assert!(answers[drawn.len()..].iter().all(|answer| answer.status == 202));
        assert_eq!(service.database.count(NOTIFICATIONS).await, before + 30 + 20, "{seed}");
    }
    service.database.until_count("select count(*) from jobs", 0).await;
    service.stop_with_duplicates().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_another_transaction_holds_is_in_use() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let mut conn = service.database.pool.acquire().await.unwrap();
    let mut busy = conn.begin().await.unwrap();
    sqlx::raw_sql(HOLD).execute(&mut *busy).await.unwrap();
    let (waiting, others) = tokio::join!(post(&s, "held", &body("f1")).of(&service), async {
        service.database.until_count(HELD, 1).await;
        let twin = post(&s, "held", &body("f1")).of(&service);
        let others = (0..20).map(|number| post(&s, &format!("k{number}"), &body("f1")).of(&service));
        let plain = ApiRequest::post(SEND, &body("f1")).key(&s).of(&service);
        let plain = async {
            let answer = plain.await;
            assert_eq!(service.database.count(HELD).await, 1, "requests without a key do not wait");
            answer
        };
        let (twin, others, plain) = tokio::join!(twin, futures_util::future::join_all(others), plain);
        (twin, others, plain)
    });
    let (twin, others, plain) = others;
    for answer in [&waiting, &twin] {
        assert_problem(answer, 409, "idempotency_key_in_use", &json!([]));
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert!(others.iter().all(|answer| answer.status == 202), "{others:?}");
    assert_eq!(plain.status, 202, "{plain:?}");
    busy.rollback().await.unwrap();
    let first = send_first(&service, &s, "held", &body("f1")).await;
    assert_replays(&post(&s, "held", &body("f1")).of(&service).await, &first);
    assert_eq!(service.database.count(KEYS).await, 21);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_twin_that_is_told_that_its_key_is_in_use_is_not_stored_later() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let before = service.database.count(NOTIFICATIONS).await;
    let mut conn = service.database.pool.acquire().await.unwrap();
    let mut busy = conn.begin().await.unwrap();
    sqlx::raw_sql(HOLD).execute(&mut *busy).await.unwrap();
    let (first, twin) = tokio::join!(post(&s, "held", &body("f1")).of(&service), async {
        service.database.until_count(HELD, 1).await;
        post(&s, "held", &body("f2")).of(&service).await
    });
    for answer in [&first, &twin] {
        assert_problem(answer, 409, "idempotency_key_in_use", &json!([]));
    }
    busy.rollback().await.unwrap();
    // A later request shows that the committer has ended what it was doing.
    send_first(&service, &s, "later", &body("f1")).await;
    assert_eq!(service.database.count(NOTIFICATIONS).await, before + 1);
    send_first(&service, &s, "held", &body("f1")).await;
    service.stop_undecided().await;
}
