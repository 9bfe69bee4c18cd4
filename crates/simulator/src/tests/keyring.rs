//! Keys and accounts come and go while the simulator runs.

use serde_json::Value;

use super::client::{Client, TOKEN, provider_token, push, signed_token, simulator, token_request};

#[tokio::test]
async fn a_second_provider_key_is_good_beside_the_first_until_either_is_revoked() {
    let simulator = simulator().await;
    let pem = simulator.issue_provider_key("SECOND7890").unwrap();
    let first = provider_token(&simulator, 0);
    let second = signed_token(&pem, "SECOND7890", "DEF123GHIJ", 0);
    let mixed = signed_token(&pem, "ABC123DEFG", "DEF123GHIJ", 0);
    let (mut of_first, mut of_second) = (Client::apns(&simulator).await, Client::apns(&simulator).await);
    assert_eq!(of_first.send(push(&first, TOKEN)).await.unwrap().status, 200);
    assert_eq!(of_second.send(push(&second, TOKEN)).await.unwrap().status, 200);
    let refused = Client::apns(&simulator).await.send(push(&mixed, TOKEN)).await.unwrap();
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (403, Some("InvalidProviderToken")));

    simulator.revoke_provider_key("ABC123DEFG");
    let refused = of_first.send(push(&first, TOKEN)).await.unwrap();
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (403, Some("InvalidProviderToken")));
    assert_eq!(of_second.send(push(&second, TOKEN)).await.unwrap().status, 200);
    let shown = simulator.ledger().entries().into_iter().map(|entry| entry.credential.unwrap());
    let shown: Vec<_> = shown.collect();
    assert_eq!((&shown[0], &shown[1]), (&shown[3], &shown[4]));
    assert_ne!(shown[0], shown[1]);
}

#[tokio::test]
async fn a_service_account_gets_tokens_from_when_it_is_made_until_it_is_revoked() {
    const SECOND: &str = "second@shop-1.iam.gserviceaccount.com";
    let simulator = simulator().await;
    let mut client = Client::fcm(&simulator).await;
    let of_second = |claims: &mut Value| claims["iss"] = SECOND.into();
    assert_eq!(client.send(token_request(&simulator, of_second)).await.unwrap().status, 400);
    let file: Value = serde_json::from_str(&simulator.issue_service_account(SECOND)).unwrap();
    assert_eq!((&file["client_email"], &file["project_id"]), (&SECOND.into(), &"shop-1".into()));
    assert_eq!(client.send(token_request(&simulator, of_second)).await.unwrap().status, 200);
    assert_eq!(client.send(token_request(&simulator, |_| {})).await.unwrap().status, 200);
    simulator.revoke_service_account(SECOND);
    let refused = client.send(token_request(&simulator, of_second)).await.unwrap();
    assert_eq!((refused.status, refused.json()["error"].as_str()), (400, Some("invalid_grant")));
    assert_eq!(client.send(token_request(&simulator, |_| {})).await.unwrap().status, 200);
}
