//! A token that is bad in one APNs environment is tried once in the other (docs/queue.md#environment-probe).

use pushpost_testkit::json::{assert_ended, assert_has, hex};
use std::time::Duration;

use pushpost::domain::LaneKey;
use pushpost::provider::apns;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, H2Code, Rule};
use serde_json::json;

use pushpost_testkit::service::TestService;

const SANDBOX: LaneKey = apns::lane(apns::SANDBOX);
const AT_PRODUCTION: Option<pushpost_simulator::Environment> =
    Some(pushpost_simulator::Environment::Production);
const AT_SANDBOX: Option<pushpost_simulator::Environment> = Some(pushpost_simulator::Environment::Sandbox);
const QUARANTINED: &str = "select count(*) from devices where quarantined_at is not null";
const SUSPENDED: &str = "select count(*) from lanes where suspended_at is not null";

/// The token is bad at production; in the sandbox `action` happens to it.
fn bad_at_production(service: &TestService, two: &str, action: Action) {
    let bad = Rule::token(hex(two), Action::answer(400, "BadDeviceToken"));
    service.rule(Rule { environment: AT_PRODUCTION, ..bad });
    service.rule(Rule { environment: AT_SANDBOX, ..Rule::token(hex(two), action) });
}

/// Where the requests for a token arrived, in order.
fn places(service: &TestService, two: &str) -> Vec<Option<pushpost_simulator::Environment>> {
    service.received(&hex(two)).iter().map(|entry| entry.environment).collect()
}

