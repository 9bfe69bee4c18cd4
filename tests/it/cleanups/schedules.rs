//! Runs that start by themselves.

use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use pushpost::domain::{CleanupCriteria, CleanupSchedule, CronSchedule, ShareLimit};
use pushpost::pruning::cleanups::{OccurrenceStart, start_occurrence};
use pushpost::runtime::Role;
use pushpost_testkit::api::TestApi;
use pushpost_testkit::installation::CONFIG;
use pushpost_testkit::json::{assert_has, text};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until_some;
use serde_json::{Value, json};

use super::{CLEANUPS, add, carry_out, session};

fn schedule(name: &str) -> CleanupSchedule {
    let criteria = CleanupCriteria {
        inactive_days: 30,
        platforms: None,
        environments: None,
        app_version_below: None,
        max_share: ShareLimit::from_fraction(1.0).unwrap(),
    };
    CleanupSchedule { name: name.to_owned(), schedule: CronSchedule::parse("* * * * *").unwrap(), criteria }
}

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
}

#[tokio::test]
async fn leaders_start_an_occurrence_once() {
    let service = TestApi::start().await;
    let (stale, app) = (schedule("stale"), service.shop.id);
    let attempt = async || {
        let mut conn = session(&service.database).await;
        start_occurrence(&mut conn, app, &stale, at(100)).await.unwrap()
    };
    let (a, b, c) = tokio::join!(attempt(), attempt(), attempt());
    let started = [a, b, c].into_iter().filter(|start| *start == OccurrenceStart::Started).count();
    assert_eq!(started, 1, "{a:?} {b:?} {c:?}");
    let client = service.client("admin").await;
    let listed = client.get(CLEANUPS).await.body;
    assert_has(&listed, &json!({"items": [{"schedule": "stale", "status": "running", "dry_run": false}]}));
    carry_out(&service.database).await;
    assert_eq!(attempt().await, OccurrenceStart::Taken, "not again after its end");
}

#[tokio::test]
async fn an_occurrence_that_meets_a_run_is_skipped_for_good() {
    let service = TestApi::start().await;
    add(&service.database, 3, 100.0, "", "").await;
    let app = service.shop.id;
    let mut conn = session(&service.database).await;
    let mut start = async |name: &str, minute| {
        start_occurrence(&mut conn, app, &schedule(name), at(minute)).await.unwrap()
    };
    assert_eq!(start("a", 100).await, OccurrenceStart::Started);
    assert_eq!(start("b", 100).await, OccurrenceStart::Skipped);
    assert_eq!(start("a", 101).await, OccurrenceStart::Skipped);
    carry_out(&service.database).await;
    assert_eq!(start("b", 100).await, OccurrenceStart::Taken);
    assert_eq!(start("a", 99).await, OccurrenceStart::Taken, "an earlier one");
    assert_eq!(start("b", 102).await, OccurrenceStart::Started);
    // The name is another one in another app.
    let other = service.other.id;
    let started = start_occurrence(&mut conn, other, &schedule("a"), at(50)).await.unwrap();
    assert_eq!(started, OccurrenceStart::Started);
}

/// The runs of the app, the newest first.
async fn runs(service: &TestService) -> Vec<Value> {
    let answer = service.by_admin(Method::GET, CLEANUPS).await;
    answer.body["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_runs_the_schedules_of_the_configuration_as_it_is_now() {
    let mut service = TestService::builder().node(Role::All).node(Role::Worker).build().await;
    add(&service.database, 2, 100.0, "", "").await;
    add(&service.database, 8, 1.0, "", "").await;
    let plain = service.read(CONFIG);
    let with = |schedule: &str| {
        format!(
            "{plain}\n[[apps.shop.cleanups]]\nname = \"stale\"\nschedule = \"{schedule}\"\ninactive_days = 30\n"
        )
    };
    // The last occurrence was missed by less than an hour, and there is no second one for a day.
    let now = DateTime::from_timestamp_millis(service.database.now_ms().await).unwrap();
    let missed = now - TimeDelta::minutes(10);
    service.write(CONFIG, &with(&missed.format("%M %H * * *").to_string()));
    service.reload().await.unwrap();
    let run = until_some("the run of the schedule", async || {
        runs(&service).await.pop().filter(|run| run["status"] == "done")
    })
    .await;
    assert_has(&run, &json!({"schedule": "stale", "matched": 2, "quarantined": 2, "problem": null}));
    // Another leader does not start it again.
    service.end_nodes().await;
    service.node(Role::All).await;
    let client = service.by_admin(Method::POST, &format!("{CLEANUPS}/{}/restore", text(&run["id"]))).await;
    assert_eq!(client.status.as_u16(), 202);
    until_some("its restoration", async || {
        runs(&service).await.pop().filter(|run| run["status"] == "restored")
    })
    .await;
    assert_eq!(runs(&service).await.len(), 1);
    // A broken schedule changes nothing.
    service.write(CONFIG, &with("61 * * * *"));
    let error = service.reload().await.unwrap_err();
    assert!(error.contains("apps.shop.cleanups[0].schedule"), "{error}");
    service.stop().await;
}
