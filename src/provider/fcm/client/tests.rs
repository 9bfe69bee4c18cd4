//! The FCM client against a test server: access tokens, resends, and outcomes that concern the credential or the lane.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::{DeviceToken, Reason};
use crate::provider::fake::{self, Answer, Fake, Seen, attempt};
use crate::provider::fcm::{self, GoogleCredential};
use crate::settings::{Endpoint, Secret};

fn private_key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem())
}

async fn client_with(token_uri: String, endpoint: String) -> FcmClient {
    let account = json!({
        "type": "service_account", "project_id": "shop-1", "private_key": private_key(),
        "client_email": "push@shop-1.iam.gserviceaccount.com", "token_uri": token_uri
    });
    let settings = FcmSettings {
        credential: GoogleCredential::ServiceAccount(Secret::inline(account.to_string())),
        project_id: "shop-1".to_owned(),
        channel: Some("default".to_owned()),
        messages_per_minute: 600_000,
        endpoint: Some(Endpoint::parse(&endpoint).unwrap()),
        ca_file: Some(fake::ca()),
    };
    FcmClient::new(&settings, 1, None).await.unwrap()
}

/// A server for FCM and its token endpoint. The tokens are `t0`, `t1` and so on.
async fn google(fcm: impl Fn(&Seen) -> Answer + Clone + Send + Sync + 'static) -> Fake {
    let issued = Arc::new(AtomicUsize::new(0));
    fake::serve(move |seen| match seen.path.as_str() {
        "/token" => {
            let token = format!("t{}", issued.fetch_add(1, Ordering::SeqCst));
            let answer = json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"});
            Some((200, answer.to_string()))
        }
        _ => fcm(seen),
    })
    .await
}

async fn client(fake: &Fake) -> FcmClient {
    client_with(format!("{}/token", fake.url()), fake.url()).await
}

fn token() -> DeviceToken {
    DeviceToken::parse(fcm::PLATFORM, "fcm-token-7").unwrap()
}

async fn send(client: &FcmClient) -> Outcome {
    let content = Content { title: Some("Hi".to_owned()), ..Content::default() };
    let prepared = client.prepare(NotificationId(Uuid::from_u128(7)), &content);
    client.send(&prepared, &attempt(&token())).await
}

fn accepted() -> Answer {
    Some((200, r#"{"name":"projects/shop-1/messages/1"}"#.to_owned()))
}

fn unauthenticated() -> Answer {
    Some((401, r#"{"error":{"code":401,"status":"UNAUTHENTICATED"}}"#.to_owned()))
}

fn misconfigured(reason: &str) -> Outcome {
    Outcome::Misconfigured { reason: Reason::new(reason), about: MisconfigurationScope::Credential }
}

fn tokens_fetched(fake: &Fake) -> usize {
    fake.seen().iter().filter(|seen| seen.path == "/token").count()
}

#[tokio::test]
async fn an_accepted_push_carries_the_access_token() {
    let fake = google(|_| accepted()).await;
    let client = client(&fake).await;
    let expected = Outcome::Accepted { provider_id: Some("projects/shop-1/messages/1".to_owned()) };
    for _ in 0..2 {
        assert_eq!(send(&client).await, expected);
    }
    assert_eq!(tokens_fetched(&fake), 1);
    let seen = fake.seen();
    let grant = std::str::from_utf8(&seen[0].body).unwrap();
    assert!(grant.starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="));
    let push = &seen[1];
    assert_eq!(push.path, "/v1/projects/shop-1/messages:send");
    assert_eq!(push.headers["authorization"], "Bearer t0");
    assert_eq!(push.headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&push.body).unwrap();
    assert_eq!(body["message"]["token"], "fcm-token-7");
    assert_eq!(body["message"]["android"]["notification"]["channel_id"], "default");
    client.shutdown().await;
}

#[tokio::test]
async fn a_refused_access_token_is_replaced_and_the_push_sent_once_more() {
    let fake = google(|seen| match seen.headers["authorization"].to_str() {
        Ok("Bearer t0") => unauthenticated(),
        _ => accepted(),
    })
    .await;
    let client = client(&fake).await;
    assert!(matches!(send(&client).await, Outcome::Accepted { .. }));
    assert_eq!(tokens_fetched(&fake), 2);
}

#[tokio::test]
async fn tokens_that_are_refused_again_are_a_misconfiguration() {
    let fake = google(|_| unauthenticated()).await;
    let client = client(&fake).await;
    assert_eq!(send(&client).await, misconfigured("UNAUTHENTICATED"));
    assert_eq!(fake.seen().len(), 4, "two tokens, two tries");
}

#[tokio::test]
async fn an_account_that_the_token_endpoint_refuses_is_a_misconfiguration() {
    let fake =
        fake::serve(|_| Some((400, r#"{"error":"invalid_grant","error_description":"x"}"#.to_owned()))).await;
    assert_eq!(send(&client(&fake).await).await, misconfigured("invalid_grant"));
}

#[tokio::test]
async fn a_failing_token_endpoint_is_an_outage_of_the_lane() {
    let outage = |outcome: Outcome| {
        assert!(matches!(outcome, Outcome::RetryLane { cause: LaneCause::Outage, .. }), "{outcome:?}");
    };
    let fake = fake::serve(|_| Some((503, "<html>".to_owned()))).await;
    outage(send(&client(&fake).await).await);
    let (port, _held) = fake::closed_port();
    let closed = format!("https://localhost:{port}/token");
    outage(send(&client_with(closed, fake.url()).await).await);
}

#[tokio::test]
async fn a_closed_port_is_an_outage_of_the_lane() {
    let fake = google(|_| accepted()).await;
    let (port, _held) = fake::closed_port();
    let closed = format!("https://localhost:{port}");
    let client = client_with(format!("{}/token", fake.url()), closed).await;
    let outcome = send(&client).await;
    assert!(matches!(outcome, Outcome::RetryLane { cause: LaneCause::Outage, .. }), "{outcome:?}");
}
