//! What lanes, their attempts and their connections are counted as.

use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, H2Code, LastStream, Provider, Rule};
use pushpost_testkit::json::{apns_targets, fcm_targets, hex};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until;
use serde_json::{Value, json};

const FCM: &str = r#"lane="shop/fcm""#;
const APNS: &str = r#"lane="shop/apns-production""#;

async fn send(service: &TestService, targets: Vec<Value>) {
    let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    service.notifications().until_done(&id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_counted_by_outcome_and_known_reason() {
    let service = TestService::start().await;
    let dead = Action::Dead { timestamp_ms: None, timestamp_ago_ms: None };
    service.rule(Rule::token(hex("cc"), dead));
    service.rule(Rule::token(hex("cd"), Action::answer(400, "BadCollapseId")));
    service.rule(Rule::token(hex("ce"), Action::answer(400, "InventedReason")));
    service.rule(Rule::token("limited", Action::fcm(FcmFault::QuotaExceeded)).times(2));
    let odd = ["cc", "cd", "ce"].map(|two| json!({"platform": "apns", "token": hex(two)}));
    send(&service, [apns_targets("a", 20), odd.to_vec()].concat()).await;
    send(&service, [fcm_targets("f", 20), vec![json!({"platform": "fcm", "token": "limited"})]].concat())
        .await;

    let scrape = service.scrape(0).await;
    let attempts = |lane: &str, outcome: &str| {
        scrape.value(&format!(r#"pushpost_attempts_total{{{lane},outcome="{outcome}"}}"#))
    };
    assert_eq!((attempts(APNS, "accepted"), attempts(FCM, "accepted")), (20.0, 21.0));
    assert_eq!(
        (attempts(APNS, "token_dead"), attempts(APNS, "rejected"), attempts(FCM, "retry")),
        (1.0, 2.0, 2.0)
    );
    let reason = |lane: &str, reason: &str| {
        scrape.value(&format!(r#"pushpost_attempt_reasons_total{{{lane},reason="{reason}"}}"#))
    };
    assert_eq!(
        (reason(APNS, "Unregistered"), reason(APNS, "BadCollapseId"), reason(FCM, "QUOTA_EXCEEDED")),
        (1.0, 1.0, 2.0)
    );
    assert_eq!(reason(APNS, "other"), 1.0);
    assert!(!scrape.text.contains("InventedReason"), "what a provider invents is no label");
    for (lane, answers) in [(APNS, 23.0), (FCM, 23.0)] {
        assert_eq!(scrape.value(&format!("pushpost_provider_seconds_count{{{lane}}}")), answers);
        assert_eq!(scrape.value(&format!("pushpost_resends_total{{{lane}}}")), 0.0);
    }
    let waits = r#"pushpost_post_to_provider_seconds_count{priority="normal",audience="direct"}"#;
    assert_eq!(scrape.value(waits), 44.0, "each device once, however often it is tried");
    until("the pruner has counted", async || {
        let pruned = format!(r#"pushpost_pruned_total{{{APNS},reason="Unregistered"}}"#);
        service.scrape(0).await.get(&pruned) == Some(1.0)
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_after_one_without_an_answer_is_a_resend() {
    let service = TestService::start().await;
    service.rule(Rule::token("f0", Action::Reset { code: H2Code::Cancel, accepted: false }).times(1));
    send(&service, fcm_targets("f", 3)).await;
    let scrape = service.scrape(0).await;
    assert_eq!(scrape.value(&format!(r#"pushpost_attempts_total{{{FCM},outcome="unknown"}}"#)), 1.0);
    assert_eq!(scrape.value(&format!(r#"pushpost_attempt_reasons_total{{{FCM},reason="no_answer"}}"#)), 1.0);
    assert_eq!(scrape.value(&format!("pushpost_resends_total{{{FCM}}}")), 1.0);
    assert_eq!(scrape.value(&format!("pushpost_provider_seconds_count{{{FCM}}}")), 3.0, "answers alone");
    service.stop_with_duplicates().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_waits_apart_from_direct_notifications() {
    let service = TestService::start().await;
    for n in 0..5 {
        service.devices().register(json!({"platform": "fcm", "token": format!("f{n}")})).await;
    }
    let body = json!({"to": {"all": true}, "title": "Hi", "priority": "low"});
    let id = service.notifications().send(body).await;
    service.notifications().until_done(&id).await;
    let scrape = service.scrape(0).await;
    let waits = |audience: &str| {
        scrape.value(&format!(
            r#"pushpost_post_to_provider_seconds_count{{priority="low",audience="{audience}"}}"#
        ))
    };
    assert_eq!((waits("direct"), waits("broadcast")), (0.0, 5.0));
    assert!(scrape.value("pushpost_claim_seconds_count") >= 1.0, "jobs of fan-outs are claimed");
    assert!(scrape.value("pushpost_record_seconds_count") >= 1.0);
    assert_eq!(scrape.value("pushpost_unrecorded_devices"), 0.0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_shows_its_state_its_limits_and_its_credential() {
    let service = TestService::start().await;
    let gauge = async |name: &str| service.scrape(0).await.value(&format!("pushpost_{name}{{{FCM}}}"));
    let state = async |state: &str| {
        service.scrape(0).await.value(&format!(r#"pushpost_lane_state{{{FCM},state="{state}"}}"#)) == 1.0
    };
    until("the lane runs", async || state("running").await).await;
    let credential_ok = service.scrape(0).await.get(&format!("pushpost_credential_ok{{{FCM}}}"));
    assert_eq!((credential_ok, gauge("credential_age_seconds").await), (None, 0.0), "no request yet");
    assert_eq!((gauge("in_flight_max").await, gauge("lane_connections").await), (2000.0, 0.0));
    send(&service, fcm_targets("f", 10)).await;
    assert_eq!(gauge("credential_ok").await, 1.0);
    assert!(gauge("credential_age_seconds").await > 0.0);
    assert!(gauge("lane_connections").await >= 1.0);
    let remaining = gauge("quota_remaining_ratio").await;
    assert!((0.9..1.0).contains(&remaining), "{remaining}");
    let sum = service.scrape(0).await.sum(&format!("pushpost_lane_state{{{FCM}"));
    assert_eq!(sum, 1.0, "one state at a time");
    service.lanes().pause(fcm::LANE).await;
    assert!(state("paused").await && !state("running").await);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_has_stopped_shows_the_providers_reason() {
    let service = TestService::start().await;
    let reason = async |reason: &str| {
        service.scrape(0).await.get(&format!(r#"pushpost_lane_stop_reason{{{FCM},reason="{reason}"}}"#))
    };
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::PermissionDenied)).times(1));
    let body = json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi"});
    let id = service.notifications().send(body).await;
    until("the reason is shown", async || reason("PERMISSION_DENIED").await == Some(1.0)).await;
    let credential_ok = service.scrape(0).await.value(&format!("pushpost_credential_ok{{{FCM}}}"));
    assert_eq!(credential_ok, 0.0);
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(&id).await;
    until("a lane that sends has no reason", async || reason("PERMISSION_DENIED").await.is_none()).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_connection_is_counted_with_its_reason() {
    let service = TestService::start().await;
    let goaway = Action::GoAway { code: H2Code::NoError, last: LastStream::This, debug: String::new() };
    service.rule(Rule::token("f0", goaway).times(1));
    send(&service, fcm_targets("f", 3)).await;
    let ends = format!(r#"pushpost_lane_connection_ends_total{{{FCM},reason="goaway"}}"#);
    until("the connection has ended", async || service.scrape(0).await.value(&ends) == 1.0).await;
    service.stop_with_duplicates().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_shows_what_waits() {
    let service = TestService::builder().node(Role::All).node(Role::All).build().await;
    service.lanes().pause(fcm::LANE).await;
    service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 25)}, "title": "Hi"})).await;
    let waiting = format!(r#"pushpost_queue_devices{{{FCM},priority="normal"}}"#);
    let scrapes = async || [service.scrape(0).await, service.scrape(1).await];
    until("the leader has counted", async || {
        scrapes().await.iter().filter_map(|scrape| scrape.get(&waiting)).collect::<Vec<_>>() == [25.0]
    })
    .await;
    let [one, other] = scrapes().await;
    let (leader, follower) = if one.value("pushpost_leader") == 1.0 { (one, other) } else { (other, one) };
    assert_eq!(leader.value("pushpost_nodes"), 2.0);
    assert_eq!(leader.value("pushpost_partitions_ahead"), 7.0);
    assert_eq!(
        leader.value(r#"pushpost_devices{app="shop",platform="fcm",status="active"}"#),
        0.0,
        "an hour old"
    );
    assert!(leader.value(&format!(r#"pushpost_queue_oldest_seconds{{{FCM},priority="normal"}}"#)) > 0.0);
    assert_eq!(leader.value(&format!(r#"pushpost_queue_oldest_seconds{{{FCM},priority="low"}}"#)), 0.0);
    assert_eq!(leader.value(&format!("pushpost_pruning_braked{{{FCM}}}")), 0.0);
    assert_eq!(leader.value(r#"pushpost_fan_outs{app="shop"}"#), 0.0);
    assert!(leader.value(r#"pushpost_table_bytes{table="jobs"}"#) > 0.0);
    assert!(leader.get("pushpost_postgres_oldest_transaction_seconds").is_some());
    assert!(leader.get("pushpost_event_outbox_seconds").is_some());
    for name in [
        "pushpost_nodes",
        "pushpost_event_outbox_seconds",
        "pushpost_queue_devices",
        "pushpost_pruning_braked",
        "pushpost_fan_outs",
    ] {
        assert!(!follower.names().contains(name), "{name} of a node that does not lead");
    }
    let stored = "select due_devices from lane_figures where due_devices > 0";
    assert_eq!(service.database.count(stored).await, 25);
    service.lanes().resume(fcm::LANE).await;
    service.until_received(25).await;
    service.stop_undecided().await;
}
