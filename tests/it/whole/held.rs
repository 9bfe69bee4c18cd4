//! Which lanes held a notification, why, and from when to when: also afterwards, and the same with any number of nodes.

use chrono::{DateTime, Utc};
use pushpost::domain::LaneKey;
use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, Provider, Rule};
use pushpost_testkit::json::{apns_targets, assert_ended, assert_has, fcm_targets};
use serde_json::{Value, json};

use pushpost_testkit::service::{PRODUCTION, TestService};

/// States of the lane `fcm` that ended or last, without `running`.
const STOPS: &str = "select count(*) from lane_changes join lanes using (lane_id) where platform = 2 and lane_changes.state <> 0";

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

async fn held(service: &TestService, id: &str) -> Vec<Value> {
    let status = service.get(&format!("/v1/notifications/{id}")).await.body;
    status["held"].as_array().unwrap().clone()
}

/// The notification is done, and this is what held it from its acceptance to its end.
async fn assert_was_held(service: &TestService, id: &str, lane: LaneKey, expected: &[(&str, &str)]) {
    let status = service.notifications().until_done(id).await;
    let held = status["held"].as_array().unwrap();
    let told: Vec<_> =
        held.iter().map(|one| (one["state"].as_str().unwrap(), one["why"].as_str().unwrap())).collect();
    assert_eq!(told, expected, "{held:?}");
    let mut before = time(&status["created_at"]);
    for one in held {
        assert_eq!(one["lane"], lane.to_string());
        assert!(before <= time(&one["from"]) && time(&one["from"]) < time(&one["to"]), "{status}");
        before = time(&one["to"]);
    }
    assert!(before <= time(&status["done_at"]), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_told_afterwards_and_only_of_what_it_held() {
    let service = TestService::builder().node(Role::All).node(Role::All).build().await;
    let before = service.notifications().send(hello(fcm_targets("before", 3))).await;
    service.notifications().until_done(&before).await;
    service.lanes().pause(fcm::LANE).await;
    let early = service.notifications().send(hello(fcm_targets("early", 3))).await;
    let elsewhere = service.notifications().send(hello(apns_targets("a", 3))).await;
    let lasts = held(&service, &early).await;
    assert_has(
        &json!(lasts),
        &json!([{"lane": "fcm", "state": "paused", "why": "lane_paused", "from": "<time>", "to": null}]),
    );
    service.lanes().resume(fcm::LANE).await;
    assert_was_held(&service, &early, fcm::LANE, &[("paused", "lane_paused")]).await;
    assert_eq!(time(&held(&service, &early).await[0]["from"]), time(&lasts[0]["from"]));

    service.lanes().pause(fcm::LANE).await;
    service.lanes().resume(fcm::LANE).await;
    let after = service.notifications().send(hello(fcm_targets("after", 3))).await;
    for id in [&before, &elsewhere, &after] {
        service.notifications().until_done(id).await;
        assert_eq!(held(&service, id).await, [] as [Value; 0]);
    }
    assert_eq!(held(&service, &early).await.len(), 1, "the second pause came later");
    assert_eq!(service.database.count(STOPS).await, 2, "one row per pause, with two nodes");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspension_is_told_until_a_new_credential_ends_it() {
    let service = TestService::builder().node(Role::All).node(Role::All).build().await;
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::PermissionDenied)));
    let id = service.notifications().send(hello(fcm_targets("f", 20))).await;
    let seen = service.lanes().until_state(fcm::LANE, "suspended").await;
    let lasts = held(&service, &id).await;
    assert_has(&lasts[0], &json!({"lane": "fcm", "state": "suspended", "why": seen["why"], "to": null}));
    service.simulator.clear_rules();
    let port = service.simulator.addresses().fcm.port();
    service.edit(&format!("https://localhost:{port}"), &format!("https://127.0.0.1:{port}"));
    service.reload().await.unwrap();
    let why = seen["why"].as_str().unwrap();
    assert_was_held(&service, &id, fcm::LANE, &[("suspended", why)]).await;
    service.lanes().until_state(fcm::LANE, "running").await;
    assert_eq!(service.database.count(STOPS).await, 1, "one row, with two nodes");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_from_its_begin_to_its_end() {
    let service = TestService::builder().node(Role::All).node(Role::Worker).build().await;
    service.rule(Rule::provider(Provider::Apns, Action::answer(500, "InternalServerError")));
    let id = service.notifications().send(hello(apns_targets("a", 200))).await;
    service.lanes().until_state(PRODUCTION, "broken").await;
    let lasts = held(&service, &id).await;
    assert_has(&lasts[0], &json!({"state": "broken", "why": "InternalServerError", "to": null}));
    let waits = service.notifications().deliveries(&id).await;
    assert!(waits.iter().any(|one| one["reason"] == "lane_broken"), "{waits:?}");
    service.simulator.clear_rules();
    assert_was_held(&service, &id, PRODUCTION, &[("broken", "InternalServerError")]).await;
    assert_eq!(held(&service, &id).await[0]["from"], lasts[0]["from"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_whose_nodes_are_gone_is_not_out_of_order_for_ever() {
    let mut service = TestService::builder().node(Role::Worker).build().await;
    let broken = "select count(*) from lane_changes where state = 2 and ended_at = 'infinity'";
    service.rule(Rule::provider(Provider::Apns, Action::answer(500, "InternalServerError")));
    // A node that accepts, and has no lanes.
    service.node(Role::Api).await;
    let id = service.notifications().send(hello(apns_targets("a", 200))).await;
    service.database.until_count(broken, 1).await;
    service.end_node(0).await;
    let gone = "select count(*) from lane_changes where state = 2 and ended_at < 'infinity'";
    service.database.until_count(gone, 1).await;
    let told = held(&service, &id).await;
    assert_has(&told[0], &json!({"state": "broken", "why": "InternalServerError", "to": "<time>"}));
    // What the lane has been since then is not known.
    assert_eq!(
        service
            .database
            .count("select count(*) from lanes where state is null and platform = 1 and environment = 1")
            .await,
        1
    );
    service.simulator.clear_rules();
    service.node(Role::Worker).await;
    assert_was_held(&service, &id, PRODUCTION, &[("broken", "InternalServerError")]).await;
    service
        .notifications()
        .deliveries(&id)
        .await
        .iter()
        .for_each(|one| assert_has(one, &json!({"status": "accepted"})));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_expires_in_a_paused_lane_was_held_to_its_end() {
    let service = TestService::start().await;
    service.lanes().pause(fcm::LANE).await;
    let id = service
        .notifications()
        .send(json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi", "ttl": "1s"}))
        .await;
    assert_ended(&service.notifications().outcome(&id).await, "expired", 0, Some("ttl"));
    let status = service.notifications().until_done(&id).await;
    assert_has(&status["held"], &json!([{"state": "paused", "to": status["done_at"]}]));
    service.stop().await;
}
