//! The peer's limit of streams, which changes at any time.

use pushpost_testkit::json::{apns_targets, assert_ended, fcm_targets};
use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, ApnsSettings, FcmSettings, Overflow, Rule, Settings};
use serde_json::json;

use pushpost_testkit::service::TestService;

/// Exceeding a limit ends the connection, as both providers have been seen to do it.
fn strict() -> Settings {
    Settings { overflow: Overflow::GoAway, latency: Duration::from_millis(5), ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_falls_to_one_with_each_rejection_is_kept_to() {
    const GOOD: usize = 200;
    const BAD: usize = 20;
    let apns = ApnsSettings { streams: 50, streams_drop_on_rejection: true, ..ApnsSettings::default() };
    let service =
        TestService::builder().simulator(Settings { apns, ..strict() }).node(Role::All).build().await;
    service.rule(Rule::prefix("bad", Action::answer(400, "BadCollapseId")));
    let mut targets = Vec::new();
    let mut bad = apns_targets("bad", BAD).into_iter();
    for (number, good) in apns_targets("a", GOOD).into_iter().enumerate() {
        targets.push(good);
        targets.extend(bad.next().filter(|_| number < GOOD));
    }
    let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), GOOD + BAD);
    for outcome in &outcomes {
        match outcome["status"].as_str() {
            Some("accepted") => assert_ended(outcome, "accepted", 1, None),
            _ => assert_ended(outcome, "rejected", 1, Some("BadCollapseId")),
        }
    }
    assert_eq!(outcomes.iter().filter(|outcome| outcome["status"] == "rejected").count(), BAD);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changing_stream_limit_loses_nothing() {
    const EACH: usize = 400;
    let fcm = FcmSettings { streams: 40, ..FcmSettings::default() };
    let service =
        TestService::builder().simulator(Settings { fcm, ..strict() }).node(Role::All).build().await;
    let targets = [apns_targets("a", EACH), fcm_targets("f", EACH)].concat();
    let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    for (received, streams) in [(50, 1), (80, 60), (300, 1), (330, 5), (400, 1000)] {
        service.until_received(received).await;
        service.simulator.set_streams(streams);
    }
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 2 * EACH);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    service.stop().await;
}
