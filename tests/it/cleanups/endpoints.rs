//! The endpoints: answers, refusals, stopping, restoring, listing.

use http::Method;
use pushpost::pruning::cleanups::{CleanupStep, CleanupWorker};
use pushpost_testkit::api::TestApi;
use pushpost_testkit::json::{assert_has, assert_problem, text};
use serde_json::{Value, json};

use super::{CLEANUPS, add, carry_out, path_of, quarantined, read, restore, session, start};

fn all() -> Value {
    json!({"inactive_days": 30, "max_share": 1})
}

#[tokio::test]
async fn a_run_is_answered_with_its_criteria_and_ends_with_its_counts() {
    let service = TestApi::start().await;
    add(&service.database, 3, 100.0, ", app_version", ", '4.1'").await;
    let client = service.client("admin").await;
    let body = json!({
        "inactive_days": 90, "platforms": ["fcm", "fcm"], "environments": null, "app_version_below": "5.0",
        "max_share": 1, "dry_run": false
    });
    let started = start(&client, body).await;
    let criteria = json!({
        "inactive_days": 90, "platforms": ["fcm"], "environments": null, "app_version_below": "5.0", "max_share": 1.0
    });
    assert_has(
        &started,
        &json!({
            "id": "<run_>", "dry_run": false, "criteria": criteria, "scanned": 0, "matched": 0, "quarantined": 0, "restored": 0,
            "sample": [], "schedule": null, "created_at": "<time>", "done_at": null, "problem": null
        }),
    );
    carry_out(&service.database).await;
    let ended = read(&client, &started).await;
    assert_has(
        &ended,
        &json!({"status": "done", "criteria": criteria, "scanned": 3, "matched": 3, "quarantined": 3}),
    );
    let device = client.get(&format!("/v1/devices/{}", text(&ended["sample"][0]))).await.body;
    assert_has(&device, &json!({"status": "quarantined", "quarantine": {"reason": "inactive"}}));
}

#[tokio::test]
async fn every_fault_of_a_request_is_told() {
    let service = TestApi::start().await;
    let client = service.client("admin").await;
    let body = json!({
        "inactive_days": 0, "platforms": ["hms"], "environments": ["staging"], "app_version_below": "v5", "max_share": 1.5,
        "dry_run": "yes", "inactive_day": 1
    });
    let faults = json!([
        {"pointer": "#/inactive_days", "code": "out_of_range", "minimum": 1, "maximum": 3650},
        {"pointer": "#/platforms/0", "code": "unsupported_platform"},
        {"pointer": "#/environments/0", "code": "bad_value", "supported": ["production", "sandbox"]},
        {"pointer": "#/app_version_below", "code": "bad_value"},
        {"pointer": "#/max_share", "code": "out_of_range", "minimum": 0.0, "maximum": 1.0},
        {"pointer": "#/dry_run", "code": "wrong_type"},
        {"pointer": "#/inactive_day", "code": "unknown_field", "suggestion": "inactive_days"}
    ]);
    assert_problem(&client.post(CLEANUPS, body).await, 400, "invalid_request", &faults);
    let missing = json!([{"pointer": "#/inactive_days", "code": "missing_field"}]);
    assert_problem(&client.post(CLEANUPS, json!({})).await, 400, "invalid_request", &missing);
    for (body, place) in [
        (json!({"inactive_days": 30, "platforms": []}), "#/platforms"),
        (json!({"inactive_days": 30, "environments": []}), "#/environments"),
        (json!({"inactive_days": 30, "app_version_below": ""}), "#/app_version_below"),
    ] {
        let fault = json!([{"pointer": place, "code": "bad_value"}]);
        assert_problem(&client.post(CLEANUPS, body).await, 422, "unprocessable", &fault);
    }
    for (body, code) in [
        (json!({"inactive_days": 3651}), "out_of_range"),
        (json!({"inactive_days": 1.5}), "wrong_type"),
        (json!({"inactive_days": "30"}), "wrong_type"),
    ] {
        let fault = json!([{"pointer": "#/inactive_days", "code": code}]);
        assert_problem(&client.post(CLEANUPS, body).await, 400, "invalid_request", &fault);
    }
    let misspelt = client.post(&format!("{CLEANUPS}?dry_run=true"), all()).await;
    let fault = json!([{"parameter": "dry_run", "code": "unknown_parameter"}]);
    assert_problem(&misspelt, 400, "invalid_request", &fault);
    assert_eq!(service.database.count("select count(*) from cleanup_runs").await, 0);
}

