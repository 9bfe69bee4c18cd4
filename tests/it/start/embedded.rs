//! An embedded Postgres that takes long to start, or never starts.

use std::fs;

use pushpost_simulator::Settings;

use super::{answer, assert_starting};
use pushpost_testkit::processes::{TestMachine, TestNode};

const TIMEOUT: &str = "PUSHPOST__DATABASE__START_TIMEOUT";

/// A data folder with a server that recovers without end, since each segment of its log is fetched by a command that
/// sleeps.
async fn recovering_machine() -> TestMachine {
    let machine = TestMachine::new(Settings::default(), "").await;
    let node = machine.serve().await;
    ended_well(node).await;
    let data = machine.postgres_data();
    let conf = data.join("postgresql.auto.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{text}\nrestore_command = 'sleep 3600'\n")).unwrap();
    fs::write(data.join("recovery.signal"), "").unwrap();
    machine
}

async fn ended_well(mut node: TestNode) {
    node.terminate().await;
    assert_eq!(node.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_in_mid_recovery_answers_probes_and_ends_with_sigterm_and_with_its_postmaster() {
    let machine = recovering_machine().await;
    let node = machine.start_as(&["serve"], &[(TIMEOUT, "1h")]);
    assert_starting(&machine).await;
    machine.until_postmaster().await;
    assert_starting(&machine).await;
    ended_well(node).await;
    assert_eq!(machine.postmaster(), None, "no postmaster is left behind");
    assert!(machine.log_text().contains("stopped before the start was done"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_takes_too_long_ends_with_69_and_leaves_no_postmaster() {
    let machine = recovering_machine().await;
    let mut node = machine.start_as(&["serve"], &[(TIMEOUT, "2s")]);
    assert_eq!(answer(&machine, "/healthz").await.0, 200);
    assert_eq!(node.ended().await.code(), Some(69));
    assert_eq!(machine.postmaster(), None, "no postmaster is left behind");
    let log = machine.log_text();
    assert!(log.contains("was not ready within 2 s"), "{log}");
}
