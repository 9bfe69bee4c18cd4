//! The APNs client against a test server: provider tokens, resends, and answers that retire a connection.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::domain::{Certainty, DeviceToken, LaneCause, MisconfigurationScope, Reason};
use crate::provider::apns;
use crate::provider::fake::{self, Fake, Seen, attempt};
use crate::settings::{CaFile, Endpoint, Secret};

fn settings() -> ApnsSettings {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    ApnsSettings {
        key: Secret::inline(key.serialize_pem()),
        key_id: "ABC123DEFG".to_owned(),
        team_id: "DEF123GHIJ".to_owned(),
        topic: "com.example.shop".to_owned(),
        environment: apns::PRODUCTION,
        endpoint: None,
        sandbox_endpoint: None,
        ca_file: None,
    }
}

fn client_at(endpoint: &str) -> ApnsClient {
    let endpoint = Some(Endpoint::parse(endpoint).unwrap());
    let settings = ApnsSettings { endpoint, ca_file: Some(fake::ca()), ..settings() };
    ApnsClient::new(&settings, apns::PRODUCTION, 1, None).unwrap()
}

fn client(fake: &Fake) -> ApnsClient {
    client_at(&fake.url())
}

fn token() -> DeviceToken {
    DeviceToken::parse(apns::PLATFORM, "abcdef").unwrap()
}

fn prepared(client: &ApnsClient) -> ApnsMessage {
    let content = Content { title: Some("Hi".to_owned()), ..Content::default() };
    client.prepare(NotificationId(Uuid::from_u128(7)), &content)
}

fn jwt(seen: &Seen) -> String {
    seen.headers["authorization"].to_str().unwrap().to_owned()
}

const ACCEPTED: Outcome = Outcome::Accepted { provider_id: None };

#[tokio::test]
async fn an_accepted_push_carries_the_prepared_body_and_headers() {
    let fake = fake::serve(|_| Some((200, String::new()))).await;
    let (client, token) = (client(&fake), token());
    let prepared = prepared(&client);
    for _ in 0..2 {
        assert_eq!(client.send(&prepared, &attempt(&token)).await, ACCEPTED);
    }
    let seen = fake.seen();
    assert_eq!(seen[0].path, "/3/device/abcdef");
    assert_eq!(seen[0].body, prepared.body());
    assert_eq!(seen[0].headers["apns-topic"], "com.example.shop");
    assert_eq!(seen[0].headers["apns-expiration"], (fake::now().timestamp() + 3600).to_string().as_str());
    assert_eq!((seen[1].connection, jwt(&seen[1])), (0, jwt(&seen[0])), "one connection, one JWT");
    client.shutdown().await;
}

#[tokio::test]
async fn concurrent_pushes_share_one_connection_and_one_jwt() {
    let fake = fake::serve(|_| Some((200, String::new()))).await;
    let (client, token) = (client(&fake), token());
    let prepared = prepared(&client);
    let sent = (0..30).map(|_| async { client.send(&prepared, &attempt(&token)).await });
    let outcomes = futures_util::future::join_all(sent).await;
    assert!(outcomes.iter().all(|outcome| *outcome == ACCEPTED));
    assert!(fake.seen().iter().all(|seen| jwt(seen) == jwt(&fake.seen()[0])));
}

