//! Providers that can't be reached, or are not who they should be: nothing is sent, so nothing is burnt.

use std::net::SocketAddr;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, ConnectionFault, Provider, Rule, Settings};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::stage::{PRODUCTION, Stage, apns_targets, assert_ended, fcm_targets, sent};
use crate::service::assert_has;

const DEVICES: usize = 60;

async fn notify(stage: &Stage, targets: Vec<Value>) -> String {
    stage.notify(json!({"to": {"tokens": targets}, "title": "Hi"})).await
}

async fn assert_accepted_at_first(stage: &Stage, id: &str) {
    let outcomes = stage.outcomes(id).await;
    assert_eq!(outcomes.len(), DEVICES);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
}

/// The other lane goes on, the jobs of this one are as they were, and operators and the caller are told why.
async fn assert_only_apns_waits(stage: &Stage, waiting: &str, why: &str) {
    let seen = stage.until_lane(PRODUCTION, "broken").await;
    assert!(seen["why"].as_str().unwrap().starts_with(why), "{seen}");
    let status = stage.get(&format!("/v1/notifications/{waiting}")).await.body;
    let held = &status["held"][0];
    assert_has(held, &json!({"lane": PRODUCTION.to_string(), "state": "broken"}));
    assert!(held["why"].as_str().unwrap().starts_with(why), "{held}");
    let other = notify(stage, fcm_targets("f", DEVICES)).await;
    assert_accepted_at_first(stage, &other).await;
    for delivery in stage.deliveries(waiting).await {
        assert_eq!(
            (&delivery["status"], &delivery["attempts"]),
            (&json!("pending"), &json!(0)),
            "{delivery}"
        );
    }
    assert_eq!(sent(&stage.ledger()).len(), DEVICES, "nothing else was sent");
    assert_eq!(stage.count("select count(*) from jobs where attempt <> 1 or class <> 0").await, 0);
}

async fn assert_mended(stage: Stage, waiting: &str) {
    assert_accepted_at_first(&stage, waiting).await;
    assert_eq!(sent(&stage.ledger()).len(), 2 * DEVICES);
    stage.stop().await;
}

const APNS: &str = "APPS__SHOP__APNS__ENDPOINT";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_does_not_resolve_leaves_its_jobs_as_they_are() {
    let mut stage = Stage::set(Settings::default()).await;
    stage.configure(APNS, "https://push.invalid:443");
    stage.node(Role::All).await;
    let waiting = notify(&stage, apns_targets("a", DEVICES)).await;
    assert_only_apns_waits(&stage, &waiting, "name resolution failed").await;
    stage.end_nodes().await;
    let mended = stage.simulator.apns_endpoint();
    stage.configure(APNS, &mended);
    stage.node(Role::All).await;
    assert_mended(stage, &waiting).await;
}

/// Passes everything on, from now on.
fn relay(listener: TcpListener, to: SocketAddr) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut each = JoinSet::new();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            each.spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_begins_to_listen_gets_what_has_waited() {
    let mut stage = Stage::set(Settings::default()).await;
    // Bound, it is nobody else's; but nobody listens.
    let port = TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    stage.configure(APNS, &format!("https://localhost:{}", port.local_addr().unwrap().port()));
    stage.node(Role::All).await;
    let waiting = notify(&stage, apns_targets("a", DEVICES)).await;
    assert_only_apns_waits(&stage, &waiting, "connect failed").await;
    let _relay = relay(port.listen(1024).unwrap(), stage.simulator.addresses().apns);
    assert_mended(stage, &waiting).await;
}

async fn assert_survived(fault: ConnectionFault, why: &str) {
    let stage = Stage::start().await;
    stage.rule(Rule::provider(Provider::Apns, Action::Connection { fault }));
    let waiting = notify(&stage, apns_targets("a", DEVICES)).await;
    assert_only_apns_waits(&stage, &waiting, why).await;
    stage.simulator.clear_rules();
    assert_mended(stage, &waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_host_is_not_sent_to() {
    assert_survived(
        ConnectionFault::WrongName,
        r#"TLS failed: invalid peer certificate: certificate not valid for name "localhost""#,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_unknown_authority_is_not_sent_to() {
    assert_survived(ConnectionFault::UnknownAuthority, "TLS failed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hangs_up_is_tried_again() {
    assert_survived(ConnectionFault::HangUp, "TLS failed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_never_ends_costs_seconds() {
    assert_survived(ConnectionFault::Silence, "TLS failed").await;
}
