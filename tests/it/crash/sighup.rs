//! SIGHUP: the service reads its configuration again and goes on.

use std::time::Duration;

use pushpost_simulator::{Ledger, Provider};
use serde_json::json;
use tokio::time::{Instant, sleep};

use pushpost_testkit::processes::{TestMachine, providers};
use pushpost_testkit::wait::WAIT_MAX;

/// Accepted with the key in use first, and with another one.
fn accepted(ledger: &Ledger) -> (usize, usize) {
    let taken =
        ledger.entries().into_iter().filter(|entry| entry.provider == Provider::Apns && entry.accepted);
    let shown: Vec<_> = taken.map(|entry| entry.credential).collect();
    let of_first = shown.iter().filter(|credential| shown.first() == Some(credential)).count();
    (of_first, shown.len() - of_first)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_makes_the_service_use_its_new_key() {
    let machine = TestMachine::new(providers(Duration::ZERO), "").await;
    // Nothing is found without the signal.
    let config = machine.read("pushpost.toml").replace("[server]", "[server]\nreload_interval = \"1h\"");
    machine.write("pushpost.toml", &config);
    let mut node = machine.serve().await;
    let key = machine.key("send,read").await;
    let mut number = 0;
    let mut post = async || {
        number += 1;
        let token = format!("{number:064x}");
        let push = json!({"to": {"tokens": [{"platform": "apns", "token": token}]}, "title": "A"});
        assert_eq!(machine.post(&key, "/v1/notifications", &push).await.unwrap().0, 202);
    };
    post().await;
    assert!(machine.ledger().wait_until(WAIT_MAX, |ledger| accepted(ledger).0 == 1).await);

    let old = machine.simulator.settings().apns.key_id.clone();
    machine.write("pushpost.toml", &config.replace("[delivery]", "[delivery]\nmax_in_fligt = 5"));
    node.hang_up().await;
    machine.until_logged("delivery.max_in_fligt: unknown key; the nearest known key is").await;

    machine.write("new.p8", &machine.simulator.issue_provider_key("NEW4567890").unwrap());
    let lines = config.lines().map(|line| match line.split_once(" = ") {
        Some(("key_file", _)) => "key_file = \"new.p8\"\n".to_owned(),
        Some(("key_id", _)) => "key_id = \"NEW4567890\"\n".to_owned(),
        _ => format!("{line}\n"),
    });
    machine.write("pushpost.toml", &lines.collect::<String>());
    node.hang_up().await;
    let begun = Instant::now();
    while accepted(&machine.ledger()).1 < 2 {
        assert!(begun.elapsed() < WAIT_MAX, "the new key is used");
        post().await;
        sleep(Duration::from_millis(20)).await;
    }
    machine.simulator.revoke_provider_key(&old);
    let before = machine.ledger().accepted_count();
    post().await;
    assert!(machine.ledger().wait_until(WAIT_MAX, |ledger| ledger.accepted_count() > before).await);
    assert_eq!(machine.ledger().count(Provider::Apns, 403, "InvalidProviderToken"), 0);
    assert!(node.is_running());
}
