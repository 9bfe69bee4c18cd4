//! Access tokens without a key: what is exchanged for what, and what is refused.

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};

use super::client::{Answered, Client, message, simulator};
use crate::Simulator;

const MESSAGING: &str = "https://www.googleapis.com/auth/firebase.messaging";
const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// An exchange of a subject token, with parameters in the place of the right ones.
async fn exchange(client: &mut Client, subject_token: &str, changes: &[(&str, &str)]) -> Answered {
    let right = [
        (
            "audience",
            "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/issuer",
        ),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", subject_token),
        ("scope", MESSAGING),
    ];
    let changed = |name: &str| changes.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let pairs = right.map(|(name, value)| format!("{name}={}", changed(name).unwrap_or(value)));
    let request = Request::post("https://localhost/v1/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(pairs.join("&")));
    client.send(request.unwrap()).await.unwrap()
}

async fn impersonate(client: &mut Client, account: &str, token: &str, body: &Value) -> Answered {
    let path = format!("https://localhost/v1/projects/-/serviceAccounts/{account}:generateAccessToken");
    let request = Request::builder().method(Method::POST).uri(path);
    let request = request.header("authorization", format!("Bearer {token}"));
    client.send(request.body(Bytes::from(body.to_string())).unwrap()).await.unwrap()
}

fn text(answered: &Answered, name: &str) -> String {
    answered.json()[name].as_str().unwrap_or_else(|| panic!("{}", answered.text)).to_owned()
}

#[tokio::test]
async fn a_subject_token_is_exchanged_for_fcm_or_for_a_service_account() {
    let simulator = simulator().await;
    let account = simulator.settings().fcm.client_email.clone();
    let subject_token = simulator.issue_subject_token();
    let mut client = Client::fcm(&simulator).await;
    let direct = text(&exchange(&mut client, &subject_token, &[]).await, "access_token");
    let to = json!({"token": "t"});
    assert_eq!(client.send(message(&direct, &to)).await.unwrap().status, 200);

    let federated = exchange(&mut client, &subject_token, &[("scope", PLATFORM)]).await;
    let federated = text(&federated, "access_token");
    assert_eq!(client.send(message(&federated, &to)).await.unwrap().status, 401, "it is to impersonate");
    let wanted = json!({"scope": [MESSAGING], "lifetime": "3600s"});
    let given = impersonate(&mut client, &account, &federated, &wanted).await;
    assert!(text(&given, "expireTime").ends_with('Z'));
    let sent = client.send(message(&text(&given, "accessToken"), &to)).await.unwrap();
    assert_eq!(sent.status, 200);

    for (name, token, body, status) in [
        ("unknown@shop-1", &federated, &wanted, 403),
        (account.as_str(), &direct, &wanted, 401),
        (&account, &federated, &json!({"scope": [MESSAGING], "lifetime": "3601s"}), 400),
        (&account, &federated, &json!({"scope": ["other"], "lifetime": "60s"}), 400),
        (&account, &federated, &json!({"scope": [MESSAGING], "lifetime": "60s", "x": 1}), 400),
    ] {
        assert_eq!(impersonate(&mut client, name, token, body).await.status, status, "{name} {body}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_an_exchange_is_told_by_its_word() {
    let simulator = simulator().await;
    let subject_token = simulator.issue_subject_token();
    let mut client = Client::fcm(&simulator).await;
    for (name, value, word) in [
        ("audience", "//iam.googleapis.com/other", "invalid_target"),
        ("grant_type", "password", "unsupported_grant_type"),
        ("requested_token_type", "x", "invalid_request"),
        ("subject_token_type", "x", "invalid_request"),
        ("subject_token", "x", "invalid_grant"),
        ("scope", "x", "invalid_scope"),
    ] {
        let refused = exchange(&mut client, &subject_token, &[(name, value)]).await;
        assert_eq!((refused.status, refused.json()["error"].as_str()), (400, Some(word)), "{name}");
    }
    simulator.revoke_subject_token(&subject_token);
    let refused = exchange(&mut client, &subject_token, &[]).await;
    assert_eq!(refused.json()["error"], "invalid_grant");
    assert!(
        simulator.ledger().entries().iter().all(|entry| entry.body.is_none()),
        "no subject token is kept"
    );
}

/// Asks the metadata server with these headers and scopes.
async fn metadata(simulator: &Simulator, headers: &[(&str, &str)], scope: &str) -> reqwest::Response {
    let path = "/computeMetadata/v1/instance/service-accounts/default/token";
    let url = format!("{}{path}?scopes={scope}", simulator.metadata_endpoint().unwrap());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = headers.iter().fold(http.get(url), |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap()
}

#[tokio::test]
async fn the_metadata_server_answers_this_machine_as_long_as_its_account_is_good() {
    let simulator = simulator().await;
    let own = ("metadata-flavor", "Google");
    let given: Value = metadata(&simulator, &[own], MESSAGING).await.json().await.unwrap();
    let sent = message(given["access_token"].as_str().unwrap(), &json!({"token": "t"}));
    assert_eq!(Client::fcm(&simulator).await.send(sent).await.unwrap().status, 200);
    for (headers, scope, status) in [
        (&[][..], MESSAGING, 403),
        (&[own, ("x-forwarded-for", "10.0.0.1")], MESSAGING, 403),
        (&[own], "other", 400),
    ] {
        assert_eq!(metadata(&simulator, headers, scope).await.status(), status, "{headers:?} {scope}");
    }
    simulator.revoke_service_account(&simulator.settings().fcm.client_email);
    assert_eq!(metadata(&simulator, &[own], MESSAGING).await.status(), 404);
}
