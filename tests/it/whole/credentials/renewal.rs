//! A new credential replaces the old one while sending.

use pushpost_testkit::json::{apns_targets, fcm_targets};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::{Entry, Provider, Settings};

use super::{
    NEW_KEY, QUARANTINED, SUSPENDED, assert_untouched, hello, shown, unhurried, until_renewed,
    write_new_account, write_new_key,
};
use pushpost_testkit::service::{TestService, sent};

const BOTH: [Provider; 2] = [Provider::Apns, Provider::Fcm];
/// Notifications that are sent at least, each to one device of each provider.
const LEAST: usize = 300;

fn slow() -> Settings {
    Settings { latency: Duration::from_millis(20), ..Settings::default() }
}

/// Posts until it is told to stop, and some more.
async fn post(service: &TestService, stop: &AtomicBool) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < LEAST || !stop.swap(false, Ordering::Relaxed) {
        let number = ids.len();
        let mut targets = apns_targets(&format!("{number:08x}"), 1);
        targets.extend(fcm_targets(&format!("f{number}-"), 1));
        ids.push(service.notifications().send(hello(targets)).await);
    }
    ids
}

/// Waits until both providers get something new, then withdraws what was there before.
async fn until_replaced(service: &TestService, before: &[BTreeSet<String>; 2]) {
    for (provider, before) in BOTH.iter().zip(before) {
        until_renewed(service, *provider, before).await;
    }
    let first = service.simulator.settings();
    service.simulator.revoke_provider_key(&first.apns.key_id);
    service.simulator.revoke_service_account(&first.fcm.client_email);
}

