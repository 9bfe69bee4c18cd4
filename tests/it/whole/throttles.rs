//! Too many requests: of one device, of a project, of a minute. Each stops what it concerns and no more.

use pushpost::domain::LaneKey;
use pushpost::runtime::Role;
use pushpost::simulator::{Action, FcmFault, Provider, Rule, Settings};
use serde_json::{Value, json};

use super::stage::{PRODUCTION, Stage, apns_targets, assert_ended, fcm_targets, of, sent};
use crate::service::assert_has;

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

fn throttled(fault: FcmFault, retry_after: &str) -> Action {
    Action::FcmFault { fault, retry_after: Some(retry_after.to_owned()), retry_after_date_seconds: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_one_device_holds_back_that_device() {
    let stage = Stage::start().await;
    for (token, platform, action) in [
        ("ee".repeat(32), "apns", Action::answer(429, "TooManyRequests")),
        ("limited".to_owned(), "fcm", throttled(FcmFault::QuotaExceeded, "1")),
    ] {
        stage.rule(Rule::token(token.clone(), action).times(2));
        let mut targets = match platform {
            "apns" => apns_targets("a", 200),
            _ => fcm_targets("f", 200),
        };
        targets.push(json!({"platform": platform, "token": token, "ref": "limited"}));
        let id = stage.notify(hello(targets)).await;
        let outcomes = stage.outcomes(&id).await;
        assert_ended(of(&outcomes, "ref", "limited"), "accepted", 3, None);
        let others = outcomes.iter().filter(|outcome| outcome["ref"] != "limited");
        others.for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    }
    for lane in [PRODUCTION, LaneKey::Fcm] {
        assert_eq!(stage.lane(lane).await["state"], "running");
    }
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_over_its_quota_waits_as_long_as_it_was_told_and_says_so() {
    let stage = Stage::start().await;
    stage.rule(Rule::provider(Provider::Fcm, throttled(FcmFault::ProjectQuota, "6")));
    let id = stage.notify(hello(fcm_targets("f", 300))).await;
    let seen = stage.until_lane(LaneKey::Fcm, "throttled").await;
    assert_has(&seen, &json!({"why": "RESOURCE_EXHAUSTED"}));
    let status = stage.get(&format!("/v1/notifications/{id}")).await.body;
    assert_has(&status["held"][0], &json!({"lane": "fcm", "state": "throttled"}));
    stage.simulator.clear_rules();
    let other = stage.notify(hello(apns_targets("a", 50))).await;
    stage.outcomes(&other).await.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    let outcomes = stage.outcomes(&id).await;
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    let entries = sent(&stage.ledger());
    let fcm: Vec<_> = entries.iter().filter(|entry| entry.provider == Provider::Fcm).collect();
    let told = fcm.iter().rfind(|entry| !entry.accepted).unwrap().received_ms;
    let resumed = fcm.iter().find(|entry| entry.accepted).unwrap().received_ms;
    assert!(resumed - told >= 5_900, "asked again after {} ms", resumed - told);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_s_quota_is_spent_evenly() {
    const A_SECOND: usize = 20;
    let mut stage = Stage::set(Settings::default()).await;
    stage.configure("APPS__SHOP__FCM__MESSAGES_PER_MINUTE", &(60 * A_SECOND).to_string());
    stage.node(Role::All).await;
    let id = stage.notify(hello(fcm_targets("f", 4 * A_SECOND))).await;
    stage.outcomes(&id).await.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    let received: Vec<i64> = sent(&stage.ledger()).iter().map(|entry| entry.received_ms).collect();
    // A second's worth may have been saved up.
    for window in received.windows(2 * A_SECOND + 2) {
        let (first, last) = (window.first().unwrap(), window.last().unwrap());
        assert!(last - first >= 950, "{} messages in {} ms", window.len(), last - first);
    }
    stage.stop().await;
}
