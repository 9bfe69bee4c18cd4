//! Rules: which requests they match, how often, when, and what they answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, TOKEN, access_token, message, provider_token, push, simulator};
use crate::{Action, Environment, FcmFault, Rule, Settings, Simulator, clock};

fn rule(json: Value) -> Rule {
    serde_json::from_value(json).unwrap()
}

#[test]
fn rules_are_json_and_misspellings_are_refused() {
    let text = json!({"token_prefix": "fa", "times_per_token": 2, "delay_ms": 5, "action": {"type": "answer", "status": 503, "reason": "ServiceUnavailable"}});
    let parsed = rule(text);
    let expected = Rule {
        delay_ms: 5,
        ..Rule::prefix("fa", Action::answer(503, "ServiceUnavailable")).times_per_token(2)
    };
    assert_eq!(parsed, expected);
    let whole =
        json!({"action": {"type": "go_away", "code": "REFUSED_STREAM", "last": {"stream": 3}, "debug": "x"}});
    assert_eq!(serde_json::to_value(rule(whole.clone())).unwrap()["action"], whole["action"]);
    for bad in [
        json!({"tokn": "a"}),
        json!({"action": {"type": "answer", "satus": 503}}),
        json!({"action": {"type": "dead", "since": 1}}),
        json!({"action": {"type": "explode"}}),
    ] {
        assert!(serde_json::from_value::<Rule>(bad.clone()).is_err(), "{bad}");
    }
}

async fn statuses(simulator: &Simulator, tokens: &[&str]) -> Vec<u16> {
    let mut client = Client::apns(simulator).await;
    let jwt = provider_token(simulator, 0);
    let mut seen = Vec::new();
    for token in tokens {
        seen.push(client.send(push(&jwt, token)).await.unwrap().status);
    }
    seen
}

#[tokio::test]
async fn the_first_match_wins_and_uses_are_counted() {
    let simulator = simulator().await;
    simulator.add_rule(Rule::token("aa11", Action::Accept).times(1));
    simulator.add_rule(Rule::prefix("aa", Action::answer(500, "InternalServerError")).times_per_token(1));
    simulator.add_rule(Rule::token("aa11", Action::answer(503, "ServiceUnavailable")));
    let seen = statuses(&simulator, &["aa11", "AA11", "aa11", "aa22", "aa22", "bb"]).await;
    assert_eq!(seen, [200, 500, 503, 500, 200, 200]);
    simulator.clear_rules();
    assert_eq!(statuses(&simulator, &["aa11"]).await, [200]);
}

#[tokio::test]
async fn shares_are_drawn_from_the_seed() {
    let tokens: Vec<String> = (0..200).map(|number| format!("{number:04x}")).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let simulator = Simulator::start(Settings { seed, ..Settings::default() }).await.unwrap();
        simulator.add_rule(rule(json!({"share": 0.3, "share_of": "tokens", "action": {"type": "dead"}})));
        let first = statuses(&simulator, &tokens).await;
        assert_eq!(first, statuses(&simulator, &tokens).await, "a token stays in or out");
        runs.push(first);
    }
    let dead = runs[0].iter().filter(|status| **status == 410).count();
    assert!((40..=80).contains(&dead), "{dead} of 200 at a share of 0.3");
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn rules_hold_from_one_moment_to_another() {
    let simulator = simulator().await;
    simulator.add_rule(rule(json!({"until_ms": 0, "action": {"type": "dead"}})));
    simulator.add_rule(rule(json!({"from_ms": 3_600_000, "action": {"type": "dead"}})));
    simulator.add_rule(rule(
        json!({"from_ms": 0, "until_ms": 3_600_000, "token": "bb", "action": {"type": "dead"}}),
    ));
    assert_eq!(statuses(&simulator, &["aa", "bb"]).await, [200, 410]);
}

#[tokio::test]
async fn apns_answers_carry_timestamp_retry_after_and_raw_bodies() {
    let simulator = simulator().await;
    simulator.add_rule(rule(
        json!({"token": "a1", "action": {"type": "dead", "timestamp_ms": 1_700_000_000_123_i64}}),
    ));
    simulator
        .add_rule(rule(json!({"token": "a2", "action": {"type": "dead", "timestamp_ago_ms": 3_600_000}})));
    simulator.add_rule(rule(json!({"token": "a3", "action": {"type": "answer", "status": 410, "reason": "ExpiredToken", "without_timestamp": true}})));
    simulator.add_rule(rule(json!({"token": "a4", "action": {"type": "answer", "status": 429, "reason": "TooManyRequests", "retry_after": "7"}})));
    simulator.add_rule(rule(json!({"token": "a5", "action": {"type": "answer", "status": 502, "body": "<html>", "content_type": "text/html"}})));
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    let mut answers = Vec::new();
    for token in ["a1", "a2", "a3", "a4", "a5"] {
        answers.push(client.send(push(&jwt, token)).await.unwrap());
    }
    assert_eq!(answers[0].json(), json!({"reason": "Unregistered", "timestamp": 1_700_000_000_123_i64}));
    let age = clock::now_ms() - answers[1].json()["timestamp"].as_i64().unwrap();
    assert!((3_600_000..3_700_000).contains(&age));
    assert_eq!(answers[2].json(), json!({"reason": "ExpiredToken"}));
    assert_eq!(answers[3].header("retry-after"), "7");
    assert_eq!((answers[4].text.as_str(), answers[4].header("content-type")), ("<html>", "text/html"));
    assert!(answers.iter().all(|answered| answered.header("apns-id").len() == 36));
}