async fn assert_nothing_happened(service: TestService, ids: &[String]) {
    for id in ids {
        assert_untouched(&service, id, 2).await;
    }
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    assert_eq!(service.database.count(QUARANTINED).await, 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_replaced_while_hundreds_are_sent_and_broken_files_change_nothing() {
    let service = unhurried(slow()).await;
    let renewed = AtomicBool::new(false);
    let renew = async {
        service.until_received(100).await;
        let before = BOTH.map(|provider| shown(&service.ledger(), provider).into_iter().collect());
        let (account, toml) = (service.read("service-account.json"), service.read("pushpost.toml"));

        service.write("service-account.json", &account[..account.len() / 2]);
        let said = service.reload().await.unwrap_err();
        assert!(said.contains("apps.shop.fcm.service_account_file: is no service account"), "{said}");
        service.write(
            "service-account.json",
            &account.replace("BEGIN PRIVATE KEY-----\\nMI", "BEGIN PRIVATE KEY-----\\nXX"),
        );
        let said = service.reload().await.unwrap_err();
        assert!(said.contains("lane shop/fcm can't be set up"), "{said}");
        service.write("pushpost.toml", &toml.replace("[server]", "[server]\nlisten = 5\n["));
        let said = service.reload().await.unwrap_err();
        assert!(said.contains("pushpost.toml:4"), "{said}");
        service.write("pushpost.toml", &toml);
        service.write("service-account.json", &account);
        service.reload().await.unwrap();

        write_new_key(&service);
        write_new_account(&service);
        service.reload().await.unwrap();
        until_replaced(&service, &before).await;
        renewed.store(true, Ordering::Relaxed);
    };
    let (ids, ()) = tokio::join!(post(&service, &renewed), renew);
    let later =
        service.notifications().send(hello([apns_targets("e", 50), fcm_targets("e", 50)].concat())).await;
    assert_untouched(&service, &later, 100).await;
    service.expect_log("the configuration was not taken over");
    assert_nothing_happened(service, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_change_are_found_without_a_signal() {
    let service = TestService::builder()
        .simulator(slow())
        .config("SERVER__RELOAD_INTERVAL", "100ms")
        .node(Role::All)
        .build()
        .await;
    let renewed = AtomicBool::new(false);
    let renew = async {
        service.until_received(100).await;
        let before = BOTH.map(|provider| shown(&service.ledger(), provider).into_iter().collect());
        write_new_key(&service);
        write_new_account(&service);
        until_replaced(&service, &before).await;
        renewed.store(true, Ordering::Relaxed);
    };
    let (ids, ()) = tokio::join!(post(&service, &renewed), renew);
    assert_nothing_happened(service, &ids).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefetched_jobs_are_sent_with_the_new_topic() {
    let mut settings = slow();
    settings.apns.bundles.push("com.example.other".to_owned());
    let mut service =
        TestService::builder().simulator(settings).config("SERVER__RELOAD_INTERVAL", "1h").build().await;
    // One after the other, so that most of them wait, prepared, in the lane.
    service.configure("DELIVERY__MAX_IN_FLIGHT", "2");
    service.node(Role::All).await;
    let id = service.notifications().send(hello(apns_targets("a", 400))).await;
    service.until_received(20).await;
    service.edit("topic = \"com.example.shop\"", "topic = \"com.example.other\"");
    service.reload().await.unwrap();
    assert_untouched(&service, &id, 400).await;
    let entries = sent(&service.ledger());
    let topics: Vec<_> = entries.iter().filter_map(|entry| entry.header("apns-topic")).collect();
    let first_new = topics.iter().position(|topic| *topic == "com.example.other").unwrap();
    // Beside the trial, one other device at most was under way with the old one, and one more had begun.
    let old = topics[first_new..].iter().filter(|topic| **topic == "com.example.shop").count();
    assert!(old <= 100, "{old} with the old topic after the first with the new");
    assert!(entries.iter().all(|entry| entry.accepted));
    // One connection each: what a sender is closed with must not show up as a fault.
    let (of_old, of_new): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| entry.header("apns-topic") == Some("com.example.shop"));
    let connections =
        |entries: Vec<&Entry>| -> BTreeSet<u64> { entries.iter().map(|entry| entry.connection).collect() };
    assert!(connections(of_old).is_disjoint(&connections(of_new)));
    service.expect_log("configuration has changes that take a restart");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_lane_goes_on_with_a_new_key_at_once_and_other_nodes_know() {
    let service = unhurried(Settings::default()).await;
    service.simulator.revoke_provider_key(&service.simulator.settings().apns.key_id);
    let waiting = service.notifications().send(hello(apns_targets("a", 300))).await;
    service.database.until_count(SUSPENDED, 1).await;
    service.database.until_count("select count(*) from jobs where node_id is not null", 0).await;
    write_new_key(&service);
    service.reload().await.unwrap();
    // A lane that is suspended probes once a minute: it does not wait for that.
    let resumed =
        tokio::time::timeout(Duration::from_secs(50), assert_untouched(&service, &waiting, 300)).await;
    assert!(resumed.is_ok(), "it waits for the next probe of the old key");
    service.database.until_count(SUSPENDED, 0).await;
    let refused = service.ledger().count(Provider::Apns, 403, "InvalidProviderToken");
    assert!(refused > 0, "{NEW_KEY} was needed");
    service.expect_log("lane is suspended");
    service.expect_log("lane stays suspended");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_new_key_sends_while_one_with_the_rejected_key_stays_suspended() {
    let mut service = unhurried(Settings::default()).await;
    service.simulator.revoke_provider_key(&service.simulator.settings().apns.key_id);
    let waiting = service.notifications().send(hello(apns_targets("a", 300))).await;
    service.database.until_count(SUSPENDED, 1).await;
    service.database.until_count("select count(*) from jobs where node_id is not null", 0).await;
    let refused = sent(&service.ledger()).len();
    write_new_key(&service);
    // The first node does not look at its files again.
    service.node(Role::Worker).await;
    assert_untouched(&service, &waiting, 300).await;
    assert_eq!(service.database.count(SUSPENDED).await, 1, "the old key is as wrong as before");
    let states = "select count(*) from lane_reports where state = 3";
    service.database.until_count(states, 1).await;
    assert!(refused > 0 && shown(&service.ledger(), Provider::Apns).len() == 300);
    service.expect_log("lane is suspended");
    service.expect_log("lane stays suspended");
    service.stop().await;
}
