//! When a lane rejects too many tokens at once, its configuration is suspected and the tokens are kept
//! (docs/queue.md#pruning-guard).

use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, Rule};
use pushpost_testkit::json::{apns_targets, assert_ended, assert_has, fcm_targets, hex};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use pushpost_testkit::service::{PRODUCTION, TestService, sent};
use pushpost_testkit::wait::WAIT_MAX;

const QUARANTINED: &str = "select count(*) from devices where quarantined_at is not null";
const GUARD_ENGAGED: &str = "select count(*) from lanes where guard_engaged_at is not null";

/// Remembers every device that was ever set aside, whatever comes back.
const REMEMBER: &str = "
    create table aside (device_id bigint);
    create function remember() returns trigger language plpgsql as $$
    begin insert into aside values (new.device_id); return null; end $$;
    create trigger remember after update on devices for each row
    when (old.quarantined_at is null and new.quarantined_at is not null) execute function remember()";
const EVER_ASIDE: &str = "select count(distinct device_id) from aside";

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

async fn assert_brake(service: &TestService, environment: i16, word: &str, certain: bool) {
    service.database.until_count(GUARD_ENGAGED, 1).await;
    let guard: (i16, String, bool) = sqlx::query_as(
        "select environment, guard_reason, guard_covers_certain from lanes where guard_engaged_at is not null",
    )
    .fetch_one(&service.database.pool)
    .await
    .unwrap();
    assert_eq!(guard, (environment, word.to_owned(), certain));
}

