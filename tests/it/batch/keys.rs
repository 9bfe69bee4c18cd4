//! Idempotency keys of items.

use serde_json::{Value, json};

use pushpost_testkit::json::assert_problem;
use pushpost_testkit::request::{ApiRequest, SEND, service_without_workers, stored};
use pushpost_testkit::service::{TestService, sent};

use super::{BATCH, COMMITS, NOTIFICATIONS, assert_refused, id, items, keyed, to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_batch_stores_nothing_twice() {
    let service = TestService::start().await;
    let s = service.key("send").await;
    let batch: Value = (0..200).map(|n| keyed(&format!("f{n}"), &format!("k{n}"))).collect();
    let first = items(&service, &s, &batch).await;
    assert!(first.iter().all(|item| item.get("replayed").is_none()));
    assert_eq!(service.database.count(COMMITS).await, 1);
    let again = items(&service, &s, &batch).await;
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(*again, json!({"notification": first["notification"], "replayed": true}));
        service.notifications().until_done(id(first)).await;
    }
    assert_eq!(service.database.count(NOTIFICATIONS).await, 200);
    assert_eq!(sent(&service.ledger()).len(), 200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_of_one_batch_are_one_notification() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let batch = json!([
        to("f1"),
        keyed("f1", "k"),
        keyed("f2", "k"),
        to("f1"),
        keyed("f1", "k"),
        keyed("f2", "l"),
        {"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "f1", "ttl": "29d", "idempotency_key": "k"},
    ]);
    let found = items(&service, &s, &batch).await;
    assert_refused(&found[2], 422, "idempotency_key_reused");
    assert_refused(&found[6], 422, "unprocessable");
    assert_eq!(found[4], json!({"notification": found[1]["notification"], "replayed": true}));
    let stored = [0, 1, 3, 5].map(|place| id(&found[place]));
    assert!(stored.iter().all(|one| stored.iter().filter(|other| one == *other).count() == 1));
    assert_eq!(service.database.count(NOTIFICATIONS).await, 4);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_the_same_in_an_item_and_in_a_request_of_its_own() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let alone = ApiRequest::post(SEND, &to("f1")).key(&s).header("idempotency-key", "k").of(&service).await;
    let found = items(&service, &s, &json!([keyed("f1", "k"), keyed("f2", "l")])).await;
    assert_eq!(found[0], json!({"notification": alone.body, "replayed": true}));
    let repeated = ApiRequest::post(SEND, &keyed("f2", "l")).key(&s).of(&service).await;
    assert_eq!(repeated.headers["idempotent-replayed"], "true");
    assert_eq!(repeated.body, found[1]["notification"]);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_answered_although_it_would_be_refused_now() {
    let mut service = service_without_workers(&[("LIMITS__MAX_PENDING", "2")]).await;
    let s = service.key("send").await;
    let batch = json!([keyed("f1", "k1"), keyed("f2", "k2"), keyed("f3", "k3"), to("f4")]);
    let first = items(&service, &s, &batch).await;
    for place in [2, 3] {
        assert_refused(&first[place], 503, "queue_full");
        assert_eq!(first[place]["problem"]["limit"], 2);
    }
    let again = items(&service, &s, &batch).await;
    for place in [0, 1] {
        assert_eq!(again[place], json!({"notification": first[place]["notification"], "replayed": true}));
        assert_refused(&again[place + 2], 503, "queue_full");
    }
    service.end_nodes().await;
    service.without_fcm();
    service.node(pushpost::runtime::Role::Api).await;
    let unconfigured = items(&service, &s, &batch).await;
    assert_eq!(unconfigured[1]["replayed"], true);
    assert_refused(&unconfigured[2], 422, "unprocessable");
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_takes_no_key_for_the_whole() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    let ask = ApiRequest::post(BATCH, &json!([to("f1")])).key(&s).header("idempotency-key", "k");
    let fault = json!([{"header": "Idempotency-Key", "code": "out_of_range"}]);
    assert_problem(&ask.of(&service).await, 400, "invalid_request", &fault);
    let found = items(
        &service,
        &s,
        &json!([keyed("f1", "a b"), {"to": {"users": ["u"]}, "title": "A", "idempotency_key": 7}]),
    )
    .await;
    assert_refused(&found[0], 422, "unprocessable");
    assert_refused(&found[1], 400, "invalid_request");
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

/// Several batches with the same keys in other orders, at once and on one node: each key has one notification.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_at_once_share_their_keys() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let batch = |step: usize| -> Value {
        (0..100).map(|n| n * step % 101).map(|n| keyed(&format!("f{n}"), &format!("k{n}"))).collect()
    };
    let asked = [1, 3, 7, 99].map(|step| (step, batch(step)));
    let posts = asked.iter().map(|(_, batch)| items(&service, &s, batch));
    let answers = futures_util::future::join_all(posts).await;
    let mut ids = std::collections::BTreeMap::new();
    for ((step, _), found) in asked.iter().zip(&answers) {
        for (place, item) in found.iter().enumerate() {
            let first = ids.entry(place * step % 101).or_insert_with(|| id(item));
            assert_eq!(*first, id(item), "{step}: {place}");
        }
    }
    assert_eq!(service.database.count(NOTIFICATIONS).await, i64::try_from(ids.len()).unwrap());
    let firsts = answers.iter().flatten().filter(|item| item.get("replayed").is_none()).count();
    assert_eq!(firsts, ids.len());
    service.stop_undecided().await;
}
