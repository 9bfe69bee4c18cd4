//! The start of the service: probes are answered from the first moment, Postgres is waited for, and SIGTERM ends it at once.

mod embedded;
mod foreign;
mod network;
mod pooler;
mod rights;
mod service_manager;
mod urls;
mod worker;

use reqwest::Client;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use pushpost_testkit::processes::TestMachine;
use pushpost_testkit::wait::WAIT_MAX;

/// What a path of the service answers: status and `code`, as soon as it listens.
async fn answer(machine: &TestMachine, path: &str) -> (u16, Value) {
    let http = Client::builder().no_proxy().build().unwrap();
    let begun = Instant::now();
    loop {
        match http.get(machine.url(path)).send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let body: Value = answer.json().await.unwrap();
                return (status, body["code"].clone());
            }
            Err(error) => assert!(begun.elapsed() < WAIT_MAX, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// The lines of a log that are meant for people. A JSON log has the error of a start as a line of its own.
fn told_to_people(log: &str) -> String {
    log.lines().filter(|line| !line.starts_with('{')).collect()
}

/// Every path answers as it does while the service starts.
async fn assert_starting(machine: &TestMachine) {
    assert_eq!(answer(machine, "/healthz").await, (200, Value::Null));
    assert_eq!(answer(machine, "/readyz").await, (503, "unavailable".into()));
    assert_eq!(answer(machine, "/v1/notifications/ntf_1").await, (503, "unavailable".into()));
}
