//! A provider in an outage: the lane stops, keeps its jobs unchanged, and probes the provider now and then.

use pushpost::domain::LaneKey;
use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, ConnectionFault, FcmFault, Ledger, Provider, Rule};
use pushpost_testkit::json::{apns_targets, assert_ended, assert_has, fcm_targets, of};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use pushpost_testkit::service::{PRODUCTION, TestService, sent};

/// 5xx in a row that are an outage.
const OUTAGE: usize = 10;

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

fn attempted(outcomes: &[Value], attempts: u64) -> usize {
    outcomes.iter().filter(|outcome| outcome["attempts"] == attempts).count()
}

/// Until what was under way has arrived: nothing more comes for half a second.
async fn until_quiet(service: &TestService) {
    let more = |count| move |ledger: &Ledger| sent(ledger).len() > count;
    while service.ledger().wait_until(Duration::from_millis(500), more(sent(&service.ledger()).len())).await {
    }
}

async fn assert_outlasted(provider: Provider, lane: LaneKey, action: Action, word: &str) {
    const DEVICES: usize = 600;
    let service = TestService::start().await;
    let (targets, others) = match provider {
        Provider::Fcm => (fcm_targets("f", DEVICES), apns_targets("a", 50)),
        _ => (apns_targets("a", DEVICES), fcm_targets("f", 50)),
    };
    service.rule(Rule::provider(provider, action));
    let id = service.notifications().send(hello(targets)).await;
    let seen = service.lanes().until_state(lane, "broken").await;
    assert_has(&seen, &json!({"why": word}));
    let status = service.get(&format!("/v1/notifications/{id}")).await.body;
    assert_has(&status["held"][0], &json!({"lane": lane.to_string(), "state": "broken", "why": word}));
    let other = service.notifications().send(hello(others)).await;
    service
        .notifications()
        .outcomes(&other)
        .await
        .iter()
        .for_each(|outcome| assert_ended(outcome, "accepted", 1, None));

    // Nothing but probes: after 1, 2, 4 … seconds.
    service.database.until_count("select count(*) from jobs where node_id is not null", 0).await;
    until_quiet(&service).await;
    let (before, began) = (sent(&service.ledger()).len(), Instant::now());
    sleep(Duration::from_secs(3)).await;
    let probes = sent(&service.ledger()).len() - before;
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(probes <= 2 * seconds, "{probes} requests in {seconds} s at a provider that is out of order");

    service.simulator.clear_rules();
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), DEVICES);
    assert!(outcomes.iter().all(|outcome| outcome["status"] == "accepted"));
    let burnt = DEVICES - attempted(&outcomes, 1);
    assert!(burnt < OUTAGE, "{burnt} devices were charged for the outage");
    service.lanes().until_state(lane, "running").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_fcm_stops_its_lane_and_counts_no_attempts() {
    assert_outlasted(Provider::Fcm, fcm::LANE, Action::fcm(FcmFault::Unavailable), "UNAVAILABLE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_apns_stops_its_lane_and_counts_no_attempts() {
    let action = Action::answer(503, "ServiceUnavailable");
    assert_outlasted(Provider::Apns, PRODUCTION, action, "ServiceUnavailable").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn html_errors_are_an_outage_too() {
    assert_outlasted(Provider::Fcm, fcm::LANE, Action::fcm(FcmFault::BadGatewayHtml), "502").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zero_ttl_is_sent_once_in_an_outage_too() {
    const DEVICES: usize = 100;
    let service = TestService::start().await;
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::Unavailable)));
    let mut code = hello(fcm_targets("f", DEVICES));
    code["ttl"] = json!(0);
    let id = service.notifications().send(code).await;
    service.lanes().until_state(fcm::LANE, "broken").await;
    service.simulator.clear_rules();
    let outcomes = service.notifications().outcomes(&id).await;
    let (sent_in_vain, others): (Vec<_>, Vec<_>) =
        outcomes.iter().partition(|outcome| outcome["status"] == "expired");
    assert!(sent_in_vain.len() >= OUTAGE);
    sent_in_vain.iter().for_each(|outcome| assert_ended(outcome, "expired", 1, Some("UNAVAILABLE")));
    others.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    for entry in sent(&service.ledger()) {
        assert_eq!(service.received(entry.token.as_deref().unwrap()).len(), 1);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_only_fails_itself_stops_its_lane_briefly() {
    let service = TestService::start().await;
    service.rule(Rule::token("bad", Action::fcm(FcmFault::Internal)));
    let bad = json!({"platform": "fcm", "token": "bad", "ref": "bad"});
    let poison = service.notifications().send(hello(vec![bad.clone()])).await;
    // No other device sends: this one alone looks like an outage.
    service.lanes().until_state(fcm::LANE, "broken").await;
    let mut targets = fcm_targets("f", 100);
    targets.push(bad);
    let id = service.notifications().send(hello(targets)).await;
    service.database.until_count("select coalesce(sum(accepted), 0)::bigint from receipts", 100).await;
    let deliveries = service.notifications().deliveries(&id).await;
    let stumbled = of(&deliveries, "ref", "bad");
    assert_eq!(stumbled["status"], "pending");
    let others = deliveries.iter().filter(|delivery| delivery["ref"] != "bad");
    others.for_each(|delivery| assert_ended(delivery, "accepted", 1, None));
    service.simulator.clear_rules();
    assert_eq!(service.notifications().outcome(&poison).await["status"], "accepted");
    service.notifications().until_done(&id).await;
    service.stop().await;
}

/// The time to live of everything that waits ends now.
async fn expire_all(service: &TestService) {
    service.database.execute("update jobs set expires_at = now()").await;
    service.database.until_count("select count(*) from jobs", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_lane_ends_its_outage_without_a_device_and_one_failure_breaks_it_again() {
    let service = TestService::start().await;
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::Unavailable)));
    let expired = service.notifications().send(hello(fcm_targets("f", 50))).await;
    service.lanes().until_state(fcm::LANE, "broken").await;
    expire_all(&service).await;
    service.notifications().until_done(&expired).await;
    let seen = service.lanes().until_state(fcm::LANE, "running").await;
    assert_has(&seen, &json!({"why": null}));
    service.lanes().until(fcm::LANE, &json!({"depth": 0})).await;

    // FCM can be reached, but still fails.
    let before = sent(&service.ledger()).len();
    let id = service.notifications().send(hello(fcm_targets("g", 50))).await;
    service.lanes().until_state(fcm::LANE, "broken").await;
    let failures = sent(&service.ledger()).len() - before;
    assert!(failures < OUTAGE, "{failures} devices met the outage");
    service.simulator.clear_rules();
    let outcomes = service.notifications().outcomes(&id).await;
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    service.lanes().until_state(fcm::LANE, "running").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_idle_node_finds_that_its_provider_is_back() {
    let mut service = TestService::builder().config("DELIVERY__MAX_IN_FLIGHT", "20").build().await;
    service.lanes().pause(PRODUCTION).await;
    service.node(Role::Api).await;
    service.node(Role::Worker).await;
    service.node(Role::Worker).await;
    let away = Action::Connection { fault: ConnectionFault::HangUp };
    service.rule(Rule::provider(Provider::Apns, away));
    let mut expired = Vec::new();
    for part in 0..20 {
        expired.push(service.notifications().send(hello(apns_targets(&format!("{part:02}"), 100))).await);
    }
    service.lanes().resume(PRODUCTION).await;
    let nodes = |state| {
        format!(
            "select count(*) from lane_reports join lanes using (lane_id)
             where lane_reports.state = {state} and platform = {} and environment = 1",
            PRODUCTION.platform().code()
        )
    };
    service.database.until_count(&nodes(2), 2).await;
    expire_all(&service).await;
    for id in &expired {
        service.notifications().until_done(id).await;
    }
    assert_eq!(service.database.count(&nodes(2)).await, 2, "the provider is still away");

    service.simulator.clear_rules();
    // One device, so one of the nodes has nothing to send.
    let outcome = service.notifications().send_to_token("apns", &"b".repeat(64), "1h").await;
    assert_ended(&outcome, "accepted", 1, None);
    service.database.until_count(&nodes(0), 2).await;
    service.lanes().until_state(PRODUCTION, "running").await;
    assert_eq!(sent(&service.ledger()).len(), 1, "the provider was reached without a device");
    service.stop().await;
}
