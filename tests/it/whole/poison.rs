//! Odd values of providers and clients fail no batch (docs/queue.md#poisoned-values), and a panic fails one device only
//! (docs/queue.md#isolated-attempt).

use std::time::Duration;

use pushpost::provider::{apns, fcm};
use pushpost_simulator::{Action, Answer, Rule};
use pushpost_testkit::json::{apns_targets, assert_ended, fcm_targets, hex, of};
use serde_json::{Value, json};

use pushpost_testkit::service::{TestService, sent};

fn answered(status: u16, body: Value) -> Action {
    Action::Answer(Box::new(Answer { status, body: Some(body), ..Answer::default() }))
}

/// Words that no column would take as they are, each for one device of a job with many others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reasons_that_no_column_takes_are_cut() {
    let service = TestService::start().await;
    let long = "x".repeat(60_000);
    let kept = "x".repeat(64);
    let broken =
        Answer { status: 400, body_base64: Some("PGh0bWw+AMMo//4=".to_owned()), ..Answer::default() };
    let cases = [
        ("a1", answered(400, json!({"reason": "Bad\u{0}Thing"})), "BadThing"),
        ("a2", answered(400, json!({"reason": "first\nsecond\r\n"})), "firstsecond"),
        ("a3", answered(400, json!({"reason": long})), &kept),
        ("a4", answered(400, json!({"reason": "\u{202e}\u{1f4a3}"})), "unspecified"),
        ("a5", answered(400, json!({"reason": {"nested": ["\u{0}"]}})), "400"),
        ("a6", answered(400, json!("<html>\u{0}</html>")), "400"),
        ("a7", Action::Answer(Box::new(broken)), "400"),
        ("a8", answered(410, json!({"reason": "Odd", "timestamp": i64::MAX})), "Odd"),
    ];
    let mut targets = apns_targets("b", 300);
    for (two, action, _) in &cases {
        service.rule(Rule::token(hex(two), action.clone()));
        targets.push(json!({"platform": "apns", "token": hex(two), "ref": two}));
    }
    // FCM's names of messages go on record as they are.
    service.rule(Rule::prefix("named", answered(200, json!({"name": format!("projects/\u{0}\n{long}")}))));
    targets.extend(fcm_targets("named", 5));
    let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 300 + cases.len() + 5);
    for (two, _, word) in &cases {
        let status = if *two == "a8" { "token_dead" } else { "rejected" };
        assert_ended(of(&outcomes, "ref", two), status, 1, Some(word));
    }
    let others = outcomes.iter().filter(|outcome| outcome["ref"].is_null());
    others.for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    service.stop().await;
}

/// The same from a client: what JSON allows goes through, to the last character.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusual_text_arrives_unchanged() {
    let service = TestService::start().await;
    let odd = "'; drop table jobs; -- \\ \" \t \u{7f} \u{202e} \u{1f4a3}\u{200d} \u{fffd} %00 ${x} {{y}}";
    // A reference has no control characters, and is short.
    let mild = "'; drop table jobs; -- \u{1f4a3} %00 ${x} {{y}}";
    let body = json!({
        "to": {"tokens": [{"platform": "apns", "token": hex("a1"), "ref": mild}]},
        "title": odd, "body": odd, "data": {"key": odd}, "metadata": {"note": odd},
    });
    let id = service.notifications().send(body).await;
    let delivery = service.notifications().outcome(&id).await;
    assert_ended(&delivery, "accepted", 1, None);
    assert_eq!(delivery["ref"], mild);
    let arrived = service.received(&hex("a1"))[0].body.clone().unwrap();
    assert_eq!((&arrived["aps"]["alert"]["title"], &arrived["key"]), (&json!(odd), &json!(odd)));
    let status = service.get(&format!("/v1/notifications/{id}")).await.body;
    assert_eq!(status["metadata"]["note"], odd);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_with_a_panicking_attempt_is_rejected_and_no_other() {
    let service = TestService::start().await;
    let mut devices: Vec<String> = Vec::new();
    for n in 0..20 {
        let phone = json!({"platform": "apns", "token": hex(&format!("{n:02x}")), "user": "u1"});
        devices.push(service.devices().register(phone).await);
    }
    // No registration lets such a token in, and the code that makes a path of it relies on that; a row that was damaged
    // from outside has one all the same.
    let damaged = format!("update devices set token = 'not a token' where token = '{}'", hex("07"));
    assert_eq!(service.database.execute(&damaged).await, 1);
    for round in 1..=2 {
        let id = service.notifications().send(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
        let outcomes: Vec<Value> = service.notifications().outcomes(&id).await;
        assert_eq!(outcomes.len(), 20);
        for (n, device) in devices.iter().enumerate() {
            let outcome = of(&outcomes, "device", device);
            match n {
                7 => assert_ended(outcome, "rejected", 1, Some("internal")),
                _ => assert_ended(outcome, "accepted", 1, None),
            }
        }
        assert_eq!(sent(&service.ledger()).len(), 19 * round);
    }
    assert_eq!(
        service.database.count("select count(*) from devices where quarantined_at is not null").await,
        0
    );
    service.expect_log("a panic ended an attempt");
    service.stop().await;
}

/// docs/queue.md#isolated-attempt: suspects of two lanes at once, and the provider of one takes its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_attempt_does_not_delay_one_of_another_lane() {
    let service = TestService::start().await;
    let apns = apns::lane(apns::PRODUCTION);
    for lane in [apns, fcm::LANE] {
        service.lanes().pause(lane).await;
    }
    service.rule(Rule::token(hex("a1"), Action::Accept).delayed(Duration::from_secs(8)));
    let phone = json!({"platform": "apns", "token": hex("a1")});
    let slow = service.notifications().send(json!({"to": {"tokens": [phone]}, "title": "Hi"})).await;
    let fast =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi"})).await;
    assert_eq!(service.database.execute("update jobs set node_deaths = 2").await, 2);
    service.lanes().resume(apns).await;
    service.until_received(1).await;
    service.lanes().resume(fcm::LANE).await;
    assert_ended(&service.notifications().outcome(&fast).await, "accepted", 1, None);
    let delivery = &service.notifications().deliveries(&slow).await[0];
    assert_eq!(delivery["status"], "pending", "its attempt is still under way");
    assert_ended(&service.notifications().outcome(&slow).await, "accepted", 1, None);
    service.expect_log("job is isolated");
    service.stop().await;
}
