//! `GET /v1/notifications/{id}/why`: the right cause for each way of being late, and an answer whatever is missing.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use http::Method;
use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, FcmSettings, Provider, Rule, Settings};
use pushpost_testkit::json::{assert_has, assert_problem, fcm_targets, hex, text};
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

/// What was stored an hour ago, and lasts.
const AN_HOUR_AGO: [&str; 2] = [
    "update lane_changes set began_at = began_at - interval '1 hour' where ended_at = 'infinity' and state <> 0",
    "update notifications set created_at = created_at - interval '1 hour', due_at = due_at - interval '1 hour'",
];

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

/// The answer of `…/why`, in which the segments follow each other, add up, and have a sentence each.
async fn why(service: &TestService, id: &str, device: Option<&str>) -> Value {
    let query = device.map(|device| format!("?device={device}")).unwrap_or_default();
    let answer = service.get(&format!("/v1/notifications/{id}/why{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let why = answer.body;
    let segments = why["segments"].as_array().unwrap();
    let (mut reached, mut sum) = (time(&why["created_at"]), 0.0);
    for segment in segments {
        let (from, to, seconds) =
            (time(&segment["from"]), time(&segment["to"]), segment["seconds"].as_f64().unwrap());
        assert_eq!(from, reached, "{why}");
        assert!(from <= to && (seconds - (to - from).as_seconds_f64()).abs() < 0.0005, "{segment}");
        (reached, sum) = (to, sum + seconds);
    }
    assert!((sum - why["total_seconds"].as_f64().unwrap()).abs() < 0.001, "{why}");
    assert!(why["ended_at"].is_null() || time(&why["ended_at"]) == reached, "{why}");
    assert_eq!(why["ended_at"].is_null(), why["status"] == "pending", "{why}");
    let summary = why["summary"].as_str().unwrap();
    assert_eq!(summary.matches(". ").count() + 1, segments.len(), "{why}");
    why
}

fn causes(why: &Value) -> Vec<&str> {
    why["segments"].as_array().unwrap().iter().map(|one| one["cause"].as_str().unwrap()).collect()
}

/// The segments of a cause.
fn of_cause<'a>(why: &'a Value, cause: &str) -> Vec<&'a Value> {
    why["segments"].as_array().unwrap().iter().filter(|one| one["cause"] == cause).collect()
}

