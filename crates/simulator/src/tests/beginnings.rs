//! Connections that are at fault from their beginning.

use std::time::Duration;

use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::client::{
    Client, PATIENCE, TOKEN, access_token, connector, message, provider_token, push, simulator,
};
use crate::{Provider, Rule, Simulator};

fn rule(simulator: &Simulator, fault: &str) {
    let rule = json!({"provider": "apns", "times": 1, "action": {"type": "connection", "fault": fault}});
    simulator.add_rule(serde_json::from_value::<Rule>(rule).unwrap());
}

/// What the client's TLS says.
async fn refusal(simulator: &Simulator) -> String {
    let socket = TcpStream::connect(simulator.addresses().apns).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = connector(simulator, b"h2").connect(name, socket);
    tokio::time::timeout(PATIENCE, handshake).await.unwrap().unwrap_err().to_string()
}

async fn assert_mended(simulator: &Simulator) {
    let mut client = Client::apns(simulator).await;
    assert_eq!(client.send(push(&provider_token(simulator, 0), TOKEN)).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_certificate_is_another_hosts_or_of_an_unknown_authority() {
    for (fault, told) in [("wrong_name", "NotValidForName"), ("unknown_authority", "UnknownIssuer")] {
        let simulator = simulator().await;
        rule(&simulator, fault);
        let error = refusal(&simulator).await;
        let other = told == "NotValidForName" && error.contains("not valid for name");
        assert!(error.contains(told) || other, "{fault}: {error}");
        assert_mended(&simulator).await;
    }
}

#[tokio::test]
async fn hangs_up_or_says_nothing_at_all() {
    let simulator = simulator().await;
    rule(&simulator, "hang_up");
    rule(&simulator, "silence");
    let mut ended = TcpStream::connect(simulator.addresses().apns).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, ended.read(&mut [0])).await.unwrap().unwrap(), 0);
    let mut silent = TcpStream::connect(simulator.addresses().apns).await.unwrap();
    let read = tokio::time::timeout(Duration::from_millis(100), silent.read(&mut [0])).await;
    assert!(read.is_err(), "{read:?}");
    assert_mended(&simulator).await;
}

#[tokio::test]
async fn a_window_of_zero_lets_no_body_through() {
    let simulator = simulator().await;
    let token = access_token(&simulator).await;
    let fault =
        json!({"provider": "fcm", "times": 1, "action": {"type": "connection", "fault": "zero_window"}});
    simulator.add_rule(serde_json::from_value::<Rule>(fault).unwrap());
    let mut client = Client::fcm(&simulator).await;
    // Before the peer's SETTINGS arrive, its window is the default.
    assert!(client.sees_limit(100).await);
    let sent = client.send(message(&token, &json!({"token": "t"})));
    assert!(tokio::time::timeout(Duration::from_millis(300), sent).await.is_err(), "it is answered");
    assert_eq!(simulator.ledger().accepted_count(), 0);
    let mut another = Client::fcm(&simulator).await;
    assert_eq!(another.send(message(&token, &json!({"token": "t"}))).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_fault_of_connections_is_none_of_requests() {
    let simulator = simulator().await;
    let mut client = Client::apns(&simulator).await;
    let jwt = provider_token(&simulator, 0);
    rule(&simulator, "hang_up");
    assert_eq!(client.send(push(&jwt, TOKEN)).await.unwrap().status, 200);
    let named = Rule {
        name: Some("off".to_owned()),
        ..Rule::provider(Provider::Apns, crate::Action::answer(503, "Shutdown"))
    };
    simulator.add_rule(named);
    assert_eq!(client.send(push(&jwt, TOKEN)).await.unwrap().status, 503);
    simulator.remove_rules("off");
    assert_eq!(client.send(push(&jwt, TOKEN)).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_projects_quota_counts_and_says_how_long_to_wait() {
    let simulator = simulator().await;
    let token = access_token(&simulator).await;
    simulator.set_fcm_quota(2, Duration::from_millis(5500));
    let mut client = Client::fcm(&simulator).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let answer = client.send(message(&token, &json!({"token": "t"}))).await.unwrap();
        seen.push((answer.status, answer.header("retry-after").to_owned()));
    }
    let (refused, wait) = seen.pop().unwrap();
    assert_eq!(seen, [(200, String::new()), (200, String::new())]);
    // What is left of the window, rounded up.
    let wait: u64 = wait.parse().unwrap();
    assert!(refused == 429 && (1..=6).contains(&wait), "{refused}, {wait} s");
    assert_eq!(simulator.ledger().accepted_count(), 2);
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(client.send(message(&token, &json!({"token": "t"}))).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_answer_may_be_no_text() {
    let simulator = simulator().await;
    let rule = json!({"action": {"type": "answer", "status": 502, "content_type": "text/html", "body_base64": "PABo/w=="}});
    simulator.add_rule(serde_json::from_value(rule).unwrap());
    let mut client = Client::apns(&simulator).await;
    let response = client.open(push(&provider_token(&simulator, 0), TOKEN)).await.unwrap();
    let (head, mut body) = response.await.unwrap().into_parts();
    assert_eq!((head.status.as_u16(), &head.headers["content-type"]), (502, &"text/html".parse().unwrap()));
    assert_eq!(body.data().await.unwrap().unwrap(), &b"<\0h\xff"[..]);
}