#[tokio::test]
async fn a_token_of_the_other_environment_is_a_bad_one() {
    let simulator = simulator().await;
    simulator.add_rule(Rule::token(TOKEN, Action::Environment { environment: Environment::Sandbox }));
    let jwt = provider_token(&simulator, 0);
    let mut production = Client::apns(&simulator).await;
    assert_eq!(production.send(push(&jwt, TOKEN)).await.unwrap().reason(), "BadDeviceToken");
    let mut sandbox = Client::connect(&simulator, simulator.addresses().sandbox.unwrap()).await;
    assert_eq!(sandbox.send(push(&jwt, TOKEN)).await.unwrap().status, 200);
}

#[tokio::test]
async fn fcm_faults_are_whole_bodies() {
    let simulator = simulator().await;
    let fault = |fault| Rule::token(format!("{fault:?}"), Action::fcm(fault));
    let cases = [
        (FcmFault::InvalidArgument, 400, Some("INVALID_ARGUMENT"), None),
        (FcmFault::InvalidToken, 400, Some("INVALID_ARGUMENT"), None),
        (FcmFault::BadField, 400, None, None),
        (FcmFault::BadTokenField, 400, None, None),
        (FcmFault::ApnsUnregistered, 400, Some("INVALID_ARGUMENT"), Some("Unregistered")),
        (FcmFault::ApnsBadDeviceToken, 400, Some("INVALID_ARGUMENT"), Some("BadDeviceToken")),
        (FcmFault::ApnsExpiredToken, 400, Some("INVALID_ARGUMENT"), Some("ExpiredToken")),
        (FcmFault::ApnsDeviceTokenNotForTopic, 400, Some("INVALID_ARGUMENT"), Some("DeviceTokenNotForTopic")),
        (FcmFault::ApnsPayloadTooLarge, 400, Some("INVALID_ARGUMENT"), Some("PayloadTooLarge")),
        (FcmFault::Unauthenticated, 401, None, None),
        (FcmFault::ThirdPartyAuthError, 401, Some("THIRD_PARTY_AUTH_ERROR"), Some("InvalidProviderToken")),
        (FcmFault::ApnsAuthError, 401, Some("APNS_AUTH_ERROR"), Some("BadEnvironmentKeyInToken")),
        (FcmFault::SenderIdMismatch, 403, Some("SENDER_ID_MISMATCH"), None),
        (FcmFault::PermissionDenied, 403, None, None),
        (FcmFault::Unregistered, 404, Some("UNREGISTERED"), None),
        (FcmFault::NotFound, 404, None, None),
        (FcmFault::QuotaExceeded, 429, Some("QUOTA_EXCEEDED"), None),
        (FcmFault::ProjectQuota, 429, None, None),
        (FcmFault::ResourceExhausted, 429, None, None),
        (FcmFault::Internal, 500, Some("INTERNAL"), None),
        (FcmFault::Unavailable, 503, Some("UNAVAILABLE"), None),
        (FcmFault::UnspecifiedError, 500, Some("UNSPECIFIED_ERROR"), None),
    ];
    let token = access_token(&simulator).await;
    let mut client = Client::fcm(&simulator).await;
    for (row, status, code, apns) in cases {
        simulator.add_rule(fault(row));
        let answered = client.send(message(&token, &json!({"token": format!("{row:?}")}))).await.unwrap();
        let json = answered.json();
        let detail = |name: &str| {
            json["error"]["details"]
                .as_array()
                .and_then(|list| list.iter().find_map(|d| d[name].as_str().map(str::to_owned)))
        };
        assert_eq!(
            (answered.status, json["error"]["code"].as_u64()),
            (status, Some(u64::from(status))),
            "{row:?}"
        );
        assert_eq!(detail("errorCode").as_deref(), code, "{row:?}");
        let apns_reason = detail("reason").filter(|reason| reason != "RATE_LIMIT_EXCEEDED");
        assert_eq!(apns_reason.as_deref(), apns, "{row:?}");
    }
    for (row, status) in [
        (FcmFault::NotFoundHtml, 404),
        (FcmFault::BadGatewayHtml, 502),
        (FcmFault::UnavailableHtml, 503),
        (FcmFault::GatewayTimeoutHtml, 504),
    ] {
        simulator.add_rule(fault(row));
        let answered = client.send(message(&token, &json!({"token": format!("{row:?}")}))).await.unwrap();
        assert_eq!((answered.status, answered.text.starts_with('<')), (status, true));
    }
}

#[tokio::test]
async fn retry_after_comes_in_both_forms() {
    let simulator = simulator().await;
    simulator.add_rule(rule(
        json!({"token": "s", "action": {"type": "fcm_fault", "fault": "unavailable", "retry_after": "30"}}),
    ));
    simulator.add_rule(rule(json!({"token": "d", "action": {"type": "fcm_fault", "fault": "project_quota", "retry_after_date_seconds": 120}})));
    let token = access_token(&simulator).await;
    let mut client = Client::fcm(&simulator).await;
    let seconds = client.send(message(&token, &json!({"token": "s"}))).await.unwrap();
    assert_eq!(seconds.header("retry-after"), "30");
    let date = client.send(message(&token, &json!({"token": "d"}))).await.unwrap();
    let at = httpdate::parse_http_date(date.header("retry-after")).unwrap();
    let ahead = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64 - clock::now_seconds();
    assert!((100..=121).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn a_delayed_answer_does_not_hold_up_others() {
    let simulator = simulator().await;
    simulator.add_rule(Rule::token("aa", Action::Accept).delayed(Duration::from_secs(3600)));
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    client.send(push(&jwt, TOKEN)).await.unwrap();
    assert!(client.sees_limit(1000).await);
    let slow = client.open(push(&jwt, "aa")).await.unwrap();
    assert_eq!(client.send(push(&jwt, "bb")).await.unwrap().status, 200);
    drop(slow);
}