/// The lane is stopped for an hour: told while it lasts, and afterwards with the one attempt.
async fn assert_stop_is_told(
    service: &TestService,
    id: &str,
    cause: &str,
    reason: &Value,
    start_again: impl AsyncFnOnce(),
) {
    for sql in AN_HOUR_AGO {
        service.database.execute(sql).await;
    }
    let lasts = why(service, id, None).await;
    let last = lasts["segments"].as_array().unwrap().last().unwrap().clone();
    assert_has(
        &last,
        &json!({"cause": cause, "lane": "fcm", "reason": reason, "action": "<text>", "attempt": null}),
    );
    assert!(last["seconds"].as_f64().unwrap() >= 3_600.0, "{lasts}");
    assert_has(
        &lasts,
        &json!({"notification": id, "device": "<dev>", "status": "pending", "precision": "device"}),
    );
    start_again().await;
    service.notifications().until_done(id).await;
    let ended = why(service, id, Some(lasts["device"].as_str().unwrap())).await;
    assert_has(&ended, &json!({"device": lasts["device"], "status": "accepted"}));
    let told = causes(&ended);
    assert!(told.iter().all(|one| [cause, "queue", "attempt"].contains(one)), "{ended}");
    let stops = of_cause(&ended, cause);
    assert_has(stops[0], &json!({"lane": "fcm", "reason": reason, "attempt": null}));
    assert!(stops.len() == 1 && stops[0]["seconds"].as_f64().unwrap() >= 3_600.0, "{ended}");
    let attempts = of_cause(&ended, "attempt");
    assert_has(&json!(attempts), &json!([{"attempt": 1, "lane": "fcm", "reason": null, "action": null}]));
    assert_eq!(told.last(), Some(&"attempt"));
    assert!(ended["summary"].as_str().unwrap().ends_with("Then accepted at attempt 1."), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_told() {
    let service = TestService::builder().node(Role::All).node(Role::All).build().await;
    service.lanes().pause(fcm::LANE).await;
    let id = service.notifications().send(hello(fcm_targets("f", 1))).await;
    let resume = async || service.lanes().resume(fcm::LANE).await;
    assert_stop_is_told(&service, &id, "lane_paused", &Value::Null, resume).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttle_is_told_with_the_reason_of_the_provider() {
    let service = TestService::start().await;
    let quota = Action::FcmFault {
        fault: FcmFault::ProjectQuota,
        retry_after: Some("3000".to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule::provider(Provider::Fcm, quota));
    let id = service.notifications().send(hello(fcm_targets("f", 1))).await;
    service.lanes().until_state(fcm::LANE, "throttled").await;
    service.simulator.clear_rules();
    let retry = async || service.lanes().retry(fcm::LANE).await;
    assert_stop_is_told(&service, &id, "lane_throttled", &json!("RESOURCE_EXHAUSTED"), retry).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspension_is_told_with_the_reason_of_the_provider() {
    let service = TestService::start().await;
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::PermissionDenied)));
    let id = service.notifications().send(hello(fcm_targets("f", 1))).await;
    let seen = service.lanes().until_state(fcm::LANE, "suspended").await;
    service.simulator.clear_rules();
    let resume = async || service.lanes().resume(fcm::LANE).await;
    assert_stop_is_told(&service, &id, "lane_suspended", &seen["why"], resume).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_told_with_its_pause_and_the_answer_before_it() {
    let builder = TestService::builder().config("DELIVERY__RETRY_INITIAL", "400ms");
    let service = builder.config("DELIVERY__RETRY_MAX", "400ms").node(Role::All).build().await;
    service.rule(Rule::token(hex("ee"), Action::answer(503, "ServiceUnavailable")).times(1));
    let targets = vec![json!({"platform": "apns", "token": hex("ee"), "environment": "production"})];
    let id = service.notifications().send(hello(targets)).await;
    service.notifications().until_done(&id).await;
    let told = why(&service, &id, None).await;
    let without_queue: Vec<_> =
        told["segments"].as_array().unwrap().iter().filter(|one| one["cause"] != "queue").cloned().collect();
    assert_has(
        &json!(without_queue[..3]),
        &json!([
            {"cause": "attempt", "attempt": 1, "lane": "apns-production", "reason": "ServiceUnavailable"},
            {"cause": "backoff", "attempt": 1, "lane": "apns-production", "reason": "ServiceUnavailable", "action": null},
            {"cause": "attempt", "attempt": 2, "reason": null},
        ]),
    );
    assert_has(&told, &json!({"status": "accepted"}));
    assert!(without_queue[1]["seconds"].as_f64().unwrap() > 0.1, "{told}");
    assert!(
        told["summary"].as_str().unwrap().contains("(ServiceUnavailable), before the next one. "),
        "{told}"
    );
    service.stop().await;
}

/// Each connection takes one request at a time, so most devices wait for a stream while their attempt is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_a_stream_is_no_time_of_the_provider() {
    let fcm = FcmSettings { streams: 1, ..FcmSettings::default() };
    let simulator = Settings { fcm, latency: Duration::from_secs(1), ..Settings::default() };
    // Two connections.
    let builder = TestService::builder().simulator(simulator).config("DELIVERY__MAX_IN_FLIGHT", "200");
    let service = builder.node(Role::All).build().await;
    let mut ids = Vec::new();
    for target in fcm_targets("f", 6) {
        ids.push(service.notifications().send(hello(vec![target])).await);
    }
    let (mut first_answer, mut last_request) = (DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC);
    for id in &ids {
        service.notifications().until_done(id).await;
        let told = why(&service, id, None).await;
        let attempts = of_cause(&told, "attempt");
        let last = attempts.last().unwrap();
        first_answer = first_answer.min(time(&last["to"]));
        last_request = last_request.max(time(&last["from"]));
    }
    assert!(first_answer <= last_request, "{first_answer} {last_request}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_is_told_with_the_search_for_its_audience_and_the_times_of_its_receipt() {
    let mut service = TestService::builder().node(Role::Api).build().await;
    let mut devices = Vec::new();
    for number in 0..20 {
        let device = json!({"platform": "fcm", "token": format!("f{number}")});
        devices.push(service.devices().register(device).await);
    }
    let id = service.notifications().send(json!({"to": {"all": true}, "title": "Hi"})).await;
    for device in [None, Some(devices[7].as_str())] {
        let searching = why(&service, &id, device).await;
        assert_has(
            &searching,
            &json!({"device": null, "status": "pending", "segments": [{"cause": "audience", "lane": null}]}),
        );
    }
    service.database.execute(AN_HOUR_AGO[1]).await;
    service.lanes().pause(fcm::LANE).await;
    service.node(Role::Worker).await;
    service.lanes().until(fcm::LANE, &json!({"depth": 20})).await;
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(&id).await;
    for device in &devices {
        let told = why(&service, &id, Some(device)).await;
        assert_has(&told, &json!({"device": device, "status": "accepted", "precision": "receipt"}));
        let found = &told["segments"][0];
        assert_has(found, &json!({"cause": "audience", "lane": null, "action": "<text>"}));
        assert!(found["seconds"].as_f64().unwrap() >= 3_600.0, "{told}");
        assert!(
            causes(&told)[1..].iter().all(|one| ["lane_paused", "queue", "attempt"].contains(one)),
            "{told}"
        );
        assert_eq!(causes(&told).last(), Some(&"attempt"));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_notification_is_told_before_and_after_its_time() {
    let service = TestService::start().await;
    let now = DateTime::from_timestamp_millis(service.database.now_ms().await).unwrap();
    let send_at = (now + TimeDelta::days(300)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let later = json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi", "send_at": send_at});
    let id = service.notifications().send(later.clone()).await;
    let early = why(&service, &id, None).await;
    assert_has(
        &early,
        &json!({"device": null, "status": "pending", "due_at": send_at, "segments": [
            {"cause": "scheduled", "lane": null, "attempt": null, "reason": null, "action": null}],
            "summary": "Waits until the scheduled time."}),
    );
    let due = "update fan_outs set expires_at = now() + interval '1 hour', due_at = now()";
    service.database.execute(due).await;
    let due = "update notifications set created_at = now() - interval '1 hour', due_at = now()";
    service.database.execute(due).await;
    service.notifications().until_done(&id).await;
    let told = why(&service, &id, None).await;
    assert_has(&told, &json!({"device": "<dev>", "status": "accepted"}));
    let allowed = ["audience", "queue", "attempt"];
    assert!(
        causes(&told)[0] == "scheduled" && causes(&told)[1..].iter().all(|one| allowed.contains(one)),
        "{told}"
    );
    assert!(told["segments"][0]["seconds"].as_f64().unwrap() >= 3_600.0, "{told}");
    assert!(
        told["summary"].as_str().unwrap().starts_with("Waited 1 h 0 min until the scheduled time. "),
        "{told}"
    );

    let cancelled = service.notifications().send(later).await;
    assert_eq!(service.delete(&format!("/v1/notifications/{cancelled}")).await.status, 200);
    let told = why(&service, &cancelled, None).await;
    assert_has(&told, &json!({"device": null, "status": "cancelled", "segments": [{"cause": "scheduled"}]}));
    assert!(
        told["summary"].as_str().unwrap().ends_with("until the scheduled time; then cancelled."),
        "{told}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_without_an_attempt_is_told_with_what_the_device_waited_for() {
    let service = TestService::start().await;
    service.lanes().pause(fcm::LANE).await;
    let expired = service.notifications().send(hello(fcm_targets("f", 1))).await;
    let cancelled = service.notifications().send(hello(fcm_targets("f", 1))).await;
    for sql in AN_HOUR_AGO {
        service.database.execute(sql).await;
    }
    assert_eq!(service.delete(&format!("/v1/notifications/{cancelled}")).await.status, 200);
    service.database.execute("update jobs set expires_at = now()").await;
    service.database.until_count("select count(*) from jobs", 0).await;
    for (id, status, reason) in [(&expired, "expired", "ttl"), (&cancelled, "cancelled", "requested")] {
        let told = why(&service, id, None).await;
        assert_has(
            &told,
            &json!({"status": status, "device": "<dev>", "segments": [{"cause": "lane_paused", "lane": "fcm"}]}),
        );
        let expected = format!("Waited 1 h 0 min: lane fcm was paused; then {status} ({reason}).");
        assert_eq!(told["summary"], expected);
    }
    let unreadable = json!({"to": {"tokens": [{"platform": "apns", "token": "x"}]}, "title": "Hi", "on_bad_token": "reject"});
    let id = service.notifications().send(unreadable).await;
    let told = why(&service, &id, None).await;
    assert_has(
        &told,
        &json!({"device": null, "status": "rejected", "total_seconds": 0.0, "segments": [{"seconds": 0.0}]}),
    );
    let none = service.notifications().send(json!({"to": {"users": ["u9"]}, "title": "Hi"})).await;
    assert_has(
        &why(&service, &none, None).await,
        &json!({"device": null, "status": null, "segments": [{"seconds": 0.0}]}),
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unknown_or_erased_is_not_told() {
    let service = TestService::builder().app("other").node(Role::All).build().await;
    let alice = service.devices().register(json!({"platform": "fcm", "token": "f1", "user": "alice"})).await;
    let other = service.devices().register(json!({"platform": "fcm", "token": "f2"})).await;
    let id = service.notifications().send(json!({"to": {"users": ["alice"]}, "title": "Hi"})).await;
    service.notifications().until_done(&id).await;
    assert_eq!(text(&why(&service, &id, Some(&alice)).await["device"]), alice);
    let path = format!("/v1/notifications/{id}/why");
    for (path, detail) in [
        (format!("{path}?device={other}"), "The notification was not for this device."),
        (format!("{path}?device=dev_x"), "The notification was not for this device."),
        (
            "/v1/notifications/ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b/why".to_owned(),
            "This app has nothing with this id or name.",
        ),
        ("/v1/notifications/x/why".to_owned(), "This app has nothing with this id or name."),
    ] {
        let answer = service.get(&path).await;
        assert_problem(&answer, 404, "not_found", &json!([]));
        assert_eq!(answer.body["detail"], detail, "{path}");
    }
    let foreign = service.key_of("other", "read").await;
    let answer = service.ask_node(0, &foreign, Method::GET, &path, None).await;
    assert_problem(&answer, 404, "not_found", &json!([]));
    let fault = json!([{"parameter": "device", "code": "bad_device_id"}]);
    assert_problem(&service.get(&format!("{path}?device=f1")).await, 422, "unprocessable", &fault);
    assert_eq!(service.put_by_phone(&path, json!({})).await.status, 405);
    for (scope, status) in [("send", 200), ("read", 200), ("devices", 403), ("register", 403)] {
        let key = service.key(scope).await;
        assert_eq!(service.ask_node(0, &key, Method::GET, &path, None).await.status, status, "{scope}");
    }

    service.database.execute("update notifications set content = null").await;
    assert_eq!(why(&service, &id, None).await["device"], json!(alice));
    assert_eq!(service.delete("/v1/users/alice").await.status, 200);
    assert_has(&why(&service, &id, None).await, &json!({"device": null, "status": "accepted"}));
    let erased = service.get(&format!("{path}?device={alice}")).await;
    assert_problem(&erased, 404, "not_found", &json!([]));
    service.stop().await;
}