#[tokio::test]
async fn an_app_has_one_run_at_a_time() {
    let service = TestApi::start().await;
    add(&service.database, 3, 100.0, "", "").await;
    let client = service.client("admin").await;
    let attempts: Vec<_> = (0..8).map(|_| client.post(CLEANUPS, all())).collect();
    let answers = futures_util::future::join_all(attempts).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409, 409, 409, 409, 409, 409, 409]);
    for refused in answers.iter().filter(|answer| answer.status == 409) {
        assert_problem(refused, 409, "cleanup_running", &json!([]));
    }
    // Another app's run is no obstacle.
    let other = service.client_of(&service.other, "admin").await;
    start(&other, all()).await;
    carry_out(&service.database).await;
    let first = start(&client, all()).await;
    carry_out(&service.database).await;
    // A restoration is under way too.
    assert_eq!(restore(&client, &first).await.status.as_u16(), 202);
    assert_problem(&client.post(CLEANUPS, all()).await, 409, "cleanup_running", &json!([]));
    carry_out(&service.database).await;
    start(&client, all()).await;
}

#[tokio::test]
async fn a_stopped_run_keeps_what_it_has_done_and_can_be_restored() {
    let service = TestApi::start().await;
    add(&service.database, 2_500, 100.0, "", "").await;
    let client = service.client("admin").await;
    let run = start(&client, all()).await;
    let (mut conn, mut worker) = (session(&service.database).await, CleanupWorker::default());
    while quarantined(&service.database).await == 0 {
        assert_ne!(worker.step(&mut conn).await.unwrap(), CleanupStep::Idle);
    }
    assert_problem(&restore(&client, &run).await, 409, "cleanup_running", &json!([]));
    let stopped = client.ask(Method::DELETE, &path_of(&run)).await;
    assert_eq!(stopped.status.as_u16(), 200);
    assert_has(
        &stopped.body,
        &json!({"status": "cancelled", "matched": 2500, "quarantined": 1000, "done_at": "<time>"}),
    );
    let again = client.ask(Method::DELETE, &path_of(&run)).await;
    assert_eq!((again.status, &again.body), (stopped.status, &stopped.body));
    assert_eq!(worker.step(&mut conn).await.unwrap(), CleanupStep::Idle);
    assert_eq!(quarantined(&service.database).await, 1_000);

    let restoring = restore(&client, &run).await;
    assert_eq!(restoring.status.as_u16(), 202);
    assert_has(&restoring.body, &json!({"status": "restoring", "restored": 0, "done_at": null}));
    assert_eq!(restore(&client, &run).await.body, restoring.body, "a repeat");
    carry_out(&service.database).await;
    let restored = read(&client, &run).await;
    assert_has(&restored, &json!({"status": "restored", "quarantined": 1000, "restored": 1000}));
    assert_eq!(
        service.database.count("select count(*) from devices where quarantined_at is null").await,
        2_500
    );
    assert_eq!(restore(&client, &run).await.body, restored, "it is restored already");
    assert_eq!(client.ask(Method::DELETE, &path_of(&run)).await.body, restored, "it has ended");
}

#[tokio::test]
async fn a_run_is_not_restored_beside_another_one() {
    let service = TestApi::start().await;
    add(&service.database, 3, 100.0, "", "").await;
    let client = service.client("admin").await;
    let first = start(&client, all()).await;
    carry_out(&service.database).await;
    let ended = read(&client, &first).await;
    let second = start(&client, all()).await;
    assert_problem(&restore(&client, &first).await, 409, "cleanup_running", &json!([]));
    assert_eq!(read(&client, &first).await, ended);
    client.ask(Method::DELETE, &path_of(&second)).await;
    assert_eq!(restore(&client, &first).await.status.as_u16(), 202);
}

#[tokio::test]
async fn runs_are_kept_for_their_time_after_their_end() {
    let service = TestApi::start().await;
    let client = service.client("admin").await;
    let ended = start(&client, all()).await;
    carry_out(&service.database).await;
    let under_way = start(&client, all()).await;
    let mut conn = session(&service.database).await;
    let delete =
        async |conn: &mut _, secs| pushpost::store::cleanups::delete_old(conn, secs, 10).await.unwrap();
    assert_eq!(delete(&mut conn, 3_600.0).await, 0);
    assert_eq!(delete(&mut conn, 0.0).await, 1, "one under way has not ended");
    assert_problem(&client.get(&path_of(&ended)).await, 404, "not_found", &json!([]));
    assert_eq!(read(&client, &under_way).await["status"], "running");
}

