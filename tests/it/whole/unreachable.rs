//! Providers that can't be reached, or that show a wrong certificate: nothing is sent, so no attempt is counted.

use pushpost_testkit::json::{apns_targets, assert_ended, assert_has, fcm_targets};
use std::net::SocketAddr;
use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, ConnectionFault, Provider, Rule};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use pushpost_testkit::service::{PRODUCTION, TestService, sent};

const DEVICES: usize = 60;

async fn notify(service: &TestService, targets: Vec<Value>) -> String {
    service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await
}

async fn assert_accepted_at_first(service: &TestService, id: &str) {
    let outcomes = service.notifications().outcomes(id).await;
    assert_eq!(outcomes.len(), DEVICES);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
}

/// The other lane goes on, the jobs of this one are as they were, and operators and the caller are told why.
async fn assert_only_apns_waits(service: &TestService, waiting: &str, why: &str) {
    let seen = service.lanes().until_state(PRODUCTION, "broken").await;
    assert!(seen["why"].as_str().unwrap().starts_with(why), "{seen}");
    let status = service.get(&format!("/v1/notifications/{waiting}")).await.body;
    let held = &status["held"][0];
    assert_has(held, &json!({"lane": PRODUCTION.to_string(), "state": "broken"}));
    assert!(held["why"].as_str().unwrap().starts_with(why), "{held}");
    let other = notify(service, fcm_targets("f", DEVICES)).await;
    assert_accepted_at_first(service, &other).await;
    for delivery in service.notifications().deliveries(waiting).await {
        assert_eq!(
            (&delivery["status"], &delivery["attempts"]),
            (&json!("pending"), &json!(0)),
            "{delivery}"
        );
    }
    assert_eq!(sent(&service.ledger()).len(), DEVICES, "nothing else was sent");
    assert_eq!(service.database.count("select count(*) from jobs where attempt <> 1 or class <> 0").await, 0);
}

async fn assert_mended(service: TestService, waiting: &str) {
    service.expect_log("lane stops sending");
    assert_accepted_at_first(&service, waiting).await;
    assert_eq!(sent(&service.ledger()).len(), 2 * DEVICES);
    service.stop().await;
}

const APNS: &str = "APPS__SHOP__APNS__ENDPOINT";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresolvable_host_leaves_its_jobs_unchanged() {
    let mut service =
        TestService::builder().config(APNS, "https://push.invalid:443").node(Role::All).build().await;
    let waiting = notify(&service, apns_targets("a", DEVICES)).await;
    assert_only_apns_waits(&service, &waiting, "name resolution failed").await;
    service.end_nodes().await;
    let mended = service.simulator.apns_endpoint();
    service.configure(APNS, &mended);
    service.node(Role::All).await;
    assert_mended(service, &waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_out_of_reach_of_a_provider_holds_nothing_that_another_node_sends() {
    let mut service =
        TestService::builder().config(APNS, "https://push.invalid:443").node(Role::All).build().await;
    let waiting = notify(&service, apns_targets("a", DEVICES)).await;
    service.lanes().until_state(PRODUCTION, "broken").await;
    let reached = service.simulator.apns_endpoint();
    service.configure(APNS, &reached);
    // Something is pending for as long as the lane is looked at.
    service.rule(Rule::provider(Provider::Apns, Action::Accept).delayed(Duration::from_secs(9)).times(1));
    service.node(Role::Worker).await;
    let seen = service.lanes().until_state(PRODUCTION, "running").await;
    assert_eq!(seen["why"], Value::Null);
    let status = service.get(&format!("/v1/notifications/{waiting}")).await.body;
    // From the first node's outage to the start of the second node, which sends.
    assert_has(&status["held"], &json!([{"state": "broken", "to": "<time>"}]));
    assert_accepted_at_first(&service, &waiting).await;
    let broken = "select count(*) from lane_reports where state = 2";
    assert_eq!(service.database.count(broken).await, 1, "the first node is as far away as before");
    service.stop().await;
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
async fn a_port_that_begins_to_listen_gets_the_waiting_jobs() {
    let mut service = TestService::builder().build().await;
    // The port is bound, so no other process gets it; but nothing listens.
    let port = TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    service.configure(APNS, &format!("https://localhost:{}", port.local_addr().unwrap().port()));
    service.node(Role::All).await;
    let waiting = notify(&service, apns_targets("a", DEVICES)).await;
    assert_only_apns_waits(&service, &waiting, "connect failed").await;
    let _relay = relay(port.listen(1024).unwrap(), service.simulator.addresses().apns);
    assert_mended(service, &waiting).await;
}

async fn assert_survived(fault: ConnectionFault, why: &str) {
    let service = TestService::start().await;
    service.rule(Rule::provider(Provider::Apns, Action::Connection { fault }));
    let waiting = notify(&service, apns_targets("a", DEVICES)).await;
    assert_only_apns_waits(&service, &waiting, why).await;
    service.simulator.clear_rules();
    assert_mended(service, &waiting).await;
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
async fn a_handshake_that_never_ends_times_out_within_seconds() {
    assert_survived(ConnectionFault::Silence, "TLS failed").await;
}