async fn send_to(service: &TestService, device: &str, ttl: &str) -> String {
    service.notifications().send(json!({"to": {"devices": [device]}, "title": "Hi", "ttl": ttl})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_token_that_was_registered_for_production_is_delivered_and_corrected() {
    let service = TestService::start().await;
    service.rule(Rule::token(
        hex("a1"),
        Action::Environment { environment: pushpost_simulator::Environment::Sandbox },
    ));
    let phone = json!({"platform": "apns", "token": hex("a1"), "environment": "production"});
    let device = service.devices().register(phone.clone()).await;
    let id = send_to(&service, &device, "1h").await;
    let outcome = service.notifications().outcome(&id).await;
    assert_ended(&outcome, "accepted", 2, None);
    assert_eq!(outcome["environment"], "sandbox");
    assert_eq!(places(&service, "a1"), [AT_PRODUCTION, AT_SANDBOX]);
    let received = service.received(&hex("a1"));
    for header in ["apns-id", "apns-collapse-id", "apns-expiration"] {
        assert_eq!(received[0].header(header), received[1].header(header), "{header}");
    }

    service
        .database
        .until_count("select count(*) from devices where environment = 2 and environment_proven", 1)
        .await;
    // What an app says stands against what APNs has proven.
    service.put_by_phone("/v1/devices", phone).await;
    let found = service.get(&format!("/v1/devices/{device}")).await.body;
    assert_has(&found, &json!({"environment": "sandbox", "status": "active"}));
    let again = send_to(&service, &device, "1h").await;
    assert_ended(&service.notifications().outcome(&again).await, "accepted", 1, None);
    assert_eq!(places(&service, "a1"), [AT_PRODUCTION, AT_SANDBOX, AT_SANDBOX]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_bad_in_both_environments_is_dead_by_the_first_reason() {
    let mut service = TestService::start().await;
    let bad = || Action::answer(400, "BadDeviceToken");
    bad_at_production(&service, "a1", bad());
    // Its second answer comes after a registration; its first came before.
    let slow = Rule::token(hex("a2"), bad()).delayed(Duration::from_secs(4));
    service.rule(Rule { environment: AT_PRODUCTION, ..Rule::token(hex("a2"), bad()) });
    service.rule(Rule { environment: AT_SANDBOX, ..slow });
    let dead = service.devices().register(json!({"platform": "apns", "token": hex("a1")})).await;
    let kept = service.devices().register(json!({"platform": "apns", "token": hex("a2")})).await;
    let first = send_to(&service, &dead, "1h").await;
    let second = send_to(&service, &kept, "1h").await;
    service.until_received(4).await;
    service.put_by_phone("/v1/devices", json!({"platform": "apns", "token": hex("a2")})).await;
    assert_ended(&service.notifications().outcome(&first).await, "token_dead", 2, Some("BadDeviceToken"));
    assert_ended(&service.notifications().outcome(&second).await, "token_dead", 2, Some("BadDeviceToken"));
    service.database.until_count(QUARANTINED, 1).await;
    let found = service.get(&format!("/v1/devices/{dead}")).await.body;
    assert_has(
        &found,
        &json!({"environment": "production", "status": "quarantined", "quarantine": {"reason": "BadDeviceToken"}}),
    );
    let found = service.get(&format!("/v1/devices/{kept}")).await.body;
    assert_has(&found, &json!({"environment": "production", "status": "active"}));
    // Ends the pruner: whatever it was told is done.
    service.end_nodes().await;
    assert_eq!(
        service.database.count(QUARANTINED).await,
        1,
        "a registration after the first answer protects"
    );
    assert_eq!(service.database.count("select count(*) from devices where environment_proven").await, 0);
    assert_eq!(places(&service, "a1"), [AT_PRODUCTION, AT_SANDBOX]);
    assert_eq!(places(&service, "a2"), [AT_PRODUCTION, AT_SANDBOX]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_refused_by_an_environment_probe_suspends_no_lane() {
    let service = TestService::start().await;
    for (count, two) in [(1, "a1"), (2, "a2")] {
        bad_at_production(&service, two, Action::answer(403, "BadEnvironmentKeyInToken"));
        let outcome = service.notifications().send_to_token("apns", &hex(two), "1h").await;
        assert_ended(&outcome, "token_dead", 2, Some("BadDeviceToken"));
        assert_eq!(places(&service, two), [AT_PRODUCTION, AT_SANDBOX]);
        service.database.until_count(QUARANTINED, count).await;
    }
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    let own = json!({"platform": "apns", "token": hex("a3"), "environment": "sandbox"});
    let own = service.devices().register(own).await;
    let id = send_to(&service, &own, "1h").await;
    assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inconclusive_environment_probe_keeps_the_first_reason_and_doubt() {
    let mut service = TestService::start().await;
    let reset = Action::Reset { code: H2Code::InternalError, accepted: false };
    let cases = [
        ("a1", Action::answer(503, "ServiceUnavailable"), "token_dead", "BadDeviceToken"),
        ("a2", Action::answer(429, "TooManyRequests"), "token_dead", "BadDeviceToken"),
        ("a3", Action::answer(400, "PayloadEmpty"), "token_dead", "BadDeviceToken"),
        ("a4", Action::Dead { timestamp_ms: None, timestamp_ago_ms: None }, "token_dead", "BadDeviceToken"),
        ("a5", reset, "unknown", "no_answer"),
    ];
    for (two, action, status, reason) in cases {
        bad_at_production(&service, two, action);
        let outcome = service.notifications().send_to_token("apns", &hex(two), "1h").await;
        assert_ended(&outcome, status, 2, Some(reason));
        assert_eq!(places(&service, two), [AT_PRODUCTION, AT_SANDBOX]);
    }
    service.end_nodes().await;
    let words = "select count(*) from devices where quarantine_reason = 'BadDeviceToken' and environment = 1";
    assert_eq!((service.database.count(QUARANTINED).await, service.database.count(words).await), (4, 4));
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_environment_probe_without_another_usable_lane_or_a_second_attempt() {
    let mut service = TestService::builder().build().await;
    service.lanes().pause(SANDBOX).await;
    service.node(Role::All).await;
    for two in ["a1", "a2", "a3"] {
        bad_at_production(&service, two, Action::Accept);
    }
    let outcome = service.notifications().send_to_token("apns", &hex("a1"), "1h").await;
    assert_ended(&outcome, "token_dead", 1, Some("BadDeviceToken"));
    assert_eq!(outcome["environment"], "production");
    service.database.until_count(QUARANTINED, 1).await;
    service.end_nodes().await;
    service.lanes().resume(SANDBOX).await;
    service.node(Role::All).await;
    let outcome = service.notifications().send_to_token("apns", &hex("a2"), "0s").await;
    assert_ended(&outcome, "token_dead", 1, Some("BadDeviceToken"));
    service.database.until_count(QUARANTINED, 2).await;
    service.end_nodes().await;
    service.configure("APPS__SHOP__APNS__SANDBOX_ENDPOINT", &service.simulator.apns_endpoint());
    service.node(Role::All).await;
    let outcome = service.notifications().send_to_token("apns", &hex("a3"), "1h").await;
    assert_ended(&outcome, "token_dead", 1, Some("BadDeviceToken"));
    service.database.until_count(QUARANTINED, 3).await;
    for two in ["a1", "a2", "a3"] {
        assert_eq!(places(&service, two), [AT_PRODUCTION]);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_probe_does_not_wait_for_a_stopped_lane() {
    let service = TestService::builder().config("DELIVERY__MAX_IN_FLIGHT", "1").node(Role::All).build().await;
    // Keeps the sandbox's only permit until its pause has been read.
    service.rule(Rule::token(hex("b1"), Action::Accept).delayed(Duration::from_secs(10)));
    bad_at_production(&service, "a1", Action::Accept);
    let slow = json!({"platform": "apns", "token": hex("b1"), "environment": "sandbox"});
    let slow = service.devices().register(slow).await;
    let ahead = send_to(&service, &slow, "1h").await;
    service.until_received(1).await;
    let to = json!({"tokens": [{"platform": "apns", "token": hex("a1")}]});
    let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
    service
        .database
        .until_count("select count(*) from jobs where environment_probe_since is not null", 1)
        .await;
    service.lanes().pause(SANDBOX).await;
    assert_ended(&service.notifications().outcome(&ahead).await, "accepted", 1, None);
    service
        .database
        .until_count(
            "select count(*) from jobs where environment_probe_since is not null and node_id is null",
            1,
        )
        .await;
    let waiting = &service.notifications().deliveries(&id).await[0];
    assert_ended(waiting, "pending", 1, Some("lane_paused"));
    service.database.execute("update jobs set due_at = due_at - interval '1 minute'").await;
    assert_ended(&service.notifications().outcome(&id).await, "token_dead", 1, Some("BadDeviceToken"));
    assert_eq!(places(&service, "a1"), [AT_PRODUCTION]);
    assert_eq!(
        service.database.count(QUARANTINED).await,
        0,
        "nobody knows whether it is dead or of the sandbox"
    );
    service.lanes().resume(SANDBOX).await;
    let again = service.notifications().send(json!({"to": {"devices": [slow]}, "title": "Hi"})).await;
    assert_ended(&service.notifications().outcome(&again).await, "accepted", 1, None);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_production_token_that_was_registered_for_the_sandbox_is_found_too() {
    let service = TestService::start().await;
    let good_at = pushpost_simulator::Environment::Production;
    service.rule(Rule::prefix("a", Action::Environment { environment: good_at }));
    let phone =
        |two: &str| json!({"platform": "apns", "token": hex(two), "environment": "sandbox", "user": "u1"});
    let devices =
        [service.devices().register(phone("a1")).await, service.devices().register(phone("a2")).await];
    let id = service.notifications().send(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
    for delivery in service.notifications().outcomes(&id).await {
        assert_ended(&delivery, "accepted", 2, None);
        assert_eq!((&delivery["environment"], &delivery["user"]), (&json!("production"), &json!("u1")));
    }
    let corrected = "select count(*) from devices where environment = 1 and environment_proven";
    service.database.until_count(corrected, 2).await;
    for device in devices {
        let found = service.get(&format!("/v1/devices/{device}")).await.body;
        assert_has(&found, &json!({"environment": "production"}));
    }
    service.stop().await;
}
