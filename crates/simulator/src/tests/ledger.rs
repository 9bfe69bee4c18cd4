//! What the ledger keeps, counts and finds, here and through the control port.

use std::collections::HashMap;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::client::{Client, PATIENCE, TOKEN, access_token, message, provider_token, push, simulator};
use crate::clock;
use crate::{Action, Ended, LedgerMode, Provider, Rule, Settings, Simulator, run_simulate};

const UUID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

fn identified(request: Request<Bytes>) -> Request<Bytes> {
    let mut request = request;
    request.headers_mut().insert("apns-id", UUID.parse().unwrap());
    request
}

#[tokio::test]
async fn keeps_requests_with_their_answers_and_no_credentials() {
    let simulator = simulator().await;
    simulator.add_rule(Rule {
        name: Some("dead".into()),
        ..Rule::token("bb", Action::Dead { timestamp_ms: Some(5), timestamp_ago_ms: None })
    });
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    client.send(identified(push(&jwt, &TOKEN.to_uppercase()))).await.unwrap();
    client.send(push(&jwt, "bb")).await.unwrap();
    let ledger = simulator.ledger();
    let first = &ledger.by_token(TOKEN)[0];
    assert_eq!(
        (first.seq, first.status, first.reason.as_str(), first.ended),
        (1, Some(200), "", Ended::Answered)
    );
    assert_eq!((first.header("apns-id"), first.notification()), (Some(UUID), Some("ntf_1")));
    assert_eq!(first.header("authorization"), None);
    assert_eq!(first.body.as_ref().unwrap()["aps"]["alert"]["title"], "Hi");
    let second = &ledger.by_token("bb")[0];
    assert_eq!((second.rule.as_deref(), second.status, second.accepted), (Some("dead"), Some(410), false));
    assert_eq!(ledger.count(Provider::Apns, 410, "Unregistered"), 1);
    assert_eq!(ledger.accepted_count(), 1);
    ledger.clear();
    client.send(push(&jwt, "cc")).await.unwrap();
    let after: Vec<u64> = ledger.entries().iter().map(|entry| entry.seq).collect();
    assert_eq!(after, [3]);
}

#[tokio::test]
async fn finds_notifications_that_a_device_got_twice() {
    let simulator = simulator().await;
    simulator.add_rule(Rule::token("ff", Action::answer(500, "InternalServerError")).times(1));
    let jwt = provider_token(&simulator, 0);
    let mut apns = Client::apns(&simulator).await;
    for request in [
        identified(push(&jwt, "aa")),
        push(&jwt, "bb"),
        identified(push(&jwt, "aa")),
        push(&jwt, "ff"),
        push(&jwt, "ff"),
    ] {
        apns.send(request).await.unwrap();
    }
    let token = access_token(&simulator).await;
    let mut fcm = Client::fcm(&simulator).await;
    for id in ["ntf_1", "ntf_2", "ntf_1"] {
        fcm.send(message(&token, &json!({"token": "t", "data": {"pushpost": id}}))).await.unwrap();
    }
    let found: Vec<_> = simulator
        .ledger()
        .duplicates()
        .into_iter()
        .map(|duplicate| (duplicate.token, duplicate.same_apns_id))
        .collect();
    assert_eq!(found, [(Some("aa".to_owned()), Some(true)), (Some("t".to_owned()), None)]);
}

#[tokio::test]
async fn counts_mode_keeps_counters_only() {
    let simulator =
        Simulator::start(Settings { ledger: LedgerMode::Counts, ..Settings::default() }).await.unwrap();
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    for _ in 0..3 {
        client.send(push(&jwt, TOKEN)).await.unwrap();
    }
    let ledger = simulator.ledger();
    assert_eq!(
        (ledger.received_count(), ledger.accepted_count(), ledger.count(Provider::Apns, 200, "")),
        (3, 3, 3)
    );
    assert!(ledger.entries().is_empty());
}

#[tokio::test]
async fn a_request_whose_connection_ends_first_is_closed_in_the_ledger() {
    let simulator = simulator().await;
    simulator.add_rule(Rule::token(TOKEN, Action::Accept).delayed(std::time::Duration::from_secs(3600)));
    let mut client = Client::apns(&simulator).await;
    let _waiting = client.open(push(&provider_token(&simulator, 0), TOKEN)).await.unwrap();
    let ledger = simulator.ledger();
    assert!(ledger.wait_until(PATIENCE, |ledger| ledger.received_count() == 1).await);
    simulator.close_connections();
    assert!(ledger.wait_until(PATIENCE, |ledger| ledger.entries()[0].ended == Ended::Closed).await);
}

