//! How long a repeat gets the first answer, and what may have changed meanwhile.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::assert_problem;
use serde_json::json;

use pushpost_testkit::request::{ApiRequest, SEND, service_without_workers};
use pushpost_testkit::service::{TestService, sent};

use super::{NOTIFICATIONS, assert_replays, body, post, send_first};

const ERRORS: &str = "pushpost_postgres_errors_total{";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_first_answer_for_a_day() {
    let mut service = TestService::start().await;
    let s = service.key("send").await;
    let first = send_first(&service, &s, "k", &body("f1")).await;
    assert_eq!(first.body["unmatched"]["users"], json!(["u1"]), "the answer depends on what was registered");
    service.notifications().until_done(first.body["id"].as_str().unwrap()).await;
    assert_replays(&post(&s, "k", &body("f1")).of(&service).await, &first);

    // The answer would be another one now.
    service.devices().register(json!({"platform": "fcm", "token": "f2", "user": "u1"})).await;
    service.node(Role::Api).await;
    assert_replays(&post(&s, "k", &body("f1")).of_node(&service, 1).await, &first);
    service.database.execute("update notifications set content = null, unmatched = null").await;
    assert_replays(&post(&s, "k", &body("f1")).of(&service).await, &first);
    age_keys(&service, "23:59").await;
    service.end_nodes().await;
    service.node(Role::All).await;
    assert_replays(&post(&s, "k", &body("f1")).of(&service).await, &first);
    assert_eq!(service.database.count(NOTIFICATIONS).await, 1);
    assert_eq!(sent(&service.ledger()).len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_first_answer_although_it_would_be_refused_now() {
    let mut service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let first = send_first(&service, &s, "k", &body("f1")).await;
    service.end_nodes().await;
    service.without_fcm();
    service.node(Role::Api).await;
    let other = post(&s, "l", &body("f1")).of(&service).await;
    let fault = json!([{"pointer": "#/to/tokens/0/platform", "code": "platform_not_configured"}]);
    assert_problem(&other, 422, "unprocessable", &fault);
    assert_replays(&post(&s, "k", &body("f1")).of(&service).await, &first);
    // Another request with the same key has faults of its own.
    assert_problem(&post(&s, "k", &body("f2")).of(&service).await, 422, "unprocessable", &fault);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_key_finds_no_answer() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    send_first(&service, &s, "k", &body("f1")).await;
    let mut with_member = body("f1");
    with_member["idempotency_key"] = json!(7);
    assert_eq!(post(&s, "k", &with_member).of(&service).await.status, 400);
    with_member["idempotency_key"] = json!("k");
    assert_eq!(post(&s, "l", &with_member).of(&service).await.status, 400);
    assert_eq!(post(&s, "k k", &with_member).of(&service).await.status, 422);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_never_accepted_is_no_repeat() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    send_first(&service, &s, "k", &body("f1")).await;
    let text = body("f1").to_string();
    let twice = text.replacen('{', r#"{"title":"Other","#, 1);
    let answer =
        ApiRequest::json(Method::POST, SEND, twice).key(&s).header("idempotency-key", "k").of(&service).await;
    assert_problem(
        &answer,
        400,
        "invalid_request",
        &json!([{"pointer": "#/title", "code": "duplicate_field"}]),
    );
    let path = format!("{SEND}?dryrun=true");
    let answer =
        ApiRequest::post(&path, &body("f1")).key(&s).header("idempotency-key", "k").of(&service).await;
    assert_problem(
        &answer,
        400,
        "invalid_request",
        &json!([{"parameter": "dryrun", "code": "unknown_parameter"}]),
    );
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_free_after_24_hours() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let first = send_first(&service, &s, "k", &body("f1")).await;
    age_keys(&service, "24:00:01").await;
    let again = send_first(&service, &s, "k", &body("f1")).await;
    assert_ne!(again.body["id"], first.body["id"]);
    assert_replays(&post(&s, "k", &body("f1")).of(&service).await, &again);
    service.stop_undecided().await;
}

/// Postgres logs an error with the whole statement, unless the statement itself catches the error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_key_is_no_error_of_postgres() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let first = send_first(&service, &s, "k", &body("f1")).await;
    for _ in 0..3 {
        assert_replays(&post(&s, "k", &body("f1")).of(&service).await, &first);
    }
    let scrape = service.scrape(0).await;
    let errors: Vec<_> = scrape.text.lines().filter(|line| line.starts_with(ERRORS)).collect();
    assert!(!errors.is_empty() && errors.iter().all(|line| line.ends_with(" 0")), "{errors:?}");
    service.stop_undecided().await;
}

/// Answers that say more than a number of targets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_answer_is_repeated_byte_for_byte() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    service.devices().register(json!({"platform": "fcm", "token": "f1", "user": "u1"})).await;
    let unknown = "dev_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b";
    let requests = [
        ("found", json!({"to": {"users": ["u1"]}, "title": "A"})),
        ("in vain", json!({"to": {"users": ["u1", "\"u8\"", "\u{e9}"], "devices": [unknown]}, "title": "A"})),
        ("nothing", json!({"to": {"users": ["u9"]}, "title": "A"})),
        ("all", json!({"to": {"all": true}, "title": "A"})),
        ("later", json!({"to": {"users": ["u1"]}, "title": "A", "send_at": "2100-01-01T00:00:00Z"})),
    ];
    for (key, mut request) in requests {
        if key == "later" {
            let ms = service.database.now_ms().await + 3_600_000;
            request["send_at"] = json!(chrono::DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339());
        }
        let key = key.replace(' ', "-");
        let first = send_first(&service, &s, &key, &request).await;
        let id = first.body["id"].as_str().unwrap();
        assert_replays(&post(&s, &key, &request).of(&service).await, &first);
        let cancelled =
            ApiRequest::json(Method::DELETE, &format!("{SEND}/{id}"), "").key(&s).of(&service).await;
        assert!(cancelled.status.is_success(), "{cancelled:?}");
        assert_replays(&post(&s, &key, &request).of(&service).await, &first);
    }
    service.stop_undecided().await;
}

/// Makes all keys as old as that.
async fn age_keys(service: &TestService, age: &str) {
    let age = format!(
        "update idempotency_keys set day = (now() at time zone 'UTC')::date - 1, created_at = now() - interval '{age}'"
    );
    service.database.execute(&age).await;
}
