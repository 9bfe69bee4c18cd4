//! Faults that a request's own overrides cause: no token is quarantined and no lane suspended
//! (docs/queue.md#topic-override).

use pushpost_simulator::{Action, FcmFault, Ledger, Rule};
use pushpost_testkit::json::{assert_ended, fcm_targets, hex};
use serde_json::{Value, json};

use super::credentials::{QUARANTINED, SUSPENDED};
use pushpost_testkit::service::{TestService, sent};
use pushpost_testkit::wait::WAIT_MAX;

/// A call to a phone that is registered for calls; `topic` overrides the topic.
fn calling(device: &str, topic: Option<&str>) -> Value {
    let mut headers = json!({"apns-push-type": "voip"});
    if let Some(topic) = topic {
        headers["apns-topic"] = topic.into();
    }
    json!({"to": {"devices": [device]}, "title": "Hi", "apns": {"headers": headers, "payload": {"call": 1}}})
}

async fn voip(service: &TestService, two: &str) -> String {
    service.devices().register(json!({"platform": "apns", "token": hex(two), "kind": "voip"})).await
}

/// Sends to others; what was answered before has stopped no lane and set no token aside.
async fn assert_untouched(service: &mut TestService, token: &str) {
    for platform in ["apns", "fcm"] {
        assert_ended(
            &service.notifications().send_to_token(platform, token, "1h").await,
            "accepted",
            1,
            None,
        );
    }
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    // Ends the pruner: whatever it was told is done.
    service.end_nodes().await;
    assert_eq!(service.database.count(QUARANTINED).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_override_of_push_type_and_topic_quarantines_no_device() {
    let mut service = TestService::start().await;
    // As the provider itself judges it: the plain bundle id is not the topic of a call.
    let device = voip(&service, "a1").await;
    let id = service.notifications().send(calling(&device, Some("com.example.shop"))).await;
    assert_ended(&service.notifications().outcome(&id).await, "rejected", 1, Some("DeviceTokenNotForTopic"));

    for (two, reason) in [("b1", "DeviceTokenNotForTopic"), ("b2", "TopicDisallowed"), ("b3", "BadTopic")] {
        service.rule(Rule::token(hex(two), Action::answer(400, reason)));
        let device = voip(&service, two).await;
        let id = service.notifications().send(calling(&device, None)).await;
        assert_ended(&service.notifications().outcome(&id).await, "rejected", 1, Some(reason));
    }
    for (token, fault, reason) in [
        ("f1", FcmFault::ApnsDeviceTokenNotForTopic, "DeviceTokenNotForTopic"),
        ("f2", FcmFault::ApnsUnregistered, "Unregistered"),
    ] {
        service.rule(Rule::token(token, Action::fcm(fault)));
        service.devices().register(json!({"platform": "fcm", "token": token})).await;
        let fcm = json!({"apns": {"headers": {"apns-push-type": "voip"}}});
        let to = json!({"tokens": [{"platform": "fcm", "token": token}]});
        let id = service.notifications().send(json!({"to": to, "title": "Hi", "fcm": fcm})).await;
        assert_ended(&service.notifications().outcome(&id).await, "rejected", 1, Some(reason));
    }
    assert_untouched(&mut service, &hex("cc")).await;
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_is_refused_for_overrides_suspends_no_lane_and_fails_nothing() {
    let mut service = TestService::start().await;
    let device = voip(&service, "a1").await;
    service.rule(Rule::token(hex("a1"), Action::answer(403, "InvalidProviderToken")));
    service.rule(Rule::token("web0", Action::fcm(FcmFault::ThirdPartyAuthError)));
    let call = service.notifications().send(calling(&device, None)).await;
    let webpush = json!({"headers": {"Authorization": "vapid t=a.b.c, k=d"}});
    let web = json!({"to": {"tokens": fcm_targets("web", 1)}, "title": "Hi", "fcm": {"webpush": webpush}});
    let web = service.notifications().send(web).await;
    // That both come again is part of it.
    let again = |ledger: &Ledger| {
        let tries =
            |token: &str| sent(ledger).iter().filter(|entry| entry.token.as_deref() == Some(token)).count();
        tries(&hex("a1")) >= 2 && tries("web0") >= 2
    };
    assert!(service.ledger().wait_until(WAIT_MAX, again).await);
    assert_ended(
        &service.notifications().deliveries(&call).await[0],
        "pending",
        0,
        Some("InvalidProviderToken"),
    );
    assert_ended(
        &service.notifications().deliveries(&web).await[0],
        "pending",
        0,
        Some("THIRD_PARTY_AUTH_ERROR"),
    );
    for platform in ["apns", "fcm"] {
        assert_ended(
            &service.notifications().send_to_token(platform, &hex("cc"), "1h").await,
            "accepted",
            1,
            None,
        );
    }
    service.simulator.clear_rules();
    for id in [&call, &web] {
        assert_ended(&service.notifications().outcome(id).await, "accepted", 1, None);
    }
    assert_untouched(&mut service, &hex("dd")).await;
    service.stop_undecided().await;
}
