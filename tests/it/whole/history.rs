//! `?history=true`: each attempt at a device, and what the device had waited for before it.

use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, Rule};
use pushpost_testkit::json::{apns_targets, assert_has, assert_problem, fcm_targets, hex, of};
use serde_json::{Value, json};

use pushpost_testkit::service::TestService;

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

async fn histories(service: &TestService, id: &str) -> Vec<Value> {
    let page = service.get(&format!("/v1/notifications/{id}/deliveries?history=true&limit=1000")).await.body;
    page["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attempt_at_a_device_is_told_with_its_reason() {
    let service = TestService::start().await;
    let token = hex("ee");
    service.rule(Rule::token(token.clone(), Action::answer(503, "ServiceUnavailable")).times(1));
    service.rule(Rule::token(token.clone(), Action::answer(429, "TooManyRequests")).times(1));
    let mut targets = apns_targets("a", 300);
    targets.push(json!({"platform": "apns", "token": token, "ref": "late"}));
    let id = service.notifications().send(hello(targets)).await;
    service.notifications().until_done(&id).await;

    let items = histories(&service, &id).await;
    assert_eq!(items.len(), 301);
    let late = of(&items, "ref", "late");
    assert_has(
        late,
        &json!({
            "status": "accepted", "attempts": 3, "reason": null, "last_reason": "TooManyRequests",
            "history": [
                {"attempt": 1, "lane": "apns-production", "outcome": "retry", "reason": "ServiceUnavailable",
                 "waited_for": "queue", "began_at": "<time>", "at": "<time>"},
                {"attempt": 2, "lane": "apns-production", "outcome": "retry", "reason": "TooManyRequests",
                 "waited_for": "backoff"},
                {"attempt": 3, "lane": "apns-production", "outcome": "accepted", "reason": null, "waited_for": "backoff"},
            ],
        }),
    );
    let history = late["history"].as_array().unwrap();
    assert_eq!(history.len(), 3);
    assert_eq!(history[2]["at"], late["at"]);
    assert!(history.iter().all(|attempt| attempt["waited_ms"].as_i64().unwrap() >= 0), "{late}");
    assert!(history.windows(2).all(|two| two[0]["at"].as_str() <= two[1]["began_at"].as_str()), "{late}");
    for other in items.iter().filter(|item| item["ref"] != "late") {
        assert_has(other, &json!({"last_reason": null, "history": [{"attempt": 1, "outcome": "accepted"}]}));
        assert_eq!(other["history"].as_array().unwrap().len(), 1);
    }

    let path = format!("/v1/notifications/{id}/deliveries");
    let lines = service.get_as(&format!("{path}?history=true"), "application/x-ndjson").await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(of(&lines, "ref", "late"), late);
    let without = service.get(&format!("{path}?history=false&limit=1000")).await.body;
    assert!(without["items"].as_array().unwrap().iter().all(|item| item.get("history").is_none()));
    let timeline =
        service.get(&format!("/v1/devices/{}/deliveries", late["device"].as_str().unwrap())).await.body;
    assert_has(&timeline["items"][0], &json!({"status": "accepted", "last_reason": "TooManyRequests"}));
    let fault = json!([{"parameter": "history", "code": "out_of_range", "supported": ["true", "false"]}]);
    assert_problem(&service.get(&format!("{path}?history=maybe")).await, 400, "invalid_request", &fault);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_what_the_device_had_waited_for() {
    let service = TestService::start().await;
    service.lanes().pause(fcm::LANE).await;
    let id = service.notifications().send(hello(fcm_targets("f", 2))).await;
    assert_has(
        &histories(&service, &id).await[0],
        &json!({"status": "pending", "reason": "lane_paused", "history": []}),
    );
    // As if both had been an hour ago.
    for sql in [
        "update lane_changes set began_at = began_at - interval '1 hour' where ended_at = 'infinity' and state = 4",
        "update notifications set due_at = due_at - interval '1 hour'",
    ] {
        service.database.execute(sql).await;
    }
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(&id).await;
    for delivery in histories(&service, &id).await {
        assert_has(
            &delivery["history"],
            &json!([{"attempt": 1, "lane": "fcm", "waited_for": "lane_paused"}]),
        );
        assert!(delivery["history"][0]["waited_ms"].as_i64().unwrap() >= 3_600_000, "{delivery}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_without_an_answer_is_told_as_unknown() {
    let service =
        TestService::builder().config("DELIVERY__RETRY_INITIAL", "20ms").node(Role::All).build().await;
    let silence = Action::NoAnswer { accepted: false };
    service.rule(Rule::token(hex("aa"), silence).times(1));
    let to = json!({"platform": "apns", "token": hex("aa")});
    let id = service.notifications().send(hello(vec![to])).await;
    service.notifications().until_done(&id).await;
    let items = histories(&service, &id).await;
    assert_has(
        &items[0],
        &json!({"status": "accepted", "last_reason": "no_answer", "history": [
            {"attempt": 1, "outcome": "unknown", "reason": "no_answer"},
            {"attempt": 2, "outcome": "accepted", "reason": null},
        ]}),
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_while_a_device_waits_is_told_and_keeps_the_last_reason_of_the_provider() {
    let builder = TestService::builder().config("DELIVERY__RETRY_INITIAL", "10m");
    let service = builder.config("DELIVERY__RETRY_MAX", "10m").node(Role::All).build().await;
    let first = |token: String| Rule::token(token, Action::answer(503, "ServiceUnavailable")).times(1);
    for two in ["c1", "c2", "c3"] {
        service.rule(first(hex(two)));
    }
    let of_alice = json!({"platform": "apns", "token": hex("c3"), "user": "alice"});
    service.devices().register(of_alice).await;
    let token = |two: &str| json!({"tokens": [{"platform": "apns", "token": hex(two)}]});
    let waiting = "select count(*) from jobs where class = 1 and node_id is null";
    let retry =
        json!({"attempt": 1, "outcome": "retry", "reason": "ServiceUnavailable", "began_at": "<time>"});
    for (to, status, reason) in [
        (token("c1"), "cancelled", "requested"),
        (token("c2"), "expired", "ServiceUnavailable"),
        (json!({"users": ["alice"]}), "cancelled", "device_gone"),
    ] {
        let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
        service.database.until_count(waiting, 1).await;
        match reason {
            "requested" => drop(service.delete(&format!("/v1/notifications/{id}")).await),
            "device_gone" => drop(service.delete("/v1/users/alice").await),
            _ => drop(service.database.execute("update jobs set expires_at = now()").await),
        }
        service.database.until_count("select count(*) from jobs", 0).await;
        let delivery = &histories(&service, &id).await[0];
        let end = json!({"attempt": null, "began_at": null, "at": delivery["at"], "lane": "apns-production",
                         "outcome": status, "reason": reason, "waited_for": "backoff"});
        let expected = json!({"status": status, "attempts": 1, "reason": reason, "last_reason": "ServiceUnavailable",
                              "history": [retry, end]});
        assert_has(delivery, &expected);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_before_the_first_attempt_is_all_that_is_told() {
    let service = TestService::start().await;
    service.lanes().pause(fcm::LANE).await;
    let id = service.notifications().send(hello(fcm_targets("f", 1))).await;
    let cancelled = service.delete(&format!("/v1/notifications/{id}")).await;
    assert_eq!(cancelled.body["counts"]["cancelled"], 1, "{cancelled:?}");
    let end = json!({"attempt": null, "began_at": null, "at": "<time>", "lane": "fcm", "outcome": "cancelled",
                     "reason": "requested", "waited_for": "lane_paused"});
    let delivery = &histories(&service, &id).await[0];
    assert_has(
        delivery,
        &json!({"attempts": 0, "reason": "requested", "last_reason": null, "history": [end]}),
    );

    let unreadable = json!({"to": {"tokens": [{"platform": "apns", "token": "x", "ref": "row-1"}]},
                            "title": "Hi", "on_bad_token": "reject"});
    let id = service.notifications().send(unreadable).await;
    let end = json!({"attempt": null, "began_at": null, "at": "<time>", "outcome": "rejected", "reason": "bad_token",
                     "waited_ms": 0, "waited_for": "queue"});
    let delivery = &histories(&service, &id).await[0];
    assert_has(
        delivery,
        &json!({"ref": "row-1", "reason": "bad_token", "last_reason": null, "history": [end]}),
    );
    service.stop().await;
}