/// A verdict on all tokens of a lane sets no device aside for longer than a moment.
async fn assert_all_spared(rule: Rule, targets: Vec<Value>, environment: i16, word: &str) {
    let mut service = TestService::start().await;
    service.database.execute(REMEMBER).await;
    service.rule(rule);
    let id = service.notifications().send(hello(targets.clone())).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 50);
    for outcome in outcomes {
        assert_has(&outcome, &json!({"status": "token_dead", "reason": word}));
    }
    assert_brake(&service, environment, word, false).await;
    // Ends the pruner: whatever it was told is done.
    service.end_nodes().await;
    assert!(service.database.count(EVER_ASIDE).await <= 5);
    assert_eq!(service.database.count(QUARANTINED).await, 0);

    service.simulator.clear_rules();
    service.node(Role::All).await;
    let again = service.notifications().send(hello(targets)).await;
    service
        .notifications()
        .outcomes(&again)
        .await
        .iter()
        .for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_topic_prunes_no_device() {
    let rule = Rule::prefix("a", Action::answer(400, "BadDeviceToken"));
    assert_all_spared(rule, apns_targets("a", 50), 1, "BadDeviceToken").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_project_prunes_no_device() {
    let rule = Rule::prefix("f", Action::fcm(FcmFault::SenderIdMismatch));
    assert_all_spared(rule, fcm_targets("f", 50), 0, "SENDER_ID_MISMATCH").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_quarantined_come_back_when_the_guard_engages() {
    let mut service = TestService::start().await;
    service.rule(Rule::token("f-gone", Action::fcm(FcmFault::Unregistered)));
    service.rule(Rule::prefix("f", Action::fcm(FcmFault::SenderIdMismatch)));
    let fcm = |token: &str| json!({"platform": "fcm", "token": token});
    service.devices().register(fcm("old")).await;
    let mut newer = fcm("new");
    newer["replaces"] = json!("old");
    service.devices().register(newer).await;
    // As a clean-up would have left it, and as a day ago.
    let inactive = service.devices().register(fcm("inactive")).await;
    service
        .database
        .execute(
            "update devices set quarantined_at = now(), quarantine_reason = 'SENDER_ID_MISMATCH', quarantine_run = 1
             where token = 'inactive'",
        )
        .await;
    service.devices().register(fcm("long-ago")).await;
    service
        .database.execute(
            "update devices set quarantined_at = now() - interval '2 hours', quarantine_reason = 'SENDER_ID_MISMATCH'
             where token = 'long-ago'",
        )
        .await;
    let first = service.notifications().send(hello(fcm_targets("f", 5))).await;
    service.notifications().outcomes(&first).await;
    service.database.until_count(QUARANTINED, 3 + 5).await;
    assert_eq!(service.database.count(GUARD_ENGAGED).await, 0);
    assert_ended(
        &service.notifications().send_to_token("fcm", "f-gone", "1h").await,
        "token_dead",
        1,
        Some("UNREGISTERED"),
    );
    service.database.until_count(QUARANTINED, 3 + 5 + 1).await;

    let more = service.notifications().send(hello(fcm_targets("f-more", 1))).await;
    service.notifications().outcomes(&more).await;
    assert_brake(&service, 0, "SENDER_ID_MISMATCH", false).await;
    service.database.until_count(QUARANTINED, 3 + 1).await;
    let found = service.get(&format!("/v1/devices/{inactive}")).await.body;
    assert_has(&found, &json!({"status": "quarantined"}));
    // A word that leaves no doubt still counts.
    service.rule(Rule::token("x", Action::fcm(FcmFault::Unregistered)));
    assert_ended(
        &service.notifications().send_to_token("fcm", "x", "1h").await,
        "token_dead",
        1,
        Some("UNREGISTERED"),
    );
    service.database.until_count(QUARANTINED, 3 + 2).await;
    service.end_nodes().await;
    assert_eq!(service.database.count(QUARANTINED).await, 3 + 2);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_unregistered_tokens_at_once_engage_the_guard() {
    let mut service = TestService::start().await;
    service.rule(Rule::prefix("dead", Action::Dead { timestamp_ms: None, timestamp_ago_ms: None }));
    let mut targets = apns_targets("dead", 300);
    targets.extend(apns_targets("a", 100));
    // So few answers prove nothing, and are believed.
    let few = service.notifications().send(hello(targets[..150].to_vec())).await;
    assert_has(
        &service.notifications().until_done(&few).await["counts"],
        &json!({"targets": 150, "token_dead": 150}),
    );
    service.database.until_count(QUARANTINED, 150).await;
    assert_eq!(service.database.count(GUARD_ENGAGED).await, 0);
    let more = service.notifications().send(hello(targets[150..].to_vec())).await;
    let counts = &service.notifications().until_done(&more).await["counts"];
    assert_has(counts, &json!({"targets": 250, "token_dead": 150, "accepted": 100}));
    assert_brake(&service, 1, "Unregistered", true).await;
    service.end_nodes().await;
    assert_eq!(service.database.count(QUARANTINED).await, 0);
    service.simulator.clear_rules();
    service.node(Role::All).await;
    let again = service.notifications().send(hello(targets)).await;
    assert_has(
        &service.notifications().until_done(&again).await["counts"],
        &json!({"targets": 400, "accepted": 400}),
    );
    service.stop().await;
}

/// Sends to a bad token until it is set aside: a node learns within seconds that the guard is released.
async fn until_pruned(service: &TestService, token: &str) {
    let until = Instant::now() + WAIT_MAX;
    while service.database.count(QUARANTINED).await == 0 {
        assert!(Instant::now() < until, "pruning does not work again");
        service.notifications().send_to_token("apns", token, "1h").await;
        sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_resume_pruning_works_again() {
    let service = TestService::start().await;
    service.rule(Rule::prefix("a", Action::answer(400, "DeviceTokenNotForTopic")));
    let id = service.notifications().send(hello(apns_targets("a", 50))).await;
    service.notifications().outcomes(&id).await;
    assert_brake(&service, 1, "DeviceTokenNotForTopic", false).await;
    let braked = json!({"state": "braked", "why": "DeviceTokenNotForTopic"});
    service.lanes().until(PRODUCTION, &json!({"state": "running", "pruning": braked})).await;
    service.lanes().resume(PRODUCTION).await;
    service.lanes().until(PRODUCTION, &json!({"pruning": {"state": "on", "why": null}})).await;
    until_pruned(&service, &hex("a1")).await;
    assert_eq!(service.database.count(GUARD_ENGAGED).await, 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pruning_guard_is_shared_and_released_after_ten_quiet_minutes() {
    let mut service = TestService::builder().build().await;
    // Some node put it on and fell before it could bring back what it had set aside.
    service
        .database.execute(
            "update lanes set guard_engaged_at = now(), guard_reason = 'DeviceTokenNotForTopic', guard_confirmed_at = now()
             where platform = 1 and environment = 1",
        )
        .await;
    service.node(Role::All).await;
    let device = service.devices().register(json!({"platform": "apns", "token": hex("a2")})).await;
    service.end_nodes().await;
    service
        .database
        .execute("update devices set quarantined_at = now(), quarantine_reason = 'DeviceTokenNotForTopic'")
        .await;
    service.node(Role::All).await;
    service.database.until_count(QUARANTINED, 0).await;
    let found = service.get(&format!("/v1/devices/{device}")).await.body;
    assert_has(&found, &json!({"status": "active", "quarantine": null}));

    service.rule(Rule::token(hex("a1"), Action::answer(400, "DeviceTokenNotForTopic")));
    // Nor is it the time to try tokens in the other environment.
    service.rule(Rule::token(hex("a3"), Action::answer(400, "BadDeviceToken")).times(1));
    let outcome = service.notifications().send_to_token("apns", &hex("a1"), "1h").await;
    assert_ended(&outcome, "token_dead", 1, Some("DeviceTokenNotForTopic"));
    let outcome = service.notifications().send_to_token("apns", &hex("a3"), "1h").await;
    assert_ended(&outcome, "token_dead", 1, Some("BadDeviceToken"));
    service.end_nodes().await;
    assert_eq!(
        (service.database.count(QUARANTINED).await, service.database.count(GUARD_ENGAGED).await),
        (0, 1)
    );
    assert_eq!(sent(&service.ledger()).len(), 2);

    service
        .database
        .execute("update lanes set guard_confirmed_at = guard_confirmed_at - interval '10 minutes'")
        .await;
    service.node(Role::All).await;
    service.database.until_count(GUARD_ENGAGED, 0).await;
    until_pruned(&service, &hex("a1")).await;
    service.stop().await;
}
