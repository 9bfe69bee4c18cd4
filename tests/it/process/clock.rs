//! A node with a clock that is an hour off, ahead or behind: its pushes keep their times, because these are Postgres's.

use std::path::Path;
use std::process::Command;

use http::Method;
use pushpost_simulator::Provider;
use pushpost_testkit::json::{apns_targets, fcm_targets};
use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::scrape::Scrape;
use serde_json::{Value, json};

/// Wraps the C library's clock. Only the time of day changes: `Instant` has the monotonic clock.
const WRONG_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*right)(clockid_t, struct timespec *);
  if (!right) right = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int failed = right(clock, now);
  if (!failed && clock == CLOCK_REALTIME) now->tv_sec += OFFSET;
  return failed;
}
"#;

/// Builds a library that shifts the clock of a process by so many seconds. Answers its path.
fn wrong_clock(folder: &str, offset: i32) -> String {
    let (source, library) = (format!("{folder}/clock.c"), format!("{folder}/clock.so"));
    std::fs::write(&source, WRONG_CLOCK).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", &format!("-DOFFSET={offset}"), "-o", &library, &source, "-ldl"]);
    // Rust's linker is the C compiler, so it is there.
    assert!(compiler.status().unwrap().success());
    assert!(Path::new(&library).exists());
    library
}

async fn offset(cluster: &TestCluster, node: &TestNode) -> f64 {
    let answer = cluster.http.get(node.url("/metrics")).send().await.unwrap();
    Scrape::read(answer.text().await.unwrap()).value("pushpost_clock_offset_seconds")
}

async fn until_accepted(cluster: &TestCluster, node: &TestNode, id: &str) {
    cluster
        .until("the push is accepted", &[node], async || {
            let counts = cluster.counts(node, id).await;
            assert_eq!(counts["expired"], 0, "{counts}");
            counts["accepted"] == 1
        })
        .await;
}

async fn assert_pushes_keep_their_times(offset_seconds: i32) {
    let mut cluster = TestCluster::create(&[("node_timeout", "5s")]).await;
    let url = cluster.database.url().to_owned();
    cluster.variable("LD_PRELOAD", &wrong_clock(&cluster.path("."), offset_seconds));
    let wrong = cluster.node(&url).await;
    let shown = offset(&cluster, &wrong).await;
    assert!((shown - f64::from(offset_seconds)).abs() < 60.0, "{shown} s");

    // The time to live is shorter than the clock is wrong. A scheduled push is due by the right clock.
    let to = |targets: Vec<Value>| json!({"to": {"tokens": targets}, "title": "Hi", "ttl": "10m"});
    let direct = cluster.notify(&wrong, &to(apns_targets("a", 1))).await;
    until_accepted(&cluster, &wrong, &direct).await;
    let soon: String = sqlx::query_scalar(
        "select to_char(now() at time zone 'UTC' + interval '2 s', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    )
    .fetch_one(&cluster.database.pool)
    .await
    .unwrap();
    let mut later = to(apns_targets("b", 1));
    later["send_at"] = json!(soon);
    let scheduled = cluster.notify(&wrong, &later).await;
    until_accepted(&cluster, &wrong, &scheduled).await;
    let (_, why) =
        cluster.ask(&wrong, Method::GET, &format!("/v1/notifications/{scheduled}/why"), None).await;
    assert!(why["total_seconds"].as_f64().unwrap() < 3_000.0, "{why}");
    let now: i64 = sqlx::query_scalar("select extract(epoch from now())::bigint")
        .fetch_one(&cluster.database.pool)
        .await
        .unwrap();
    let sent = cluster.simulator.ledger().entries();
    let expirations: Vec<i64> = sent
        .iter()
        .filter(|entry| entry.provider == Provider::Apns)
        .map(|entry| entry.headers["apns-expiration"].parse().unwrap())
        .collect();
    assert_eq!(expirations.len(), 2);
    assert!(expirations.iter().all(|at| (at - now - 600).abs() < 300), "{expirations:?}, and now is {now}");

    // Google refuses an assertion of a wrong time, so it has Postgres's time too.
    let id = cluster.notify(&wrong, &to(fcm_targets("f", 1))).await;
    until_accepted(&cluster, &wrong, &id).await;
    assert_eq!(cluster.simulator.ledger().duplicates(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_of_a_node_that_is_an_hour_ahead_keep_their_times() {
    assert_pushes_keep_their_times(3_600).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_of_a_node_that_is_an_hour_behind_keep_their_times() {
    assert_pushes_keep_their_times(-3_600).await;
}
