//! What FCM and the token endpoint accept and refuse.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Client, access_token, body, message, simulator, tls, token_request};
use crate::{Action, FcmSettings, Provider, Rule, Settings, Simulator};

fn error_code(json: &Value) -> Option<&str> {
    json["error"]["details"].as_array()?.iter().find_map(|detail| detail["errorCode"].as_str())
}

#[tokio::test]
async fn accepts_a_full_message_in_either_spelling() {
    let simulator = simulator().await;
    let token = access_token(&simulator).await;
    let mut client = Client::fcm(&simulator).await;
    let full = json!({
        "token": "fcm-token-7",
        "notification": {"title": "Order shipped", "body": "b", "image": "https://cdn.example.com/789.jpg"},
        "data": {"order_id": "789", "pushpost": "ntf_1"},
        "android": {"priority": "high", "ttl": "3599.5s", "collapse_key": "c", "notification": {
            "sound": "default", "notification_count": 1, "tag": "order-789", "channel_id": "orders",
            "visibility": "PUBLIC", "vibrate_timings": ["1s", "0.5s"], "event_time": "2026-12-01T09:00:00Z",
            "light_settings": {"color": {"red": 1, "green": 0.5}, "light_on_duration": "1s", "light_off_duration": "1s"}}},
        "apns": {"headers": {"apns-push-type": "alert"}, "payload": {"aps": {"badge": 1}, "own": [1, 2]},
            "fcm_options": {"image": "https://cdn.example.com/789.jpg"}},
        "fcm_options": {"analytics_label": "orders"},
    });
    let camel = json!({"fid": "f", "android": {"collapseKey": "c", "directBootOk": true}, "fcmOptions": {"analyticsLabel": "x"}});
    for (number, accepted) in [full, camel].iter().enumerate() {
        let answered = client.send(message(&token, accepted)).await.unwrap();
        assert_eq!(answered.status, 200, "{}", answered.text);
        assert!(answered.json()["name"].as_str().unwrap().starts_with("projects/shop-1/messages/"));
        assert_eq!(simulator.ledger().accepted_count(), number as u64 + 1);
    }
    let dry =
        client.send(body(&token, &json!({"message": {"token": "t"}, "validate_only": true}))).await.unwrap();
    assert_eq!((dry.status, simulator.ledger().accepted_count()), (200, 2));
}

#[tokio::test]
async fn refuses_what_the_schema_does_not_know() {
    let simulator = simulator().await;
    let token = access_token(&simulator).await;
    let mut client = Client::fcm(&simulator).await;
    let android = |android: Value| json!({"token": "t", "android": android});
    let cases = [
        (json!({"token": "t", "titel": "x"}), "message"),
        (android(json!({"tlt": "1s"})), "message.android"),
        (android(json!({"ttl": 3600})), "message.android.ttl"),
        (android(json!({"ttl": "1h"})), "message.android.ttl"),
        (android(json!({"ttl": "2419201s"})), "message.android.ttl"),
        (android(json!({"ttl": "-1s"})), "message.android.ttl"),
        (android(json!({"priority": "URGENT"})), "message.android.priority"),
        (android(json!({"notification": {"sticky": "yes"}})), "message.android.notification.sticky"),
        (android(json!({"notification": {"color": "red"}})), "message.android.notification.color"),
        (
            android(json!({"notification": {"notification_count": 1.5}})),
            "message.android.notification.notification_count",
        ),
        (android(json!({"collapse_key": "a", "collapseKey": "b"})), "message.android.collapse_key"),
        (json!({"token": "t", "data": {"lines": 3}}), "message.data"),
        (json!({"token": "t", "data": {"google.x": "1"}}), "message.data[google.x]"),
        (json!({"token": "t", "data": {"from": "1"}}), "message.data[from]"),
        (json!({"token": "t", "apns": {"headers": {"apns-priority": 5}}}), "message.apns.headers"),
        (json!({"token": "t", "apns": {"payload": "{}"}}), "message.apns.payload"),
        (json!({"token": "t", "android": {}, "android_v2": {}}), "message.android_v2"),
        (json!({"notification": {"title": "x"}}), "message"),
        (json!({"token": "t", "topic": "news"}), "message"),
        (json!({"token": ""}), "message.token"),
        (json!({"topic": "/topics/news"}), "message.topic"),
        (json!({"token": "t", "data": {"k": "x".repeat(4096)}}), "message"),
        (json!({"topic": "t", "data": {"k": "x".repeat(2048)}}), "message"),
        (json!({"token": "t", "apns": {"payload": {"k": "x".repeat(4096)}}}), "message.apns.payload"),
        (json!({"fid": "t", "apns": {"live_activity_token": "x"}}), "message.apns.live_activity_token"),
    ];
    for (bad, field) in cases {
        let answered = client.send(message(&token, &bad)).await.unwrap();
        let json = answered.json();
        let violation = &json["error"]["details"][0]["fieldViolations"][0];
        assert_eq!((answered.status, violation["field"].as_str()), (400, Some(field)), "{bad} {json}");
        assert_eq!(json["error"]["status"], "INVALID_ARGUMENT");
    }
    // The limit does not count token and apns.
    let apart = json!({"token": "t".repeat(2000), "data": {"k": "x".repeat(3000)}, "apns": {"payload": {"k": "x".repeat(3000)}}});
    assert_eq!(client.send(message(&token, &apart)).await.unwrap().status, 200);
}

