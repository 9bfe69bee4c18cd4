//! What is a key, where it may stand, and what belongs to it.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::assert_problem;
use serde_json::{Value, json};

use pushpost_testkit::request::{ApiRequest, SEND, service_without_workers, stored};
use pushpost_testkit::service::TestService;

use super::{HEADER, KEYS, NOTIFICATIONS, assert_replays, body, post, send_first};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_key_is_refused_with_its_place() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    let long = "x".repeat(256);
    for wrong in ["", "a b", "\"\"", "\"a\"b\"", "k\u{e9}", &long] {
        let answer = post(&s, wrong, &body("f1")).of(&service).await;
        let fault = json!([{"header": "Idempotency-Key", "code": "bad_value", "limit": 255}]);
        assert_problem(&answer, 422, "unprocessable", &fault);
    }
    for wrong in ["", "a b", "k\u{e9}", &long] {
        let mut with_member = body("f1");
        with_member["idempotency_key"] = json!(wrong);
        let answer = ApiRequest::post(SEND, &with_member).key(&s).of(&service).await;
        let fault = json!([{"pointer": "#/idempotency_key", "code": "bad_value", "limit": 255}]);
        assert_problem(&answer, 422, "unprocessable", &fault);
    }
    let twice = post(&s, "k", &body("f1")).header(HEADER, "k").of(&service).await;
    let fault = json!([{"header": "Idempotency-Key", "code": "out_of_range"}]);
    assert_problem(&twice, 400, "invalid_request", &fault);
    let mut other = body("f1");
    other["idempotency_key"] = json!("l");
    assert_problem(&post(&s, "k", &other).of(&service).await, 400, "invalid_request", &fault);
    other["idempotency_key"] = json!(7);
    let fault = json!([{"pointer": "#/idempotency_key", "code": "wrong_type"}]);
    assert_problem(&post(&s, "k", &other).of(&service).await, 400, "invalid_request", &fault);
    assert_eq!(stored(&service).await, before);
    assert_eq!(service.database.count(KEYS).await, 0);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_the_same_in_header_and_body_with_and_without_quotation_marks() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let longest = "~".repeat(255);
    for key in ["order-789", &longest] {
        let first = send_first(&service, &s, key, &body("f1")).await;
        let quoted = post(&s, &format!("\"{key}\""), &body("f1")).of(&service).await;
        assert_replays(&quoted, &first);
        let mut with_member = body("f1");
        with_member["idempotency_key"] = json!(key);
        assert_replays(&ApiRequest::post(SEND, &with_member).key(&s).of(&service).await, &first);
        assert_replays(&post(&s, key, &with_member).of(&service).await, &first);
    }
    assert_eq!(service.database.count(NOTIFICATIONS).await, 2);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_belongs_to_one_request_of_one_app() {
    let mut service = TestService::builder().build().await;
    service.with_another_app_of_the_project("market");
    service.node(Role::Api).await;
    let (one, other) = (service.key("send").await, service.key("send").await);
    let market = service.key_of("market", "send").await;
    let first = send_first(&service, &one, "k", &body("f1")).await;
    let reused = post(&one, "k", &body("f2")).of(&service).await;
    assert_problem(&reused, 422, "idempotency_key_reused", &json!([]));
    let mut more = body("f1");
    more["title"] = json!("B");
    assert_problem(&post(&one, "k", &more).of(&service).await, 422, "idempotency_key_reused", &json!([]));
    assert_replays(&post(&other, "k", &body("f1")).of(&service).await, &first);
    let of_market = send_first(&service, &market, "k", &body("f1")).await;
    assert_ne!(of_market.body["id"], first.body["id"]);
    send_first(&service, &one, "K", &body("f1")).await;
    // Without a key each request is a new one.
    for _ in 0..2 {
        assert_eq!(ApiRequest::post(SEND, &body("f1")).key(&one).of(&service).await.status, 202);
    }
    assert_eq!(service.database.count(NOTIFICATIONS).await, 5);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_the_same_if_it_says_the_same() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let send = |text: &str| ApiRequest::json(Method::POST, SEND, text).key(&s).header(HEADER, "k");
    let first = send(r#"{"to":{"users":["u1","u2"]},"title":"A/B","data":{"a":1.50,"b":[1,2]}}"#);
    let first = first.of(&service).await;
    assert_eq!(first.status, 202, "{first:?}");
    let same = r#" { "data" : {"b":[ 1, 2 ],"a":1.50}, "title":"\u0041\/B", "to":{"users":["u1","u2"]} } "#;
    assert_replays(&send(same).of(&service).await, &first);
    for other in [
        r#"{"to":{"users":["u2","u1"]},"title":"A/B","data":{"a":1.50,"b":[1,2]}}"#,
        r#"{"to":{"users":["u1","u2"]},"title":"A/B","data":{"a":1.5,"b":[1,2]}}"#,
        r#"{"to":{"users":["u1","u2"]},"title":"A/B","data":{"a":1.50,"b":[1,2]},"body":null}"#,
    ] {
        assert_problem(&send(other).of(&service).await, 422, "idempotency_key_reused", &json!([]));
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_leaves_its_key_free() {
    let mut service = service_without_workers(&[("LIMITS__MAX_PENDING", "1")]).await;
    let s = service.key("send").await;
    let mut wrong = body("f1");
    wrong["ttl"] = json!("29d");
    assert_eq!(post(&s, "k", &wrong).of(&service).await.status, 422);
    let malformed = ApiRequest::json(Method::POST, SEND, "{").key(&s).header(HEADER, "k");
    assert_eq!(malformed.of(&service).await.status, 400);
    let no_key = ApiRequest::post(SEND, &body("f1")).key("sk_wrong").header(HEADER, "k");
    assert_eq!(no_key.of(&service).await.status, 401);
    let first = send_first(&service, &s, "k", &to_token("f1")).await;
    let full = post(&s, "l", &to_token("f2")).of(&service).await;
    assert_problem(&full, 503, "queue_full", &json!([]));
    assert_eq!(service.database.count(KEYS).await, 1);
    // A repeat adds nothing to what waits.
    assert_replays(&post(&s, "k", &to_token("f1")).of(&service).await, &first);
    service.node(Role::Worker).await;
    service.database.until_count("select count(*) from jobs", 0).await;
    service.end_nodes().await;
    service.node(Role::All).await;
    let second = send_first(&service, &s, "l", &to_token("f2")).await;
    service.notifications().until_done(second.body["id"].as_str().unwrap()).await;
    service.stop().await;
}

fn to_token(token: &str) -> Value {
    json!({"to": {"tokens": [{"platform": "fcm", "token": token}]}, "title": "A"})
}
