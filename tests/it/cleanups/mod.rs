//! Clean-up runs: criteria, the limit of their share, their endpoints, schedules and the command line.

mod cli;
mod criteria;
mod endpoints;
mod races;
mod schedules;
mod share;

use http::Method;
use pushpost::pruning::cleanups::{CleanupStep, CleanupWorker};
use pushpost::store::{Purpose, Session};
use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::{ApiClient, TestApi};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::json::text;
use serde_json::Value;

const CLEANUPS: &str = "/v1/admin/cleanups";

/// Adds devices of `shop` that were registered so many days ago. `columns` are set to `values`, in which `i` is the number of
/// the device, from 1.
async fn add(database: &TestDatabase, count: u32, days: f64, columns: &str, values: &str) {
    let sql = format!(
        "insert into devices (app_id, platform, environment, token, token_digest, created_at, registered_at {columns})
         select (select app_id from apps where name = 'shop'), 2, 0, t, decode(md5(t), 'hex'),
                now() - interval '1000 days', now() - interval '1 day' * {days} {values}
         from (select i, 'token-' || i || '-' || gen_random_uuid() as t from generate_series(1, {count}) i) new"
    );
    assert_eq!(database.execute(&sql).await, u64::from(count));
}

/// A time so many days ago, by Postgres's clock, as requests state it.
async fn days_ago(database: &TestDatabase, days: i64) -> String {
    let now = chrono::DateTime::from_timestamp_millis(database.now_ms().await).unwrap();
    (now - chrono::TimeDelta::days(days)).to_rfc3339()
}

/// Writes the batches of the runs that are under way, to their ends.
async fn carry_out(database: &TestDatabase) {
    let mut conn = session(database).await;
    let mut worker = CleanupWorker::default();
    while worker.step(&mut conn).await.unwrap() != CleanupStep::Idle {}
}

/// A session as the leader has.
async fn session(database: &TestDatabase) -> Session {
    database.pool_for(Purpose::Maintenance, 1).acquire().await.unwrap()
}

/// Starts a run; answers it.
async fn start(client: &ApiClient<'_>, body: Value) -> Value {
    let answer = client.post(CLEANUPS, body).await;
    assert_eq!(answer.status.as_u16(), 202, "{answer:?}");
    assert_eq!(answer.body["status"], "running");
    assert_eq!(answer.headers["location"].to_str().unwrap(), path_of(&answer.body));
    answer.body
}

/// The run as it stands.
async fn read(client: &ApiClient<'_>, run: &Value) -> Value {
    let answer = client.get(&path_of(run)).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
    answer.body
}

/// Starts a run and carries it out; answers it as it ended.
async fn run(service: &TestApi, body: Value) -> Value {
    let client = service.client("admin").await;
    let run = start(&client, body).await;
    carry_out(&service.database).await;
    read(&client, &run).await
}

async fn restore(client: &ApiClient<'_>, run: &Value) -> Answer {
    client.ask(Method::POST, &format!("{}/restore", path_of(run))).await
}

fn path_of(run: &Value) -> String {
    format!("{CLEANUPS}/{}", text(&run["id"]))
}

/// Devices that are quarantined by clean-up runs.
async fn quarantined(database: &TestDatabase) -> i64 {
    database
        .count(
            "select count(*) from devices
             where quarantined_at is not null and quarantine_reason = 'inactive' and quarantine_run is not null",
        )
        .await
}
