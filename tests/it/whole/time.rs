//! Time to live (docs/queue.md#time-to-live): a TTL of 0, the time that remains, and the last outcome.

use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, Answer, FcmFault, H2Code, Provider, Rule};
use pushpost_testkit::json::{assert_ended, hex};
use serde_json::{Value, json};

use pushpost_testkit::service::{PRODUCTION, TestService, sent};

fn reset(accepted: bool) -> Action {
    Action::Reset { code: H2Code::InternalError, accepted }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zero_ttl_is_sent_with_no_time_to_live() {
    let service = TestService::start().await;
    assert_ended(&service.notifications().send_to_token("apns", &hex("a1"), "0s").await, "accepted", 1, None);
    assert_ended(&service.notifications().send_to_token("fcm", "f1", "0s").await, "accepted", 1, None);
    assert_eq!(service.received(&hex("a1"))[0].header("apns-expiration"), Some("0"));
    let body = service.received("f1")[0].body.clone().unwrap();
    assert_eq!(body["message"]["android"]["ttl"], "0s");
    assert_eq!(body["message"]["apns"]["headers"]["apns-expiration"], "0");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zero_ttl_has_one_attempt() {
    let service = TestService::start().await;
    service.rule(Rule::token(hex("a1"), Action::answer(503, "ServiceUnavailable")));
    service.rule(Rule::token(hex("a2"), reset(false)));
    service.rule(Rule::token("f1", Action::fcm(FcmFault::Unavailable)));
    service.rule(Rule::token("f2", reset(false)));
    let outcome = service.notifications().send_to_token("apns", &hex("a1"), "0s").await;
    assert_ended(&outcome, "expired", 1, Some("ServiceUnavailable"));
    let outcome = service.notifications().send_to_token("apns", &hex("a2"), "0s").await;
    assert_ended(&outcome, "unknown", 1, Some("no_answer"));
    assert_ended(
        &service.notifications().send_to_token("fcm", "f1", "0s").await,
        "expired",
        1,
        Some("UNAVAILABLE"),
    );
    assert_ended(
        &service.notifications().send_to_token("fcm", "f2", "0s").await,
        "unknown",
        1,
        Some("no_answer"),
    );
    assert_eq!(sent(&service.ledger()).len(), 4);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zero_ttl_is_resent_while_the_provider_cannot_have_processed_it() {
    let service = TestService::start().await;
    let refused = Action::Reset { code: H2Code::RefusedStream, accepted: false };
    service.rule(Rule { action: refused, ..Rule::default() }.times_per_token(2));
    assert_ended(&service.notifications().send_to_token("apns", &hex("a1"), "0s").await, "accepted", 1, None);
    assert_eq!(service.received(&hex("a1")).len(), 3);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_expires_in_a_paused_lane_is_never_sent() {
    let mut service = TestService::builder().build().await;
    service.lanes().pause(PRODUCTION).await;
    service.lanes().pause(fcm::LANE).await;
    service.node(Role::All).await;
    let expiring = service
        .notifications()
        .send(json!({"to": {"tokens": [{"platform": "apns", "token": hex("a1")},
                                         {"platform": "fcm", "token": "f1"}]}, "title": "Hi", "ttl": "2s"}))
        .await;
    let lasting = service
        .notifications()
        .send(
            json!({"to": {"tokens": [{"platform": "apns", "token": hex("a2")}]}, "title": "Hi", "ttl": "1h"}),
        )
        .await;
    for outcome in service.notifications().outcomes(&expiring).await {
        assert_ended(&outcome, "expired", 0, Some("ttl"));
    }
    service.lanes().resume(PRODUCTION).await;
    service.lanes().resume(fcm::LANE).await;
    assert_ended(&service.notifications().outcome(&lasting).await, "accepted", 1, None);
    assert_eq!(sent(&service.ledger()).len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_has_the_remaining_ttl_and_keeps_id_and_expiry() {
    let service = TestService::start().await;
    let later = Some("3".to_owned());
    let answer = Answer {
        status: 503,
        reason: Some("Shutdown".to_owned()),
        retry_after: later.clone(),
        ..Answer::default()
    };
    service.rule(Rule::provider(Provider::Apns, Action::Answer(Box::new(answer))).times_per_token(1));
    let fault =
        Action::FcmFault { fault: FcmFault::Unavailable, retry_after: later, retry_after_date_seconds: None };
    service.rule(Rule::provider(Provider::Fcm, fault).times_per_token(1));
    let id = service
        .notifications()
        .send(json!({"to": {"tokens": [{"platform": "apns", "token": hex("a1")},
                                         {"platform": "fcm", "token": "f1"}]}, "title": "Hi", "ttl": "10m"}))
        .await;
    for outcome in service.notifications().outcomes(&id).await {
        assert_ended(&outcome, "accepted", 2, None);
    }
    let apns = service.received(&hex("a1"));
    assert_eq!(apns.len(), 2);
    for name in ["apns-id", "apns-expiration", "apns-collapse-id"] {
        assert!(apns[0].header(name).is_some(), "{name}");
        assert_eq!(apns[0].header(name), apns[1].header(name), "{name}");
    }
    let ttls: Vec<u32> = service.received("f1").iter().map(|entry| seconds(entry.body.as_ref())).collect();
    assert_eq!(ttls.len(), 2);
    assert!(ttls[0] <= 600 && ttls[1] <= ttls[0] - 2, "{ttls:?}");
    service.stop().await;
}

fn seconds(body: Option<&Value>) -> u32 {
    let ttl = body.unwrap()["message"]["android"]["ttl"].as_str().unwrap();
    ttl.strip_suffix('s').unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_without_an_answer_is_made_again_with_the_same_id() {
    let service = TestService::start().await;
    service.rule(Rule { action: reset(true), ..Rule::default() }.times_per_token(1));
    let outcome = service.notifications().send_to_token("apns", &hex("a1"), "1h").await;
    assert_ended(&outcome, "accepted", 2, None);
    let received = service.received(&hex("a1"));
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("apns-id"), outcome["provider_id"].as_str());
    assert_eq!(received[1].header("apns-id"), outcome["provider_id"].as_str());
    service.stop_with_duplicates().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_attempts_without_an_answer_are_enough() {
    let service = TestService::start().await;
    service.rule(Rule::token(hex("a1"), reset(false)));
    service.rule(Rule::token("f1", reset(false)));
    let outcome = service.notifications().send_to_token("apns", &hex("a1"), "28d").await;
    assert_ended(&outcome, "unknown", 5, Some("no_answer"));
    assert_eq!(outcome["provider_id"], Value::Null);
    let outcome = service.notifications().send_to_token("fcm", "f1", "28d").await;
    assert_ended(&outcome, "unknown", 5, Some("no_answer"));
    assert_eq!(sent(&service.ledger()).len(), 10);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_the_expiry_is_not_waited_for() {
    let service = TestService::start().await;
    let answer = Answer {
        status: 429,
        reason: Some("TooManyRequests".to_owned()),
        retry_after: Some("3600".to_owned()),
        ..Answer::default()
    };
    service.rule(Rule::token(hex("a1"), Action::Answer(Box::new(answer))));
    let outcome = service.notifications().send_to_token("apns", &hex("a1"), "30m").await;
    assert_ended(&outcome, "expired", 1, Some("TooManyRequests"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_is_reported_only_without_an_attempt_in_doubt() {
    let service = TestService::start().await;
    // In doubt once, then refused until the time is over; which says nothing about the lane, so that it goes on.
    service.rule(Rule::token(hex("a1"), reset(false)).times(1));
    service.rule(Rule::prefix("a", Action::answer(429, "TooManyRequests")));
    let (first, second) = (hex("a1"), hex("a2"));
    let (doubtful, sure) = tokio::join!(
        service.notifications().send_to_token("apns", &first, "10s"),
        service.notifications().send_to_token("apns", &second, "10s")
    );
    assert_eq!((&doubtful["status"], &doubtful["reason"]), (&json!("unknown"), &json!("no_answer")));
    assert_eq!((&sure["status"], &sure["reason"]), (&json!("expired"), &json!("TooManyRequests")));
    assert!(sure["attempts"].as_u64().unwrap() >= 2);
    let received = service.received(&hex("a2")).len();
    assert_eq!(json!(received), sure["attempts"]);
    service.stop().await;
}