#[tokio::test]
async fn a_stopped_restoration_can_be_continued() {
    let service = TestApi::start().await;
    add(&service.database, 2_500, 100.0, "", "").await;
    let client = service.client("admin").await;
    let run = start(&client, all()).await;
    carry_out(&service.database).await;
    restore(&client, &run).await;
    let (mut conn, mut worker) = (session(&service.database).await, CleanupWorker::default());
    worker.step(&mut conn).await.unwrap();
    let stopped = client.ask(Method::DELETE, &path_of(&run)).await.body;
    assert_has(&stopped, &json!({"status": "cancelled", "restored": 1000}));
    restore(&client, &run).await;
    carry_out(&service.database).await;
    assert_has(&read(&client, &run).await, &json!({"status": "restored", "restored": 2500}));
}

#[tokio::test]
async fn a_restoration_leaves_alone_what_another_evidence_quarantined() {
    let service = TestApi::start().await;
    add(&service.database, 4, 100.0, "", "").await;
    let client = service.client("admin").await;
    let run = start(&client, all()).await;
    carry_out(&service.database).await;
    let ids: Vec<String> = read(&client, &run).await["sample"].as_array().unwrap().iter().map(text).collect();
    // The first is restored and then called dead by its provider, the second is deleted, the third belongs to another run.
    client.ask(Method::POST, &format!("/v1/devices/{}/restore", ids[0])).await;
    let dead =
        "update devices set quarantined_at = now(), quarantine_reason = 'UNREGISTERED' where device_id = 1";
    service.database.execute(dead).await;
    client.ask(Method::DELETE, &format!("/v1/devices/{}", ids[1])).await;
    service
        .database
        .execute("update devices set quarantine_run = quarantine_run + 1 where device_id = 3")
        .await;
    restore(&client, &run).await;
    carry_out(&service.database).await;
    assert_has(&read(&client, &run).await, &json!({"status": "restored", "quarantined": 4, "restored": 1}));
    let active = "select count(*) from devices where quarantined_at is null and device_id = 4";
    assert_eq!(service.database.count(active).await, 1);
    assert_eq!(service.database.count("select count(*) from devices where quarantined_at is null").await, 1);
}

#[tokio::test]
async fn runs_that_quarantined_nothing_have_nothing_to_restore() {
    let service = TestApi::start().await;
    add(&service.database, 4, 100.0, "", "").await;
    let client = service.client("admin").await;
    for body in [json!({"inactive_days": 30, "dry_run": true}), json!({"inactive_days": 30})] {
        let run = start(&client, body).await;
        carry_out(&service.database).await;
        assert_problem(&restore(&client, &run).await, 409, "not_restorable", &json!([]));
    }
}

#[tokio::test]
async fn runs_are_listed_with_the_newest_first() {
    let service = TestApi::start().await;
    add(&service.database, 10, 100.0, "", "").await;
    let client = service.client("admin").await;
    let mut ids = Vec::new();
    for days in [40, 50, 60, 70] {
        let body = json!({"inactive_days": days, "dry_run": days != 50, "max_share": if days == 50 { 0.1 } else { 1.0 }});
        ids.insert(0, start(&client, body).await["id"].clone());
        carry_out(&service.database).await;
    }
    let listed = async |query: &str| {
        let answer = client.get(&format!("{CLEANUPS}{query}")).await;
        assert_eq!(answer.status.as_u16(), 200, "{answer:?}");
        let items = answer.body["items"].as_array().unwrap();
        (items.iter().map(|run| run["id"].clone()).collect::<Vec<_>>(), answer.body["next_cursor"].clone())
    };
    assert_eq!(listed("").await, (ids.clone(), Value::Null));
    assert_eq!(listed("?status=failed").await.0, [ids[2].clone()]);
    assert_eq!(listed("?status=failed&status=done").await.0, ids);
    assert_eq!(listed("?status=restoring").await.0, Vec::<Value>::new());
    let (first, cursor) = listed("?status=done&limit=2").await;
    assert_eq!(first, ids[..2]);
    let (rest, end) = listed(&format!("?status=done&cursor={}", text(&cursor))).await;
    assert_eq!((rest.as_slice(), end), (&ids[3..], Value::Null));

    for (query, name, code) in [
        ("?status=ended", "status", "out_of_range"),
        ("?limit=0", "limit", "out_of_range"),
        ("?limit=1001", "limit", "out_of_range"),
        ("?cursor=x", "cursor", "invalid_cursor"),
        ("?state=done", "state", "unknown_parameter"),
    ] {
        let fault = json!([{"parameter": name, "code": code}]);
        assert_problem(&client.get(&format!("{CLEANUPS}{query}")).await, 400, "invalid_request", &fault);
    }
    let other = service.client_of(&service.other, "admin").await;
    assert_eq!(other.get(CLEANUPS).await.body["items"], json!([]));
}
