//! Devices that are quarantined, restored or corrected.

use http::Method;
use pushpost::domain::FactKind;
use pushpost_simulator::{Action, FcmFault, Rule};
use pushpost_testkit::json::{assert_exact, fcm_targets, hex, text};
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use super::{Change, QUARANTINED, RESTORED, assert_refused, assert_silent, start, until_told};

const IN_QUARANTINE: &str = "select count(*) from devices where quarantined_at is not null";
pub(super) const CLEANUPS: &str = "/v1/admin/cleanups";

/// The environment of a device is another one.
const CORRECTED: Change =
    Change { table: "devices", by: "update", when: "old.environment <> new.environment" };

fn phone(two: &str) -> Value {
    json!({"platform": "apns", "token": hex(two), "user": "u1"})
}

fn fcm(token: &str) -> Value {
    json!({"platform": "fcm", "token": token})
}

/// Sends to a device that APNs does not know any more; answers its id.
async fn send_to_the_dead(service: &TestService) -> String {
    service.rule(Rule::token(hex("dd"), Action::Dead { timestamp_ms: None, timestamp_ago_ms: None }));
    let device = service.devices().register(phone("dd")).await;
    let id = service.notifications().send(json!({"to": {"devices": [device]}, "title": "Hi"})).await;
    service.notifications().until_done(&id).await;
    device
}

async fn quarantine_by_provider(service: &TestService) -> String {
    let device = send_to_the_dead(service).await;
    service.database.until_count(IN_QUARANTINE, 1).await;
    device
}

/// A phone has a new token; answers the ids of its old and its new device.
async fn replace(service: &TestService) -> (String, String) {
    let old = service.devices().register(fcm("old")).await;
    let answer =
        service.put("/v1/devices", json!({"platform": "fcm", "token": "new", "replaces": "old"})).await;
    (old, answer.body["id"].as_str().unwrap_or_default().to_owned())
}

/// Registers a device, and starts a clean-up run that finds it inactive; answers the device and the run.
pub(super) async fn start_cleanup(service: &TestService) -> (String, String) {
    let device = service.devices().register(fcm("inactive")).await;
    service.database.execute("update devices set registered_at = now() - interval '100 days'").await;
    let body = json!({"inactive_days": 30, "max_share": 1});
    let run = service.post_by_admin(CLEANUPS, body).await;
    assert_eq!(run.status, 202, "{run:?}");
    (device, text(&run.body["id"]))
}

pub(super) async fn until_run(service: &TestService, run: &str, status: &str) {
    let path = format!("{CLEANUPS}/{run}");
    let has_status = async || service.by_admin(Method::GET, &path).await.body["status"] == status;
    pushpost_testkit::wait::until("the run has its status", has_status).await;
}

async fn clean_up(service: &TestService) -> (String, String) {
    let (device, run) = start_cleanup(service).await;
    until_run(service, &run, "done").await;
    (device, run)
}

