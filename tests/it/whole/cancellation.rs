//! `DELETE /v1/notifications/{id}` over HTTP: before, during and after the sending.

use std::time::Duration;

use http::Method;
use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, Rule};
use pushpost_testkit::json::{assert_ended, assert_problem, fcm_targets, text};
use pushpost_testkit::request::{ApiRequest, SEND};
use pushpost_testkit::service::{PRODUCTION, TestService, sent};
use pushpost_testkit::wait::until;
use serde_json::{Value, json};

fn path(id: &str) -> String {
    format!("{SEND}/{id}")
}

async fn cancel(service: &TestService, id: &str) -> Value {
    let answer = service.delete(&path(id)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// The counts of an answer; fails if they don't add up.
fn counts(status: &Value) -> serde_json::Map<String, Value> {
    let mut counts = status["counts"].as_object().unwrap().clone();
    let targets = counts.remove("targets").unwrap();
    let sum: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(targets, sum, "{status}");
    counts.retain(|_, count| *count != 0);
    counts
}

async fn until_settled(service: &TestService, id: &str) -> Value {
    let pending = async || counts(&service.get(&path(id)).await.body).get("pending").is_none();
    until("every device has its outcome", pending).await;
    service.get(&path(id)).await.body
}

/// Registered FCM devices.
async fn crowd(service: &TestService, count: usize) {
    let sql = format!(
        "insert into devices (app_id, platform, environment, token, token_digest, registered_at)
         select 1, 2, 0, 'b' || g, substr(sha256(('b' || g)::bytea), 1, 16), now() from generate_series(1, {count}) g"
    );
    service.database.execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_in_a_paused_lane_is_cancelled_and_twice_is_the_same() {
    let service = TestService::start().await;
    service.lanes().pause(fcm::LANE).await;
    let s = service.key("send").await;
    let body = json!({"to": {"tokens": fcm_targets("f", 3)}, "title": "Hi", "idempotency_key": "k"});
    let first = ApiRequest::post(SEND, &body).key(&s).of(&service).await;
    let id = text(&first.body["id"]);
    let cancelled = cancel(&service, &id).await;
    assert_eq!((&cancelled["status"], &cancelled["id"]), (&json!("cancelled"), &json!(id)));
    assert_eq!(Value::Object(counts(&cancelled)), json!({"cancelled": 3}));
    assert!(cancelled["done_at"].is_string(), "{cancelled}");
    assert_eq!(cancelled, service.get(&path(&id)).await.body);
    for key in [&s, &service.key("admin").await] {
        let again = ApiRequest::new(Method::DELETE, &path(&id)).key(key).of(&service).await;
        assert_eq!((again.status.as_u16(), &again.body), (200, &cancelled));
    }
    for delivery in service.notifications().deliveries(&id).await {
        assert_ended(&delivery, "cancelled", 0, Some("requested"));
    }
    // docs/queue.md#idempotency-keys: the answer of the first request, whatever became of it.
    let replay = ApiRequest::post(SEND, &body).key(&s).of(&service).await;
    assert_eq!((replay.status.as_u16(), &replay.body), (202, &first.body));
    assert_eq!(replay.headers["idempotent-replayed"], "true");
    service.lanes().resume(fcm::LANE).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_that_is_done_stays_done() {
    let service = TestService::start().await;
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 2)}, "title": "Hi"})).await;
    let done = service.notifications().until_done(&id).await;
    assert_eq!(cancel(&service, &id).await, done);
    let empty = service.notifications().send(json!({"to": {"users": []}, "title": "Hi"})).await;
    assert_eq!(cancel(&service, &empty).await["status"], "done");
    let unknown = service.delete(&path("ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b")).await;
    assert_problem(&unknown, 404, "not_found", &json!([]));
    let faulty = service.delete(&format!("{}?force=true", path(&id))).await;
    let fault = json!([{"parameter": "force", "code": "unknown_parameter"}]);
    assert_problem(&faulty, 400, "invalid_request", &fault);
    service.stop().await;
}