#[tokio::test]
async fn an_answer_is_classified_with_the_topic_of_its_request() {
    let fake = fake::serve(|seen| {
        let reason = if seen.path.ends_with("00") { "BadDeviceToken" } else { "TopicDisallowed" };
        Some((400, format!(r#"{{"reason":"{reason}"}}"#)))
    })
    .await;
    let client = client(&fake);
    let dead = DeviceToken::parse(apns::PLATFORM, "ab00").unwrap();
    let (reason, certainty) = (Reason::new("BadDeviceToken"), Certainty::Doubtful);
    let expected = Outcome::TokenDead { reason, since: None, certainty };
    assert_eq!(client.send(&prepared(&client), &attempt(&dead)).await, expected);
    let reason = Reason::new("TopicDisallowed");
    let expected = Outcome::Misconfigured { reason: reason.clone(), about: MisconfigurationScope::Topic };
    assert_eq!(client.send(&prepared(&client), &attempt(&token())).await, expected);
    let content = json!({"title": "Hi", "apns": {"headers": {"apns-push-type": "voip"}}});
    let content: Content = serde_json::from_value(content).unwrap();
    let voip = client.prepare(NotificationId(Uuid::from_u128(7)), &content);
    assert_eq!(client.send(&voip, &attempt(&token())).await, Outcome::Rejected { reason });
}

#[tokio::test]
async fn an_expired_jwt_is_replaced_on_another_connection_and_the_push_sent_once_more() {
    let first = Arc::new(std::sync::Mutex::new(None));
    let outdated = first.clone();
    let fake = fake::serve(move |seen| {
        let late = seen.headers["apns-expiration"] != (fake::now().timestamp() + 3600).to_string().as_str();
        let mut outdated = outdated.lock().unwrap();
        let outdated = outdated.get_or_insert_with(|| jwt(seen));
        if late && *outdated == jwt(seen) {
            return Some((403, r#"{"reason":"ExpiredProviderToken"}"#.to_owned()));
        }
        Some((200, String::new()))
    })
    .await;
    let (client, token) = (client(&fake), token());
    let prepared = prepared(&client);
    assert_eq!(client.send(&prepared, &attempt(&token)).await, ACCEPTED);
    let mut later = attempt(&token);
    later.now += TimeDelta::hours(2);
    later.expires_at += TimeDelta::hours(2);
    assert_eq!(client.send(&prepared, &later).await, ACCEPTED);
    let connections: Vec<_> = fake.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 1]);
}

#[tokio::test]
async fn a_young_jwt_that_is_reported_as_expired_is_not_replaced() {
    let fake = fake::serve(|_| Some((403, r#"{"reason":"ExpiredProviderToken"}"#.to_owned()))).await;
    let (client, token) = (client(&fake), token());
    let reason = Reason::new("ExpiredProviderToken");
    let expected = Outcome::Misconfigured { reason, about: MisconfigurationScope::Credential };
    assert_eq!(client.send(&prepared(&client), &attempt(&token)).await, expected);
    assert_eq!(fake.seen().len(), 1);
    client.send(&prepared(&client), &attempt(&token)).await;
    assert_eq!(fake.seen()[1].connection, 1, "the connection of an expired JWT is not used again");
}

#[tokio::test]
async fn a_closed_port_is_an_outage_of_the_lane() {
    let (port, _held) = fake::closed_port();
    let client = client_at(&format!("https://localhost:{port}"));
    let outcome = client.send(&prepared(&client), &attempt(&token())).await;
    assert!(matches!(outcome, Outcome::RetryLane { cause: LaneCause::Outage, .. }), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_that_is_late_makes_the_outcome_unknown() {
    let fake = fake::serve(|seen| seen.path.ends_with("abcdef").then(|| (200, String::new()))).await;
    let (client, silent) = (client(&fake), DeviceToken::parse(apns::PLATFORM, "00").unwrap());
    // The connection is open already, so the deadline can only pass while the push is in flight.
    assert_eq!(client.send(&prepared(&client), &attempt(&token())).await, ACCEPTED);
    let mut short = attempt(&silent);
    short.deadline = Instant::now() + Duration::from_millis(50);
    assert_eq!(client.send(&prepared(&client), &short).await, Outcome::Unknown);
}

#[test]
fn invalid_settings_are_refused() {
    let refused = |settings| ApnsClient::new(&settings, apns::SANDBOX, 1, None).err().unwrap();
    for topic in ["", "a\nb"] {
        let error = refused(ApnsSettings { topic: topic.to_owned(), ..settings() });
        assert!(matches!(error, SetupError::Setting(_)), "{error}");
        assert_eq!(error.to_string(), "topic: not a bundle id");
    }
    let error = refused(ApnsSettings { key: Secret::inline(""), ..settings() });
    assert!(matches!(error, SetupError::Credential { .. }), "{error}");
    let ca_file = Some(CaFile { path: "/nonexistent".into(), pem: String::new() });
    assert!(matches!(refused(ApnsSettings { ca_file, ..settings() }), SetupError::Tls(_)));
}
