//! States, pruning guards and credentials of lanes.

use http::Method;
use pushpost::domain::{FactKind, LaneKey};
use pushpost::provider::fcm;
use pushpost_simulator::{Action, Provider, Rule};
use pushpost_testkit::json::{assert_exact, hex};
use pushpost_testkit::service::{PRODUCTION, TestService};
use serde_json::{Value, json};

use super::devices::engage_the_brake;
use super::{Change, assert_refused, assert_silent, start, until_told};

const FCM: LaneKey = fcm::LANE;
const ENGAGED: &str = "select count(*) from lanes where guard_engaged_at is not null";
const SUSPENDED: &str = "select count(*) from lanes where suspended_at is not null";
const PAUSE: Change =
    Change { table: "lanes", by: "update", when: "old.paused_at is distinct from new.paused_at" };
const SUSPENSION: Change =
    Change { table: "lanes", by: "update", when: "old.suspended_at is distinct from new.suspended_at" };
const BRAKE: Change = Change {
    table: "lanes",
    by: "update",
    when: "old.guard_engaged_at is null and new.guard_engaged_at is not null",
};
const RELEASE: Change = Change {
    table: "lanes",
    by: "update",
    when: "old.guard_engaged_at is not null and new.guard_engaged_at is null",
};

async fn pause(service: &TestService) {
    service.by_admin(Method::POST, "/v1/admin/lanes/fcm/pause").await;
}

async fn resume(service: &TestService) {
    service.by_admin(Method::POST, "/v1/admin/lanes/fcm/resume").await;
}

async fn brake_and_release(service: &TestService) {
    engage_the_brake(service).await;
    service.database.until_count(ENGAGED, 1).await;
    resume(service).await;
}

/// APNs refuses the key of the lane.
async fn suspend(service: &TestService) {
    service.rule(Rule::provider(Provider::Apns, Action::answer(403, "InvalidProviderToken")));
    let token = json!({"platform": "apns", "token": hex("aa")});
    service.notifications().send(json!({"to": {"tokens": [token]}, "title": "Hi"})).await;
}

/// A second change within 5 s is told when they are over, once: as the lane is then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_lane_is_told_at_most_once_in_five_seconds() {
    let (service, key) = start().await;
    service.lanes().until_state(FCM, "running").await;
    for _ in 0..3 {
        service.lanes().pause(FCM).await;
        service.lanes().resume(FCM).await;
    }
    let told = until_told(&service, &key, FactKind::LaneChanged, 2).await;
    let action = "Resume the lane: pushpost queue resume fcm";
    let paused = json!({"lane": "fcm", "from": "running", "to": "paused", "why": null, "since": "<time>",
                        "held_devices": 0, "action": action});
    assert_exact(&told[0], &paused);
    let running = json!({"lane": "fcm", "from": "paused", "to": "running", "why": null, "since": "<time>",
                         "held_devices": 0, "action": null});
    assert_exact(&told[1], &running);
    let code = FactKind::LaneChanged.code();
    let apart = format!(
        "select count(*) from event_log having max(at) filter (where kind = {code}) - min(at) filter (where kind = {code})
                                               >= interval '5 seconds'"
    );
    assert!(service.database.count(&apart).await > 0, "they are 5 s apart");
    // As it was told: nothing more is.
    service.lanes().pause(FCM).await;
    service.lanes().resume(FCM).await;
    service.database.until_count("select count(*) from told_lanes where is_pending", 0).await;
    assert_refused(FactKind::LaneChanged, PAUSE, pause).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_is_told_with_its_lane_and_so_is_its_return() {
    let (service, key) = start().await;
    service.lanes().until_state(PRODUCTION, "running").await;
    suspend(&service).await;
    service.database.until_count(SUSPENDED, 1).await;
    let told = until_told(&service, &key, FactKind::LaneChanged, 1).await;
    let suspended = json!({
        "lane": "apns-production", "from": "running", "to": "suspended", "why": "InvalidProviderToken", "since": "<time>",
        "held_devices": told[0]["held_devices"], "action": "<advice>"
    });
    assert_exact(&told[0], &suspended);
    let credential = service.lanes().get(PRODUCTION).await["credential"]["id"].clone();
    let told = until_told(&service, &key, FactKind::CredentialChanged, 1).await;
    let refused = json!({"lane": "apns-production", "credential": credential, "result": "refused",
                         "reason": "InvalidProviderToken"});
    assert_exact(&told[0], &refused);
    service.simulator.clear_rules();
    service.lanes().retry(PRODUCTION).await;
    let told = until_told(&service, &key, FactKind::CredentialChanged, 2).await;
    let taken =
        json!({"lane": "apns-production", "credential": credential, "result": "taken", "reason": null});
    assert_exact(&told[1], &taken);
    assert_refused(FactKind::CredentialChanged, SUSPENSION, suspend).await;
    assert_refused(FactKind::LaneChanged, SUSPENSION, suspend).await;
    service.stop().await;
}

/// The configuration gets a new key. It takes the place of the old one when the provider has taken a notification with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_credential_is_told_when_the_provider_takes_it_or_refuses_it() {
    let (service, key) = start().await;
    service.lanes().until_state(PRODUCTION, "running").await;
    let old_id = service.lanes().get(PRODUCTION).await["credential"]["id"].clone();
    let pem = service.simulator.issue_provider_key("NEW4567890").unwrap();
    service.write("new.p8", &pem);
    let text = service.read("pushpost.toml");
    let lines = text.lines().map(|line| match line.split_once(" = ").map(|(key, _)| key) {
        Some("key_file") => "key_file = \"new.p8\"\n".to_owned(),
        Some("key_id") => "key_id = \"NEW4567890\"\n".to_owned(),
        _ => format!("{line}\n"),
    });
    service.write("pushpost.toml", &lines.collect::<String>());
    service.reload().await.unwrap();
    let has_new_one = async || {
        service.notifications().send_to_token("apns", &hex("aa"), "1h").await;
        service.lanes().get(PRODUCTION).await["credential"]["id"] != old_id
    };
    pushpost_testkit::wait::until("the new key is in use", has_new_one).await;
    let told = until_told(&service, &key, FactKind::CredentialChanged, 1).await;
    let new_id = service.lanes().get(PRODUCTION).await["credential"]["id"].clone();
    let taken = json!({"lane": "apns-production", "credential": new_id, "result": "taken", "reason": null});
    assert_exact(&told[0], &taken);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruning_guard_is_told_when_it_is_engaged_and_when_it_is_released() {
    let (service, key) = start().await;
    brake_and_release(&service).await;
    let told = until_told(&service, &key, FactKind::PruningBraked, 1).await;
    let guard: Value = json!({"lane": "fcm", "reason": "SENDER_ID_MISMATCH", "restored": null});
    assert_exact(&told[0], &guard);
    let told = until_told(&service, &key, FactKind::PruningReleased, 1).await;
    assert_exact(&told[0], &guard);
    assert_refused(FactKind::PruningBraked, BRAKE, async |service| {
        engage_the_brake(service).await;
    })
    .await;
    assert_refused(FactKind::PruningReleased, RELEASE, brake_and_release).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_lanes_are_not_told_where_no_events_are_kept() {
    assert_silent(async |service| {
        pause(service).await;
        resume(service).await;
        brake_and_release(service).await;
        service.database.until_count(ENGAGED, 0).await;
        suspend(service).await;
        service.database.until_count(SUSPENDED, 1).await;
    })
    .await;
}
