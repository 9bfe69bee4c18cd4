//! How long a repeat gets the first answer, and what may have changed meanwhile.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::assert_problem;
use serde_json::json;

use pushpost_testkit::request::{ApiRequest, SEND, service_without_workers};
use pushpost_testkit::service::{TestService, sent};

use super::{KEYS, NOTIFICATIONS, assert_replays, body, post, send_first};

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
    service.database.execute("update idempotency_keys set created_at = now() - interval '23:59'").await;
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
async fn keys_are_deleted_after_a_day() {
    let mut service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let old = send_first(&service, &s, "old", &body("f1")).await;
    let young = send_first(&service, &s, "young", &body("f1")).await;
    // More than one batch.
    service
        .database
        .execute(
            "insert into idempotency_keys (app_id, key_digest, request_digest, notification_id, answer)
             select 1, decode(lpad(to_hex(g), 32, '0'), 'hex'), '', gen_random_uuid(), ''
             from generate_series(1, 2500) g",
        )
        .await;
    let age = format!(
        "update idempotency_keys set created_at = now() - case
           when notification_id = '{}' then interval '23:59' else interval '24:00:01' end",
        young.body["id"].as_str().unwrap().trim_start_matches("ntf_")
    );
    service.database.execute(&age).await;
    service.end_nodes().await;
    service.node(Role::Api).await;
    service.database.until_count(KEYS, 1).await;
    assert_replays(&post(&s, "young", &body("f1")).of(&service).await, &young);
    let again = send_first(&service, &s, "old", &body("f1")).await;
    assert_ne!(again.body["id"], old.body["id"]);
    service.stop_undecided().await;
}
