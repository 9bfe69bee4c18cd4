//! An operator's own Postgres that is not there yet, refuses, or can't be used.

use pushpost_simulator::Settings;
use sqlx::AssertSqlSafe;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use super::{answer, assert_starting, told_to_people};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::TestMachine;
use pushpost_testkit::wait::WAIT_MAX;

const URL: &str = "PUSHPOST__DATABASE__URL";
const TIMEOUT: &str = "PUSHPOST__DATABASE__START_TIMEOUT";
const CORS_ORIGINS: &str = "PUSHPOST__SERVER__CORS_ORIGINS";
const PAGE: &str = "capacitor://localhost";

async fn machine() -> TestMachine {
    TestMachine::new(Settings::default(), "").await
}

/// A statement of names of our own.
async fn execute(database: &TestDatabase, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await.unwrap();
}

/// The URL for another user or database of the same server; none: as it is.
fn url_of(database: &TestDatabase, user: Option<&str>, name: Option<&str>) -> String {
    let (scheme, rest) = database.url().split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let (login, server) = authority.rsplit_once('@').unwrap();
    let (own, query) = path.split_once('?').map_or((path, ""), |(name, query)| (name, query));
    let (login, name) = (user.map_or(login.to_owned(), |user| format!("{user}:secret")), name.unwrap_or(own));
    format!("{scheme}://{login}@{server}/{name}?{query}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_port_is_waited_for_and_named_with_the_reason() {
    let machine = machine().await;
    let url = "postgres://me:hunter2@127.0.0.1:1/d";
    let settings = [(URL, url), (TIMEOUT, "3s"), (CORS_ORIGINS, PAGE)];
    let mut node = machine.start_as(&["serve"], &settings);
    assert_starting(&machine).await;
    // A web page can read that the node is starting.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = http.put(machine.url("/v1/devices")).header("origin", PAGE).send().await.unwrap();
    assert_eq!(asked.status(), 503);
    assert_eq!(asked.headers()["access-control-allow-origin"], PAGE);
    assert_eq!(node.ended().await.code(), Some(69));
    let log = machine.log_text();
    assert!(log.contains("waiting for PostgreSQL: connection refused"), "{log}");
    let last = "PostgreSQL at 127.0.0.1:1 is not available after 3 s: connection refused";
    assert!(log.contains(last), "{log}");
    assert!(!log.contains("pool") && !log.contains("hunter2"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_finds_no_server_ends_with_69() {
    let machine = machine().await;
    for command in
        [&["keys", "list"][..], &["tokens", "list"], &["devices", "export"], &["migrate", "--check"]]
    {
        let told = machine.run_with(command, &[(URL, "postgres://me:hunter2@127.0.0.1:1/d")]).await;
        let said = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(69), "{command:?}: {said}");
        assert!(said.contains("PostgreSQL at 127.0.0.1:1 is not available: connection refused"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_one_connection_too_many_is_quoted() {
    let (machine, database) = (machine().await, TestDatabase::create().await);
    let role = format!("r_{:08x}", rand::random::<u32>());
    execute(&database, &format!("create role {role} login password 'secret' connection limit 0")).await;
    let url = url_of(&database, Some(&role), None);
    let mut node = machine.start_as(&["serve"], &[(URL, &url), (TIMEOUT, "1s")]);
    assert_eq!(node.ended().await.code(), Some(69));
    let log = machine.log_text();
    assert!(log.contains(&format!("too many connections for role \"{role}\"")), "{log}");
    assert!(!log.contains("pool"), "{log}");
    execute(&database, &format!("drop role {role}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_late_is_used_and_one_that_never_comes_ends_with_sigterm() {
    let (machine, database) = (machine().await, TestDatabase::create().await);
    let proxy = PostgresProxy::of(&database).await;
    proxy.set_away(true);
    let node = machine.start_as(&["serve"], &[(URL, proxy.url())]);
    assert_starting(&machine).await;
    machine.until_logged("waiting for PostgreSQL").await;
    proxy.set_away(false);
    let mut node = machine.until_ready(node).await;
    node.terminate().await;
    assert_eq!(node.ended().await.code(), Some(0));

    proxy.set_away(true);
    let mut node = machine.start_as(&["serve"], &[(URL, proxy.url()), (TIMEOUT, "1h")]);
    assert_starting(&machine).await;
    node.terminate().await;
    assert_eq!(node.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_may_lose_commits_is_reported() {
    let (machine, database) = (machine().await, TestDatabase::create().await);
    let sql = "do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$";
    execute(&database, sql).await;
    let node = machine.start_as(&["serve"], &[(URL, database.url())]);
    machine.until_logged("pushpost sets synchronous_commit to on for its own sessions").await;
    let mut node = machine.until_ready(node).await;
    node.terminate().await;
    assert_eq!(node.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permanent_failure_ends_the_start_at_once() {
    let (machine, database) = (machine().await, TestDatabase::create().await);
    let latin = format!("it_latin_{:08x}", rand::random::<u32>());
    let template = "template template0 lc_collate 'C' lc_ctype 'C'";
    execute(&database, &format!("create database {latin} encoding 'LATIN1' {template}")).await;
    let begun = Instant::now();
    for (url, reason) in [
        (url_of(&database, None, Some(&latin)), "the database's encoding is LATIN1, and must be UTF8"),
        (url_of(&database, None, Some("it_none")), "database \"it_none\" does not exist"),
        (url_of(&database, Some("nemo"), None), "password authentication failed for user \"nemo\""),
    ] {
        let mut node = machine.start_as(&["serve"], &[(URL, &url), (TIMEOUT, "1h")]);
        assert_eq!(node.ended().await.code(), Some(1), "{reason}");
        let log = machine.log_text();
        assert_eq!(told_to_people(&log).matches(reason).count(), 1, "told once: {log}");
        let told = machine.run_with(&["keys", "list"], &[(URL, &url)]).await;
        assert!(String::from_utf8_lossy(&told.stderr).contains(reason), "{told:?}");
        assert_eq!(told.status.code(), Some(1));
    }
    assert!(begun.elapsed() < WAIT_MAX, "nothing was waited for");
    execute(&database, &format!("drop database {latin}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_is_reported_once_with_host_and_port() {
    let (machine, database) = (machine().await, TestDatabase::create().await);
    let proxy = PostgresProxy::of(&database).await;
    let node = machine.start_as(&["serve"], &[(URL, proxy.url())]);
    let _node = machine.until_ready(node).await;
    proxy.set_away(true);
    // Ten seconds without an answer: maintenance has tried several times.
    while answer(&machine, "/readyz").await.0 != 503 {
        sleep(Duration::from_millis(100)).await;
    }
    machine.until_logged("maintenance failed").await;
    proxy.set_away(false);
    machine.until_logged("Postgres is back").await;
    let (lines, log) = (machine.log_lines(), machine.log_text());
    let (_, place) = proxy.url().rsplit_once('@').unwrap();
    for message in
        ["Postgres is out of reach: claims and heartbeats wait", "maintenance failed; it is tried again"]
    {
        let told: Vec<_> = lines.iter().filter(|line| line["message"] == message).collect();
        assert_eq!(told.len(), 1, "{log}");
        assert_eq!(told[0]["server"].as_str(), place.split('/').next(), "{log}");
    }
    assert!(!log.contains("bytes at EOF"), "{log}");
}