/// One node finds the audience and sends; the other one is asked to cancel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_is_cancelled_on_all_nodes_and_its_counts_add_up_throughout() {
    let builder = TestService::builder().config("DELIVERY__MAX_IN_FLIGHT", "5");
    let service = builder.node(Role::Api).node(Role::Worker).node(Role::Worker).build().await;
    service.rule(Rule::prefix("b", Action::Accept).delayed(Duration::from_millis(20)));
    crowd(&service, 30_000).await;
    let id = service.notifications().send(json!({"to": {"all": true}, "title": "Hi"})).await;
    service.until_received(100).await;
    let before = counts(&service.get(&path(&id)).await.body);
    assert!(before.get("pending").is_some(), "{before:?}");
    let cancelled = cancel(&service, &id).await;
    assert_eq!(cancelled["status"], "cancelled");
    counts(&cancelled);
    let settled = until_settled(&service, &id).await;
    let after = counts(&settled);
    assert_eq!(settled["status"], "cancelled");
    let stopped = after["cancelled"].as_u64().unwrap();
    assert!(stopped > 0, "{after:?}");
    // As a lane is not asked for what it has in flight, a few more may have gone than were counted before.
    let gone = sent(&service.ledger()).len();
    assert_eq!(after["accepted"], gone);
    assert_eq!(counts(&cancel(&service, &id).await), after);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_that_wait_are_cancelled_and_those_in_doubt_are_unknown() {
    let service = TestService::start().await;
    let busy = Action::FcmFault {
        fault: FcmFault::Unavailable,
        retry_after: Some("3600".to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule::prefix("f", busy).times_per_token(1));
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 3)}, "title": "Hi"})).await;
    let waiting =
        "select coalesce(sum(device_count), 0)::bigint from jobs where class = 1 and node_id is null";
    service.database.until_count(waiting, 3).await;
    // The answer to the first attempt at one of them was lost.
    let doubtful = "update jobs set unanswered = 1 where job_id = (select min(job_id) from jobs)";
    assert_eq!(service.database.execute(doubtful).await, 1);
    let devices =
        service.database.count("select device_count::bigint from jobs order by job_id limit 1").await;
    let cancelled = cancel(&service, &id).await;
    let expected = match devices {
        3 => json!({"unknown": 3}),
        unknown => json!({"unknown": unknown, "cancelled": 3 - unknown}),
    };
    assert_eq!(Value::Object(counts(&cancelled)), expected);
    for delivery in service.notifications().deliveries(&id).await {
        assert_eq!(delivery["attempts"], 1, "{delivery}");
    }
    assert_eq!(sent(&service.ledger()).len(), 3);
    service.stop().await;
}

/// A retry that is recorded after the request, into a lane that has stopped meanwhile: the leader ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_comes_to_a_paused_lane_later_is_cancelled_too() {
    let service = TestService::start().await;
    let busy = Action::FcmFault {
        fault: FcmFault::Unavailable,
        retry_after: Some("3600".to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule::prefix("f", busy).delayed(Duration::from_secs(4)));
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi"})).await;
    service.until_received(1).await;
    let under_way = cancel(&service, &id).await;
    assert_eq!(Value::Object(counts(&under_way)), json!({"pending": 1}), "it is with the provider");
    service.lanes().pause(fcm::LANE).await;
    let settled = until_settled(&service, &id).await;
    assert_eq!(Value::Object(counts(&settled)), json!({"cancelled": 1}));
    assert_ended(&service.notifications().deliveries(&id).await[0], "cancelled", 1, Some("requested"));
    service.database.until_count("select count(*) from pending_cancellations", 0).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_of_another_app_is_not_cancelled() {
    let service = TestService::builder().app("other").node(Role::All).build().await;
    service.lanes().pause(PRODUCTION).await;
    service.lanes().pause(fcm::LANE).await;
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi"})).await;
    let other = service.key_of("other", "send").await;
    let answer = ApiRequest::new(Method::DELETE, &path(&id)).key(&other).of(&service).await;
    assert_problem(&answer, 404, "not_found", &json!([]));
    assert_eq!(Value::Object(counts(&service.get(&path(&id)).await.body)), json!({"pending": 1}));
    service.lanes().resume(fcm::LANE).await;
    assert_eq!(service.notifications().until_done(&id).await["counts"]["accepted"], 1);
    service.stop().await;
}