async fn undo_cleanup(service: &TestService) -> (String, String) {
    let (device, run) = clean_up(service).await;
    let answer = service.by_admin(Method::POST, &format!("{CLEANUPS}/{run}/restore")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    (device, run)
}

async fn restore_by_operator(service: &TestService) -> String {
    let device = quarantine_by_provider(service).await;
    service.post(&format!("/v1/devices/{device}/restore"), json!({})).await;
    device
}

/// A device that a clean-up found inactive is registered again.
async fn come_back(service: &TestService) -> String {
    let device = quarantine_by_provider(service).await;
    service.put("/v1/devices", phone("dd")).await;
    device
}

/// FCM calls so many tokens alien that the lane stops believing it; answers the devices that are quarantined by then.
pub(super) async fn engage_the_brake(service: &TestService) -> Vec<String> {
    service.rule(Rule::prefix("f", Action::fcm(FcmFault::SenderIdMismatch)));
    let mut devices = Vec::new();
    for number in 0..5 {
        devices.push(service.devices().register(fcm(&format!("f{number}"))).await);
    }
    let hello = |targets: Vec<Value>| json!({"to": {"tokens": targets}, "title": "Hi"});
    let first = service.notifications().send(hello(fcm_targets("f", 5))).await;
    service.notifications().until_done(&first).await;
    service.database.until_count(IN_QUARANTINE, 5).await;
    let last = service.notifications().send(hello(fcm_targets("f-more", 1))).await;
    service.notifications().until_done(&last).await;
    devices
}

async fn correct(service: &TestService) -> String {
    let environment = pushpost_simulator::Environment::Sandbox;
    service.rule(Rule::token(hex("a1"), Action::Environment { environment }));
    let device = service.devices().register(phone("a1")).await;
    let id = service.notifications().send(json!({"to": {"devices": [device]}, "title": "Hi"})).await;
    service.notifications().until_done(&id).await;
    device
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_token_is_told_with_its_lane_and_the_evidence() {
    let (service, key) = start().await;
    let device = quarantine_by_provider(&service).await;
    let told = until_told(&service, &key, FactKind::Quarantined, 1).await;
    let expected = json!({
        "cause": "provider", "lane": "apns-production", "run": null,
        "devices": [{"device": device, "platform": "apns", "environment": "production", "user": "u1", "token_hint": "dddddd",
                     "reason": "Unregistered", "evidence_at": "<time>"}],
        "devices_omitted": 0
    });
    assert_exact(&told[0], &expected);
    assert!(!told[0].to_string().contains(&hex("dd")), "a token is told");
    assert_refused(FactKind::Quarantined, QUARANTINED, async |service| {
        send_to_the_dead(service).await;
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_device_is_told_without_evidence() {
    let (service, key) = start().await;
    let (old, _) = replace(&service).await;
    let told = until_told(&service, &key, FactKind::Quarantined, 1).await;
    let expected = json!({
        "cause": "replaced", "lane": null, "run": null,
        "devices": [{"device": old, "platform": "fcm", "environment": null, "user": null, "token_hint": "old",
                     "reason": "replaced", "evidence_at": null}],
        "devices_omitted": 0
    });
    assert_exact(&told[0], &expected);
    assert_refused(FactKind::Quarantined, QUARANTINED, async |service| {
        replace(service).await;
    })
    .await;
    service.stop().await;
}

/// The claim of a phone waits until its new device has the user of the old one, which the backend sets later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_told_that_a_change_of_another_one_replaces() {
    let (service, key) = start().await;
    let old = service.devices().register(json!({"platform": "fcm", "token": "old", "user": "u1"})).await;
    let new = json!({"platform": "fcm", "token": "new", "replaces": "old"});
    let new = text(&service.devices().register_by_phone(new).await.body["id"]);
    assert_eq!(service.database.count(IN_QUARANTINE).await, 0);
    let answer = service.patch(&format!("/v1/devices/{new}"), json!({"user": "u1"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = until_told(&service, &key, FactKind::Quarantined, 1).await;
    assert_eq!((&told[0]["cause"], &told[0]["devices"][0]["device"]), (&json!("replaced"), &json!(old)));
    service.stop().await;
}

/// A batch of an import may add a device and replace it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_told_that_is_new_and_replaced_at_once() {
    let (service, key) = start().await;
    let lines = r#"{"platform":"fcm","token":"old"}
{"platform":"fcm","token":"new","replaces":"old"}
"#;
    let import =
        service.http.post(service.url("/v1/devices/import")).bearer_auth(service.key("devices").await);
    let answer = import.header("content-type", "application/x-ndjson").body(lines).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let told = until_told(&service, &key, FactKind::Quarantined, 1).await;
    assert_eq!(
        (&told[0]["cause"], &told[0]["devices"][0]["token_hint"]),
        (&json!("replaced"), &json!("old"))
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inactive_device_is_told_with_its_run_and_so_is_its_restoration() {
    let (service, key) = start().await;
    let (device, run) = undo_cleanup(&service).await;
    let told = until_told(&service, &key, FactKind::Quarantined, 1).await;
    let expected = json!({
        "cause": "inactive", "lane": null, "run": run,
        "devices": [{"device": device, "platform": "fcm", "environment": null, "user": null, "token_hint": "active",
                     "reason": "inactive", "evidence_at": "<time>"}],
        "devices_omitted": 0
    });
    assert_exact(&told[0], &expected);
    until_run(&service, &run, "restored").await;
    let told = until_told(&service, &key, FactKind::Restored, 1).await;
    let device = json!({"device": device, "platform": "fcm", "environment": null});
    let expected = json!({"cause": "run", "run": run, "devices": [device], "devices_omitted": 0});
    assert_exact(&told[0], &expected);
    assert_refused(FactKind::Quarantined, QUARANTINED, async |service| {
        start_cleanup(service).await;
    })
    .await;
    assert_refused(FactKind::Restored, RESTORED, async |service| {
        undo_cleanup(service).await;
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_and_an_operator_restore_a_device() {
    for (cause, is_by_operator) in [("registration", false), ("admin", true)] {
        let (service, key) = start().await;
        let device = match is_by_operator {
            true => restore_by_operator(&service).await,
            false => come_back(&service).await,
        };
        let told = until_told(&service, &key, FactKind::Restored, 1).await;
        let device = json!({"device": device, "platform": "apns", "environment": "production"});
        let expected = json!({"cause": cause, "run": null, "devices": [device], "devices_omitted": 0});
        assert_exact(&told[0], &expected);
        assert_refused(FactKind::Restored, RESTORED, async |service| {
            match is_by_operator {
                true => restore_by_operator(service).await,
                false => come_back(service).await,
            };
        })
        .await;
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brake_restores_the_devices_that_it_doubts() {
    let (service, key) = start().await;
    let mut devices = engage_the_brake(&service).await;
    let told = until_told(&service, &key, FactKind::Restored, 1).await;
    assert_eq!((&told[0]["cause"], &told[0]["run"]), (&json!("brake"), &Value::Null));
    let mut restored: Vec<String> =
        told[0]["devices"].as_array().unwrap().iter().map(|device| text(&device["device"])).collect();
    devices.sort();
    restored.sort();
    assert_eq!(restored, devices);
    assert_refused(FactKind::Restored, RESTORED, async |service| {
        engage_the_brake(service).await;
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrected_environment_is_told_as_it_is_now() {
    let (service, key) = start().await;
    let device = correct(&service).await;
    let told = until_told(&service, &key, FactKind::Corrected, 1).await;
    let device = json!({"device": device, "platform": "apns", "environment": "sandbox"});
    let expected = json!({"cause": "environment", "run": null, "devices": [device], "devices_omitted": 0});
    assert_exact(&told[0], &expected);
    assert_refused(FactKind::Corrected, CORRECTED, async |service| {
        correct(service).await;
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_devices_are_not_told_where_no_events_are_kept() {
    assert_silent(async |service| {
        come_back(service).await;
        restore_by_operator(service).await;
        replace(service).await;
        let environment = "select count(*) from devices where environment_proven";
        correct(service).await;
        service.database.until_count(environment, 1).await;
        service.database.execute("delete from devices").await;
        let (_, run) = undo_cleanup(service).await;
        until_run(service, &run, "restored").await;
        engage_the_brake(service).await;
        service.database.until_count(IN_QUARANTINE, 0).await;
    })
    .await;
}
