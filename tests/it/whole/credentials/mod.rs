//! Credentials that are replaced, refused or withdrawn while the service runs: no job is dropped, no attempt counted and no
//! token pruned (docs/queue.md#credential-rotation).

mod candidates;
mod fcm_apns_key;
mod pem;
mod refusals;
mod renewal;
mod suspensions;
mod workload;

use pushpost_testkit::json::assert_ended;
use std::collections::BTreeSet;

use pushpost_simulator::{Entry, Ledger, Provider, Settings};
use serde_json::{Value, json};

use pushpost_testkit::service::{TestService, sent};
use pushpost_testkit::wait::WAIT_MAX;

pub(crate) const SUSPENDED: &str = "select count(*) from lanes where suspended_fingerprint is not null";
pub(crate) const QUARANTINED: &str = "select count(*) from devices where quarantined_at is not null";
const NEW_KEY: &str = "NEW4567890";
const NEW_ACCOUNT: &str = "second@shop-1.iam.gserviceaccount.com";

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

/// Every device of it was accepted at its first attempt.
async fn assert_untouched(service: &TestService, id: &str, devices: usize) {
    let outcomes = service.notifications().outcomes(id).await;
    assert_eq!(outcomes.len(), devices);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
}

/// What one provider was shown with notifications that it took, in order.
fn shown(ledger: &Ledger, provider: Provider) -> Vec<String> {
    let taken = sent(ledger).into_iter().filter(|entry| entry.provider == provider && entry.accepted);
    taken.filter_map(|entry: Entry| entry.credential).collect()
}

/// Waits until a provider has taken two notifications with a credential that it had not been shown before: the first is
/// the trial, the second comes when that is over.
async fn until_renewed(service: &TestService, provider: Provider, before: &BTreeSet<String>) {
    let renewed = |ledger: &Ledger| {
        shown(ledger, provider).iter().filter(|credential| !before.contains(*credential)).count() >= 2
    };
    assert!(service.ledger().wait_until(WAIT_MAX, renewed).await, "{provider:?} gets the new credential");
}

/// A second key of the team stands in the configuration.
fn write_new_key(service: &TestService) {
    let pem = service.simulator.issue_provider_key(NEW_KEY).unwrap();
    service.write("new.p8", &pem);
    configure_key(service, "new.p8", NEW_KEY);
}

fn configure_key(service: &TestService, file: &str, id: &str) {
    let text = service.read("pushpost.toml");
    let lines = text.lines().map(|line| match line.split_once(" = ").map(|(key, _)| key) {
        Some("key_file") => format!("key_file = {file:?}\n"),
        Some("key_id") => format!("key_id = {id:?}\n"),
        _ => format!("{line}\n"),
    });
    service.write("pushpost.toml", &lines.collect::<String>());
}

/// A second service account of the project stands in the place of the first.
fn write_new_account(service: &TestService) {
    service.write("service-account.json", &service.simulator.issue_service_account(NEW_ACCOUNT));
}

/// A service with one node, which reads its configuration again only when it is asked to.
async fn unhurried(settings: Settings) -> TestService {
    TestService::builder()
        .simulator(settings)
        .config("SERVER__RELOAD_INTERVAL", "1h")
        .node(pushpost::runtime::Role::All)
        .build()
        .await
}
