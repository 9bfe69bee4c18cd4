//! Lanes as operators see and change them.

use http::Method;
use pushpost::domain::LaneKey;
use pushpost::provider::{apns, fcm};
use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, Provider, Rule};
use pushpost_testkit::json::{apns_targets, assert_ended, assert_has, fcm_targets, hex};
use serde_json::{Value, json};

use pushpost_testkit::service::{PRODUCTION, TestService, sent};

const SANDBOX: LaneKey = apns::lane(apns::SANDBOX);

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

/// Example E1, from the pause on: once a pause is answered nothing is sent, and a user that logs out meanwhile gets nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_logs_out_while_its_message_waits_in_a_paused_lane() {
    let service = TestService::start().await;
    let device = service
        .devices()
        .register(json!({"platform": "apns", "token": hex("aa"), "environment": "sandbox", "user": "u42"}))
        .await;
    let paused = service.by_admin(Method::POST, "/v1/admin/lanes/apns-sandbox/pause").await;
    assert_eq!(paused.status, 200);
    assert_has(
        &paused.body,
        &json!({"lane": "apns-sandbox", "platform": "apns", "environment": "sandbox", "state": "paused"}),
    );
    let code = json!({"to": {"users": ["u42"]}, "title": "Your code", "body": "123456", "ttl": "5m",
                      "priority": "high"});
    let id = service.notifications().send(code).await;
    let status = service.get(&format!("/v1/notifications/{id}")).await.body;
    assert_has(&status["held"][0], &json!({"lane": "apns-sandbox", "state": "paused", "why": "lane_paused"}));
    service.lanes().until(SANDBOX, &json!({"depth": 1})).await;
    service.put_by_phone("/v1/devices", json!({"platform": "apns", "token": hex("aa"), "user": null})).await;
    service.lanes().resume(SANDBOX).await;
    let delivery = service.notifications().outcome(&id).await;
    assert_ended(&delivery, "cancelled", 0, Some("user_changed"));
    assert_has(
        &delivery,
        &json!({"device": device, "user": "u42", "ref": null, "environment": "sandbox", "provider_id": null,
                "next_attempt_at": null}),
    );
    assert_eq!(sent(&service.ledger()).len(), 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_on_every_node_once_it_is_answered() {
    let mut service = TestService::builder().build().await;
    for _ in 0..3 {
        service.node(Role::All).await;
    }
    let warm_up = service.notifications().send(hello(fcm_targets("w", 300))).await;
    service.notifications().until_done(&warm_up).await;
    service.lanes().pause(fcm::LANE).await;
    let before = sent(&service.ledger()).len();
    let id = service.notifications().send(hello(fcm_targets("f", 300))).await;
    let other = service.notifications().send(hello(apns_targets("a", 300))).await;
    service.notifications().until_done(&other).await;
    assert_eq!(sent(&service.ledger()).len(), before + 300, "only the other lane has sent");
    service.lanes().resume(fcm::LANE).await;
    service
        .notifications()
        .outcomes(&id)
        .await
        .iter()
        .for_each(|delivery| assert_ended(delivery, "accepted", 1, None));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_see_lanes() {
    let service = TestService::builder().without_fcm().node(Role::All).build().await;
    let id = service.notifications().send(hello(apns_targets("a", 10))).await;
    service.notifications().until_done(&id).await;
    let quiet = json!({"platform": "apns", "environment": "production", "state": "running", "why": null, "depth": 0,
                       "oldest_seconds": null, "in_flight": 0});
    service.lanes().until(PRODUCTION, &quiet).await;
    let lanes = service.by_admin(Method::GET, "/v1/admin/lanes").await;
    let names: Vec<_> =
        lanes.body["items"].as_array().unwrap().iter().map(|lane| lane["lane"].clone()).collect();
    assert_eq!(names, ["apns-production", "apns-sandbox"], "lanes without credentials are none");
    for path in ["apns-production/pause", "fcm/pause", "web/pause"] {
        let answer = service.post(&format!("/v1/admin/lanes/{path}"), json!({})).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (403, &json!("missing_scope")));
    }
    assert_eq!(service.get("/v1/admin/lanes").await.status, 403);
    for path in ["fcm/pause", "web/resume", "apns/retry"] {
        let answer = service.by_admin(Method::POST, &format!("/v1/admin/lanes/{path}")).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (404, &json!("not_found")));
    }
    assert_eq!(service.by_admin(Method::GET, "/v1/admin/lanes?state=x").await.status, 400);
    assert_eq!(service.by_admin(Method::GET, "/v1/admin/lanes/fcm/pause").await.status, 405);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_lane_shows_its_credential_and_an_operator_resumes_it() {
    let service = TestService::start().await;
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::PermissionDenied)).times(1));
    let id = service.notifications().send(hello(fcm_targets("f", 1))).await;
    let lane = service.lanes().until_state(fcm::LANE, "suspended").await;
    assert_has(&lane, &json!({"why": "PERMISSION_DENIED", "credential": {"ok": false}}));
    service.lanes().until(fcm::LANE, &json!({"depth": 1, "estimated": false})).await;
    assert_eq!(service.lanes().until_state(PRODUCTION, "running").await["why"], Value::Null);
    // Long before the next probe.
    service.lanes().resume(fcm::LANE).await;
    assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    let lane = service.lanes().until_state(fcm::LANE, "running").await;
    assert_has(&lane, &json!({"why": null}));
    service.lanes().until(fcm::LANE, &json!({"depth": 0, "oldest_seconds": null})).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_makes_retries_due() {
    let service = TestService::start().await;
    let later = Action::FcmFault {
        fault: FcmFault::QuotaExceeded,
        retry_after: Some("3600".to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule::prefix("f", later).times_per_token(1));
    let id = service.notifications().send(hello(fcm_targets("f", 20))).await;
    let late = "select coalesce(sum(device_count), 0)::bigint from jobs where class = 1 and due_at > now() + interval '50 minutes'";
    service.database.until_count(late, 20).await;
    let answer = service.by_admin(Method::POST, "/v1/admin/lanes/fcm/retry").await;
    assert_eq!((answer.status.as_u16(), &answer.body["state"]), (200, &json!("running")));
    service
        .notifications()
        .outcomes(&id)
        .await
        .iter()
        .for_each(|delivery| assert_ended(delivery, "accepted", 2, None));
    service.stop().await;
}

/// Until a node has read what operators and other nodes decided about a lane, it claims nothing of it and attempts nothing;
/// what it finds then is as old as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_is_unknown_until_it_has_been_read_and_since_survives_a_restart() {
    let mut service = TestService::start().await;
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::PermissionDenied)).times(1));
    service.notifications().send(hello(fcm_targets("f", 1))).await;
    let suspended = service.lanes().until_state(fcm::LANE, "suspended").await;
    let running = service.lanes().until_state(PRODUCTION, "running").await;
    assert!(running["since"].is_string(), "{running}");
    service.end_nodes().await;
    // The node can write no report, and with it reads nothing.
    let mut lock = pushpost::store::begin(&service.database.pool).await.unwrap();
    sqlx::query("lock table lane_reports in exclusive mode").execute(&mut *lock).await.unwrap();
    service.node(Role::All).await;
    let id = service.notifications().send(hello(apns_targets("a", 3))).await;
    let unread =
        "select least(count(*), 1) from pg_locks where relation = 'lane_reports'::regclass and not granted";
    service.database.until_count(unread, 1).await;
    assert_eq!(service.lanes().get(PRODUCTION).await["state"], "unknown");
    assert_ne!(service.lanes().get(fcm::LANE).await["state"], "running");
    assert_eq!(sent(&service.ledger()).len(), 1, "nothing is attempted before");
    lock.rollback().await.unwrap();
    let since = |lane: &Value| json!({"state": lane["state"], "since": lane["since"]});
    service.lanes().until(PRODUCTION, &since(&running)).await;
    service.lanes().until(fcm::LANE, &since(&suspended)).await;
    assert_eq!(service.notifications().until_done(&id).await["counts"]["accepted"], 3);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_is_found_by_the_name_in_log_and_metrics() {
    let service = TestService::start().await;
    for (name, status) in [
        ("fcm", 200),
        ("shop/fcm", 200),
        ("shop%2Ffcm", 200),
        ("other/fcm", 404),
        ("other%2Ffcm", 404),
        ("shop/shop/fcm", 404),
        ("shop%2Fshop%2Ffcm", 404),
        ("fcm/shop", 404),
        ("shop/", 404),
    ] {
        for word in ["pause", "resume", "retry"] {
            let answer = service.by_admin(Method::POST, &format!("/v1/admin/lanes/{name}/{word}")).await;
            assert_eq!(answer.status, status, "{name} {word}: {answer:?}");
            if status == 200 {
                assert_eq!(answer.body["lane"], "fcm", "{name} {word}");
                assert!(answer.body["since"].is_string(), "also right after a pause: {answer:?}");
            }
        }
    }
    service.stop().await;
}
