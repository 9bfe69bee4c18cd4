//! What APNs accepts, and each refusal with its status and reason.

use bytes::Bytes;
use http::{Method, Request};
use serde_json::json;

use super::client::{Client, TOKEN, provider_token, push, signed_token, simulator};
use crate::{ApnsSettings, Settings, Simulator};

const UUID: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

fn with(mut request: Request<Bytes>, headers: &[(&'static str, &str)]) -> Request<Bytes> {
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    request
}

fn without(mut request: Request<Bytes>, name: &str) -> Request<Bytes> {
    request.headers_mut().remove(name);
    request
}

fn body(mut request: Request<Bytes>, body: &str) -> Request<Bytes> {
    *request.body_mut() = Bytes::from(body.to_owned());
    request
}

fn to(mut request: Request<Bytes>, path: &str) -> Request<Bytes> {
    *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
    request
}

/// Each case on one connection, so a case also shows that the one before did no harm.
#[tokio::test]
async fn refuses_each_fault_with_its_reason() {
    let simulator = simulator().await;
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    let good = || push(&jwt, TOKEN);
    let mut twice = good();
    twice.headers_mut().append("apns-topic", "com.example.shop".parse().unwrap());
    let mut get = good();
    *get.method_mut() = Method::GET;
    let long_id = "é".repeat(33);
    let large = format!(r#"{{"aps":{{"alert":"{}"}}}}"#, "x".repeat(4096));
    let background = [("apns-push-type", "background"), ("apns-priority", "5")];
    let quiet = r#"{"aps":{"content-available":1}}"#;
    let topic = |topic: &'static str| with(good(), &[("apns-topic", topic)]);
    let cases = vec![
        (to(good(), "/3/devices/aa"), 404, "BadPath"),
        (to(good(), "/3/device/"), 400, "MissingDeviceToken"),
        (to(good(), "/3/device/abc"), 400, "BadDeviceToken"),
        (to(good(), "/3/device/xyzw"), 400, "BadDeviceToken"),
        (get, 405, "MethodNotAllowed"),
        (twice, 400, "DuplicateHeaders"),
        (without(good(), "authorization"), 403, "MissingProviderToken"),
        (without(good(), "apns-topic"), 400, "MissingTopic"),
        (topic("com example"), 400, "BadTopic"),
        (topic("com.example.other"), 400, "TopicDisallowed"),
        (topic("com.example.shop.voip"), 400, "DeviceTokenNotForTopic"),
        (without(good(), "apns-push-type"), 400, "InvalidPushType"),
        (with(good(), &[("apns-push-type", "mdm")]), 400, "InvalidPushType"),
        (with(good(), &[("apns-id", &UUID.to_uppercase())]), 400, "BadMessageId"),
        (with(good(), &[("apns-id", "1")]), 400, "BadMessageId"),
        (with(good(), &[("apns-expiration", "soon")]), 400, "BadExpirationDate"),
        (with(good(), &[("apns-expiration", "-1")]), 400, "BadExpirationDate"),
        (with(good(), &[("apns-priority", "7")]), 400, "BadPriority"),
        (with(good(), &[("apns-collapse-id", &long_id)]), 400, "BadCollapseId"),
        (body(good(), ""), 400, "PayloadEmpty"),
        (body(good(), "[1]"), 400, "BadRequestPayload"),
        (body(good(), r#"{"title":"no aps"}"#), 400, "BadRequestPayload"),
        (body(good(), r#"{"aps":{"alert":"x","mutable-content":true}}"#), 400, "BadRequestPayload"),
        (body(good(), quiet), 400, "InvalidPushType"),
        (with(good(), &background), 400, "InvalidPushType"),
        (body(with(good(), &background[..1]), quiet), 400, "BadPriority"),
        (body(good(), &large), 413, "PayloadTooLarge"),
    ];
    for (request, status, reason) in cases {
        let shown = format!("{} {:?}", request.uri().path(), request.headers());
        let answered = client.send(request).await.unwrap();
        assert_eq!((answered.status, answered.reason().as_str()), (status, reason), "{shown}");
    }
    assert_eq!(client.send(good()).await.unwrap().status, 200);
    assert_eq!(simulator.ledger().accepted_count(), 1);
}

#[tokio::test]
async fn accepts_every_push_type_with_its_topic_and_echoes_the_id() {
    let simulator = simulator().await;
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 1800);
    let activity = r#"{"aps":{"timestamp":1,"event":"update","content-state":{}}}"#;
    let changed = r#"{"aps":{"content-changed":true}}"#;
    let voip = format!(r#"{{"call":"{}"}}"#, "x".repeat(5000));
    let cases = [
        ("alert", "", "10", r#"{"aps":{"badge":0}}"#),
        ("background", "", "5", r#"{"aps":{"content-available":1},"k":1}"#),
        ("location", ".location-query", "10", r#"{"aps":{}}"#),
        ("voip", ".voip", "10", &voip),
        ("complication", ".complication", "10", "{}"),
        ("fileprovider", ".pushkit.fileprovider", "5", r#"{"container-identifier":"c"}"#),
        ("liveactivity", ".push-type.liveactivity", "1", activity),
        ("pushtotalk", ".voip-ptt", "10", r#"{"aps":{}}"#),
        ("widgets", ".push-type.widgets", "5", changed),
        ("controls", ".push-type.controls", "10", changed),
    ];
    for (push_type, suffix, priority, payload) in cases {
        let topic = format!("com.example.shop{suffix}");
        let headers = [
            ("apns-push-type", push_type),
            ("apns-topic", &topic),
            ("apns-priority", priority),
            ("apns-id", UUID),
            ("apns-expiration", "0"),
            ("apns-collapse-id", "order-1"),
        ];
        let answered = client.send(body(with(push(&jwt, TOKEN), &headers), payload)).await.unwrap();
        assert_eq!(answered.status, 200, "{push_type}: {}", answered.text);
        assert_eq!((answered.header("apns-id"), answered.text.as_str()), (UUID, ""));
    }
    let generated = client.send(push(&jwt, TOKEN)).await.unwrap();
    assert_eq!(generated.header("apns-id").len(), 36);
}

#[tokio::test]
async fn checks_the_provider_token() {
    let simulator = simulator().await;
    let other_key = crate::tls::Keys::generate().unwrap().p8_pem;
    let p8 = simulator.p8_pem();
    let cases = [
        (signed_token(&other_key, "ABC123DEFG", "DEF123GHIJ", 0), "InvalidProviderToken"),
        (signed_token(p8, "XXXXXXXXXX", "DEF123GHIJ", 0), "InvalidProviderToken"),
        (signed_token(p8, "ABC123DEFG", "XXXXXXXXXX", 0), "InvalidProviderToken"),
        ("no.jwt.atall".to_owned(), "InvalidProviderToken"),
        (provider_token(&simulator, 3610), "ExpiredProviderToken"),
        (provider_token(&simulator, -3610), "ExpiredProviderToken"),
    ];
    for (jwt, reason) in cases {
        let mut client = Client::apns(&simulator).await;
        let answered = client.send(push(&jwt, TOKEN)).await.unwrap();
        assert_eq!((answered.status, answered.reason().as_str()), (403, reason));
    }
}

#[tokio::test]
async fn an_expired_provider_token_wedges_its_connection() {
    let simulator = simulator().await;
    let mut client = Client::apns(&simulator).await;
    client.send(push(&provider_token(&simulator, 3700), TOKEN)).await.unwrap();
    let fresh = provider_token(&simulator, 0);
    assert_eq!(client.send(push(&fresh, TOKEN)).await.unwrap().reason(), "ExpiredProviderToken");
    let mut another = Client::apns(&simulator).await;
    assert_eq!(another.send(push(&fresh, TOKEN)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_second_provider_token_too_soon_makes_the_connection_unusable() {
    let simulator = simulator().await;
    let mut client = Client::apns(&simulator).await;
    let (first, second) = (provider_token(&simulator, 10), provider_token(&simulator, 0));
    assert_eq!(client.send(push(&first, TOKEN)).await.unwrap().status, 200);
    for jwt in [&second, &first] {
        let answered = client.send(push(jwt, TOKEN)).await.unwrap();
        assert_eq!((answered.status, answered.reason().as_str()), (429, "TooManyProviderTokenUpdates"));
    }
}

#[tokio::test]
async fn a_second_provider_token_in_good_time_is_fine() {
    let apns = ApnsSettings { jwt_min_refresh: std::time::Duration::ZERO, ..ApnsSettings::default() };
    let simulator = Simulator::start(Settings { apns, ..Settings::default() }).await.unwrap();
    let mut client = Client::apns(&simulator).await;
    for age in [10, 0] {
        let answered = client.send(push(&provider_token(&simulator, age), TOKEN)).await.unwrap();
        assert_eq!(answered.status, 200);
    }
}

#[tokio::test]
async fn a_payload_that_passed_for_one_push_type_is_checked_again_for_another() {
    let simulator = simulator().await;
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    let payload = json!({ "aps": { "alert": "x" } }).to_string();
    assert_eq!(client.send(body(push(&jwt, TOKEN), &payload)).await.unwrap().status, 200);
    let background = with(push(&jwt, TOKEN), &[("apns-push-type", "background"), ("apns-priority", "5")]);
    assert_eq!(client.send(body(background, &payload)).await.unwrap().reason(), "InvalidPushType");
}