#[tokio::test]
async fn the_control_port_takes_scripts_and_shows_the_ledger() {
    let simulator = simulator().await;
    let url = simulator.control_url().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(http.get(format!("{url}/healthz")).send().await.unwrap().status(), 200);
    let script =
        json!([{"token": "bb", "action": {"type": "answer", "status": 503, "reason": "ServiceUnavailable"}}]);
    let added = http.post(format!("{url}/rules")).body(script.to_string()).send().await.unwrap();
    assert_eq!((added.status().as_u16(), added.text().await.unwrap().as_str()), (200, "{\"rules\":1}\n"));
    let bad = http.post(format!("{url}/rules")).body(r#"{"tokn":"x"}"#).send().await.unwrap();
    assert_eq!(bad.status(), 400);
    assert!(bad.text().await.unwrap().contains("tokn"));
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    for token in ["aa", "bb"] {
        client.send(push(&jwt, token)).await.unwrap();
    }
    let seen: Value = http
        .get(format!("{url}/ledger?token=bb&provider=apns&since=1"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((seen["items"].as_array().unwrap().len(), &seen["items"][0]["status"]), (1, &json!(503)));
    let counts: Value = http.get(format!("{url}/counts")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&counts["received"], &counts["accepted"]), (&json!(2), &json!(1)));
    assert_eq!(
        counts["answers"][1],
        json!({"provider": "apns", "status": 503, "reason": "ServiceUnavailable", "count": 1})
    );
    let ended = http.delete(format!("{url}/rules")).send().await.unwrap();
    assert_eq!((ended.status().as_u16(), ended.text().await.unwrap().as_str()), (200, "{\"rules\":0}\n"));
    assert_eq!(client.send(push(&jwt, "bb")).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_control_port_takes_any_content_type_and_says_what_it_did() {
    let simulator = simulator().await;
    let url = simulator.control_url().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let form = "application/x-www-form-urlencoded";
    for (path, body, status, said) in [
        ("/rules", r#"{"name":"n","action":{"type":"dead"}}"#, 200, "{\"rules\":1}\n"),
        ("/streams", r#"{"streams":10}"#, 200, "{\"streams\":10}\n"),
        ("/fcm/quota", r#"{"messages":5,"per_ms":100}"#, 200, "{\"messages\":5,\"per_ms\":100}\n"),
        ("/connections/close", "", 200, "{\"connections\":\"closed\"}\n"),
        ("/oauth/revoke", "", 200, "{\"access_tokens\":\"revoked\"}\n"),
        ("/streams", "", 400, "EOF while parsing a value at line 1 column 0\n"),
    ] {
        let asked = http.post(format!("{url}{path}")).header("content-type", form).body(body);
        let answer = asked.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
            (status, said),
            "{path}"
        );
    }
    for (name, status, said) in [
        ("nope", 404, "no rule has the name \"nope\"\n"),
        ("n", 200, "{\"rules\":0}\n"),
        ("n", 404, "no rule has the name \"n\"\n"),
    ] {
        let answer = http.delete(format!("{url}/rules?name={name}")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (status, said));
    }
    let arrivals = http.get(format!("{url}/arrivals")).send().await.unwrap();
    assert_eq!(arrivals.status(), 409);
    assert_eq!(arrivals.text().await.unwrap(), "this is kept only with --ledger arrivals\n");
}

#[tokio::test]
async fn keeps_when_each_notification_first_arrived_where_that_is_all_it_keeps() {
    let settings = Settings { ledger: LedgerMode::Arrivals, ..Settings::default() };
    let simulator = Simulator::start(settings).await.unwrap();
    let before = clock::now_us();
    let jwt = provider_token(&simulator, 0);
    let mut apns = Client::apns(&simulator).await;
    for token in ["aa", "bb", "odd"] {
        apns.send(push(&jwt, token)).await.unwrap();
    }
    let again = simulator.ledger().arrivals();
    let access = access_token(&simulator).await;
    let mut fcm = Client::fcm(&simulator).await;
    fcm.send(message(&access, &json!({"token": "t", "data": {"pushpost": "ntf_2"}}))).await.unwrap();
    fcm.send(message(&access, &json!({"token": "", "data": {"pushpost": "ntf_3"}}))).await.unwrap();
    let arrivals: HashMap<_, _> = simulator.ledger().arrivals().into_iter().collect();
    assert_eq!((again.len(), arrivals.len()), (1, 2), "refused ones have not arrived: {arrivals:?}");
    assert_eq!(arrivals["ntf_1"], again[0].1, "the first one stays");
    assert!((before..=clock::now_us()).contains(&arrivals["ntf_2"]));
    assert!(simulator.ledger().entries().is_empty());
    let url = format!("{}/arrivals", simulator.control_url().unwrap());
    let told: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(told["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn simulate_writes_a_ready_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let mut endpoint = String::new();
    run_simulate(dir.path(), Settings::default(), |simulator| endpoint = simulator.apns_endpoint(), async {})
        .await
        .unwrap();
    let text = std::fs::read_to_string(dir.path().join("pushpost.toml")).unwrap();
    let config: toml::Value = toml::from_str(&text).unwrap();
    let apns = &config["apps"]["shop"]["apns"];
    assert_eq!(apns["endpoint"].as_str(), Some(endpoint.as_str()));
    for file in [&apns["key_file"], &apns["ca_file"], &config["apps"]["shop"]["fcm"]["service_account_file"]]
    {
        assert!(std::path::Path::new(file.as_str().unwrap()).is_file(), "{file}");
    }
}
