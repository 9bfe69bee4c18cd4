//! Too many requests: of one device, of a project, of a minute. Each limit stops only what it concerns.

use pushpost::provider::fcm;
use pushpost_testkit::json::{apns_targets, assert_ended, assert_has, fcm_targets, of};
use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, FcmSettings, Provider, Rule, Settings};
use serde_json::{Value, json};

use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::service::{PRODUCTION, TestService, sent};
use pushpost_testkit::wait::until;

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

fn throttled(fault: FcmFault, retry_after: &str) -> Action {
    Action::FcmFault { fault, retry_after: Some(retry_after.to_owned()), retry_after_date_seconds: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_one_device_holds_back_that_device() {
    let service = TestService::start().await;
    for (token, platform, action) in [
        ("ee".repeat(32), "apns", Action::answer(429, "TooManyRequests")),
        ("limited".to_owned(), "fcm", throttled(FcmFault::QuotaExceeded, "1")),
    ] {
        service.rule(Rule::token(token.clone(), action).times(2));
        let mut targets = match platform {
            "apns" => apns_targets("a", 200),
            _ => fcm_targets("f", 200),
        };
        targets.push(json!({"platform": platform, "token": token, "ref": "limited"}));
        let id = service.notifications().send(hello(targets)).await;
        let outcomes = service.notifications().outcomes(&id).await;
        assert_ended(of(&outcomes, "ref", "limited"), "accepted", 3, None);
        let others = outcomes.iter().filter(|outcome| outcome["ref"] != "limited");
        others.for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    }
    for lane in [PRODUCTION, fcm::LANE] {
        assert_eq!(service.lanes().get(lane).await["state"], "running");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_date_is_understood() {
    let service = TestService::start().await;
    let later = Action::FcmFault {
        fault: FcmFault::QuotaExceeded,
        retry_after: None,
        retry_after_date_seconds: Some(3600),
    };
    service.rule(Rule::prefix("f", later).times_per_token(1));
    let id = service.notifications().send(hello(fcm_targets("f", 20))).await;
    // An hour from the answer, by the provider's own clock, and some jitter.
    let late = "select coalesce(sum(device_count), 0)::bigint from jobs where class = 1
                and due_at between now() + interval '50 minutes' and now() + interval '2 hours'";
    service.database.until_count(late, 20).await;
    service.lanes().retry(fcm::LANE).await;
    service
        .notifications()
        .outcomes(&id)
        .await
        .iter()
        .for_each(|outcome| assert_ended(outcome, "accepted", 2, None));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_over_its_quota_waits_for_retry_after_and_shows_it() {
    let service = TestService::start().await;
    service.rule(Rule::provider(Provider::Fcm, throttled(FcmFault::ProjectQuota, "6")));
    let id = service.notifications().send(hello(fcm_targets("f", 20))).await;
    let seen = service.lanes().until_state(fcm::LANE, "throttled").await;
    assert_has(&seen, &json!({"why": "RESOURCE_EXHAUSTED"}));
    let status = service.get(&format!("/v1/notifications/{id}")).await.body;
    assert_has(&status["held"][0], &json!({"lane": "fcm", "state": "throttled"}));
    service.simulator.clear_rules();
    let other = service.notifications().send(hello(apns_targets("a", 50))).await;
    service
        .notifications()
        .outcomes(&other)
        .await
        .iter()
        .for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    let outcomes = service.notifications().outcomes(&id).await;
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    let entries = sent(&service.ledger());
    let fcm: Vec<_> = entries.iter().filter(|entry| entry.provider == Provider::Fcm).collect();
    let told = fcm.iter().find(|entry| !entry.accepted).unwrap().received_ms;
    let resumed = fcm.iter().find(|entry| entry.accepted).unwrap().received_ms;
    assert!(resumed - told >= 5_900, "asked again after {} ms", resumed - told);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lane_of_a_project_over_its_quota_shows_the_wait() {
    let mut service = TestService::builder().build().await;
    service.with_another_app_of_the_project("market");
    service.node(Role::All).await;
    // Longer than a lane waits between two probes.
    service.rule(Rule::provider(Provider::Fcm, throttled(FcmFault::ProjectQuota, "86400")));
    let id = service.notifications().send(hello(fcm_targets("f", 1))).await;
    let reported =
        "select count(*) from lane_reports r join lanes l using (lane_id) join apps a using (app_id)
                    where l.platform = 2 and r.state = 1 and r.reason = 'RESOURCE_EXHAUSTED'";
    service.database.until_count(reported, 2).await;
    service.simulator.clear_rules();
    service.lanes().resume(fcm::LANE).await;
    assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    service.database.until_count(reported, 0).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_waits_for_a_stream_when_its_lane_stops_is_not_sent() {
    const DEVICES: usize = 600;
    let fcm = FcmSettings { streams: 1, ..FcmSettings::default() };
    let mut service = TestService::builder()
        .simulator(Settings { fcm, latency: Duration::from_millis(20), ..Settings::default() })
        .build()
        .await;
    service.node(Role::All).await;
    service.rule(Rule::provider(Provider::Fcm, throttled(FcmFault::ProjectQuota, "3600")));
    let id = service.notifications().send(hello(fcm_targets("f", DEVICES))).await;
    service.lanes().until_state(fcm::LANE, "throttled").await;
    service.database.until_count("select count(*) from jobs where node_id is not null", 0).await;
    let told = sent(&service.ledger()).len();
    // One for each connection, and those that were written in the moment between.
    assert!(told < DEVICES / 4, "{told} of {DEVICES} were sent to a provider that had said no");
    service.simulator.clear_rules();
    // Long before the hour that it was told.
    service.lanes().retry(fcm::LANE).await;
    service
        .notifications()
        .outcomes(&id)
        .await
        .iter()
        .for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_s_quota_is_spent_evenly() {
    const A_SECOND: usize = 20;
    let service = TestService::builder()
        .config("APPS__SHOP__FCM__MESSAGES_PER_MINUTE", &(60 * A_SECOND).to_string())
        .node(Role::All)
        .build()
        .await;
    // What a lane does once, as to get an access token, is done.
    let first = service.notifications().send(hello(fcm_targets("w", 1))).await;
    service.notifications().until_done(&first).await;
    let began = service.database.now_ms().await;
    let id = service.notifications().send(hello(fcm_targets("f", 4 * A_SECOND))).await;
    service
        .notifications()
        .outcomes(&id)
        .await
        .iter()
        .for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    let last = sent(&service.ledger()).iter().map(|entry| entry.received_ms).max().unwrap();
    // A second's worth may have been saved up.
    assert!(last - began >= 2_900, "{} messages in {} ms", 4 * A_SECOND, last - began);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_expires_while_its_lane_waits_for_the_quota_ends_then() {
    // The second message would be sent after a minute, the last after twenty.
    let service = TestService::builder()
        .config("APPS__SHOP__FCM__MESSAGES_PER_MINUTE", "1")
        .node(Role::All)
        .build()
        .await;
    let mut short = hello(fcm_targets("f", 20));
    short["ttl"] = json!("2s");
    let id = service.notifications().send(short).await;
    for outcome in service.notifications().outcomes(&id).await {
        assert_ended(&outcome, "expired", 0, Some("ttl"));
    }
    assert_eq!(sent(&service.ledger()).len(), 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_expires_in_front_of_its_attempt_uses_up_nothing_of_the_quota() {
    let mut service = TestService::builder().build().await;
    let proxy = PostgresProxy::of(&service.database).await;
    service.configure("DATABASE__URL", proxy.url());
    service.configure("APPS__SHOP__FCM__MESSAGES_PER_MINUTE", "60");
    // A node goes on for two thirds of this time while the database is away.
    service.configure("DELIVERY__NODE_TIMEOUT", "30s");
    service.node(Role::All).await;
    let first = service.notifications().send(hello(fcm_targets("w", 1))).await;
    service.notifications().until_done(&first).await;
    let mut short = hello(fcm_targets("f", 60));
    short["ttl"] = json!("2s");
    let short = service.notifications().send(short).await;
    let fresh = service.notifications().send(hello(fcm_targets("g", 1))).await;
    // Without the database no device is revalidated: each leaves the queue by its attempt, and the fresh one last.
    proxy.set_away(true);
    until("the fresh device is sent", async || !service.received("g0").is_empty()).await;
    proxy.set_away(false);
    assert_ended(&service.notifications().outcome(&fresh).await, "accepted", 1, None);
    let outcomes = service.notifications().outcomes(&short).await;
    let expired = outcomes.iter().filter(|outcome| outcome["status"] == "expired");
    expired.clone().for_each(|outcome| assert_ended(outcome, "expired", 0, Some("ttl")));
    assert!(expired.count() > 40, "{outcomes:?}");
    service.expect_outage_log();
    service.stop().await;
}