#[tokio::test]
async fn checks_path_project_and_access_token() {
    let fcm = FcmSettings { token_life: std::time::Duration::ZERO, ..FcmSettings::default() };
    let short_lived = Simulator::start(Settings { fcm, ..Settings::default() }).await.unwrap();
    let expired = access_token(&short_lived).await;
    let mut client = Client::fcm(&short_lived).await;
    let hello = json!({"token": "t"});
    let answered = client.send(message(&expired, &hello)).await.unwrap();
    assert_eq!(
        (answered.status, answered.json()["error"]["status"].as_str()),
        (401, Some("UNAUTHENTICATED"))
    );
    assert_eq!(error_code(&answered.json()), None);

    let simulator = simulator().await;
    let token = access_token(&simulator).await;
    let mut client = Client::fcm(&simulator).await;
    let mut elsewhere = message(&token, &hello);
    *elsewhere.uri_mut() = "https://localhost/v1/projects/other/messages:send".parse().unwrap();
    assert_eq!(client.send(elsewhere).await.unwrap().status, 403);
    let mut astray = message(&token, &hello);
    *astray.uri_mut() = "https://localhost/v1/shop-1/messages:send".parse().unwrap();
    let answered = client.send(astray).await.unwrap();
    assert_eq!(answered.status, 404);
    assert!(answered.header("content-type").starts_with("text/html"));
    assert_eq!(client.send(message("forged", &hello)).await.unwrap().status, 401);
    assert_eq!(client.send(message(&token, &hello)).await.unwrap().status, 200);
    simulator.revoke_access_tokens();
    assert_eq!(client.send(message(&token, &hello)).await.unwrap().status, 401);
    let renewed = access_token(&simulator).await;
    assert_eq!(client.send(message(&renewed, &hello)).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_token_endpoint_checks_the_assertion() {
    let simulator = simulator().await;
    let mut client = Client::fcm(&simulator).await;
    let good = client.send(token_request(&simulator, |_| {})).await.unwrap();
    assert_eq!(
        (good.json()["expires_in"].as_u64(), good.json()["token_type"].as_str()),
        (Some(3599), Some("Bearer"))
    );
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 6] = [
        (|claims| claims["aud"] = "https://oauth2.googleapis.com/token".into(), "invalid_grant"),
        (|claims| claims["iss"] = "someone@else".into(), "invalid_grant"),
        (|claims| claims["scope"] = "https://www.googleapis.com/auth/drive".into(), "invalid_scope"),
        (|claims| claims["exp"] = (claims["iat"].as_i64().unwrap() + 3601).into(), "invalid_grant"),
        (|claims| claims["exp"] = (claims["iat"].as_i64().unwrap() - 1).into(), "invalid_grant"),
        (
            |claims| {
                claims["iat"] = (claims["iat"].as_i64().unwrap() + 600).into();
                claims["exp"] = (claims["iat"].as_i64().unwrap() + 3000).into();
            },
            "invalid_grant",
        ),
    ];
    for (change, error) in cases {
        let answered = client.send(token_request(&simulator, change)).await.unwrap();
        assert_eq!((answered.status, answered.json()["error"].as_str()), (400, Some(error)));
    }
    let mut spoilt = token_request(&simulator, |_| {});
    let text = String::from_utf8(spoilt.body().to_vec()).unwrap().replace("assertion=ey", "assertion=eX");
    *spoilt.body_mut() = Bytes::from(text);
    assert_eq!(client.send(spoilt).await.unwrap().json()["error"], "invalid_grant");
    let mut get = token_request(&simulator, |_| {});
    *get.method_mut() = Method::GET;
    assert_eq!(client.send(get).await.unwrap().status, 405);
    let kept = simulator.ledger().entries();
    assert!(
        kept.iter().all(|entry| entry.provider == Provider::Oauth && entry.body.is_none()),
        "no assertion is kept"
    );
}

/// The real library, as Pushpost uses it, takes what the endpoint gives.
#[tokio::test]
async fn yup_oauth2_gets_a_token_that_sends() {
    let simulator = simulator().await;
    let dir = tempfile::tempdir().unwrap();
    simulator.write_files(dir.path()).unwrap();
    let text = std::fs::read_to_string(dir.path().join("service-account.json")).unwrap();
    let account: yup_oauth2::ServiceAccountKey = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (account.project_id.as_deref(), account.token_uri.as_str()),
        (Some("shop-1"), simulator.token_uri())
    );
    let mut roots = rustls::RootCertStore::empty();
    let ca = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
        simulator.ca_pem().as_bytes(),
    );
    roots.add(ca.unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    let client =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build(connector);
    let client = yup_oauth2::CustomHyperClientBuilder::from(client);
    let authenticator =
        yup_oauth2::ServiceAccountAuthenticator::with_client(account, client).build().await.unwrap();
    let token = authenticator.token(&["https://www.googleapis.com/auth/firebase.messaging"]).await.unwrap();
    let mut client = Client::fcm(&simulator).await;
    let sent = client.send(message(token.token().unwrap(), &json!({"token": "t"}))).await.unwrap();
    assert_eq!(sent.status, 200, "{}", sent.text);
}

#[tokio::test]
async fn the_token_endpoint_speaks_http1_and_can_be_scripted_there() {
    let simulator = simulator().await;
    simulator.add_rule(Rule::provider(Provider::Oauth, Action::answer(503, "backend_error")).times(1));
    for (status, has_token) in [("503", false), ("200", true)] {
        let mut stream = tls(&simulator, simulator.addresses().fcm, b"http/1.1").await;
        let (_, body) = token_request(&simulator, |_| {}).into_parts();
        let head = format!(
            "POST /token HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let mut text = Vec::new();
        // The server closes without close_notify, which is an error after all the bytes.
        stream.read_to_end(&mut text).await.ok();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert_eq!(text.contains("access_token"), has_token, "{text}");
    }
}
