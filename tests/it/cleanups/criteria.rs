//! Which devices match.

use pushpost_testkit::api::TestApi;
use pushpost_testkit::json::assert_has;
use serde_json::{Value, json};

use super::{add, days_ago, quarantined, run};

/// A run without a limit over all devices; answers how many matched, all of which are quarantined.
async fn matched(service: &TestApi, mut body: Value) -> i64 {
    body["max_share"] = json!(1);
    let ended = run(service, body).await;
    assert_has(&ended, &json!({"status": "done", "problem": null}));
    assert_eq!(ended["matched"], ended["quarantined"], "{ended}");
    assert_eq!(quarantined(&service.database).await, ended["quarantined"], "{ended}");
    ended["quarantined"].as_i64().unwrap()
}

#[tokio::test]
async fn inactivity_runs_from_the_registration_or_else_from_the_first_sight() {
    let service = TestApi::start().await;
    add(&service.database, 1, 31.0, "", "").await;
    add(&service.database, 1, 29.99, "", "").await;
    add(&service.database, 1, 30.01, "", "").await;
    // Imported, never registered: created 1,000 days ago, and a moment ago.
    add(&service.database, 2, 0.0, ", source", ", 2").await;
    service.database.execute("update devices set registered_at = null where source = 2").await;
    let newest = "device_id = (select max(device_id) from devices)";
    service.database.execute(&format!("update devices set created_at = now() where {newest}")).await;
    assert_eq!(matched(&service, json!({"inactive_days": 30})).await, 3);
    let spared = "select count(*) from devices where quarantined_at is null
                  and coalesce(registered_at, created_at) > now() - interval '30 days'";
    assert_eq!(service.database.count(spared).await, 2);
}

#[tokio::test]
async fn only_active_devices_that_were_registered_or_imported_match() {
    let service = TestApi::start().await;
    add(&service.database, 1, 100.0, ", source", ", 0").await;
    add(&service.database, 1, 100.0, ", source", ", 1").await;
    add(&service.database, 1, 100.0, ", source", ", 2").await;
    let verdict = ", now(), 'UNREGISTERED'";
    add(&service.database, 1, 100.0, ", quarantined_at, quarantine_reason", verdict).await;
    let ended = run(&service, json!({"inactive_days": 1, "max_share": 1})).await;
    assert_has(&ended, &json!({"scanned": 2, "matched": 2, "quarantined": 2}));
    let kept =
        "select count(*) from devices where quarantine_reason = 'UNREGISTERED' and quarantine_run is null";
    assert_eq!(service.database.count(kept).await, 1);
}

#[tokio::test]
async fn platforms_and_environments_narrow_a_run() {
    for (body, lanes) in [
        (json!({}), vec!["1-1", "1-2", "2-0"]),
        (json!({"platforms": ["apns"]}), vec!["1-1", "1-2"]),
        (json!({"platforms": ["fcm"]}), vec!["2-0"]),
        (json!({"environments": ["sandbox"]}), vec!["1-2"]),
        (json!({"environments": ["sandbox", "production"]}), vec!["1-1", "1-2"]),
        (json!({"platforms": ["fcm", "apns"], "environments": ["production"]}), vec!["1-1"]),
        (json!({"platforms": ["fcm"], "environments": ["production"]}), vec![]),
    ] {
        let service = TestApi::start().await;
        for lane in ["1, 1", "1, 2", "2, 0"] {
            add(&service.database, 1, 100.0, "", "").await;
            let newest = "device_id = (select max(device_id) from devices)";
            let (platform, environment) = lane.split_once(", ").unwrap();
            let set = format!(
                "update devices set platform = {platform}, environment = {environment} where {newest}"
            );
            service.database.execute(&set).await;
        }
        let mut asked = body.clone();
        asked["inactive_days"] = json!(1);
        assert_eq!(matched(&service, asked).await, lanes.len() as i64, "{body}");
        let found = "select string_agg(platform || '-' || environment, ' ' order by device_id) from devices
                     where quarantined_at is not null";
        let found: Option<String> =
            sqlx::query_scalar(found).fetch_one(&service.database.pool).await.unwrap();
        assert_eq!(found.unwrap_or_default(), lanes.join(" "), "{body}");
    }
}

#[tokio::test]
async fn versions_are_compared_number_by_number() {
    let service = TestApi::start().await;
    let versions = [
        ("5.9", true),
        ("5.9.9", true),
        ("05.09", true),
        ("4", true),
        ("0", true),
        ("5.9.99999999999999999999", true),
        ("5.10", false),
        ("5.10.0", false),
        ("5.10.0.0", false),
        ("5.10.1", false),
        ("5.100", false),
        ("6", false),
        ("10.0", false),
        ("v5.9", false),
        ("5.9-beta", false),
        ("5.9 ", false),
        ("5..9", false),
        (".5", false),
        ("5.", false),
        ("", false),
        ("beta", false),
        ("٥.٩", false),
        ("-1", false),
        ("1e3", false),
    ];
    for (version, _) in versions {
        add(&service.database, 1, 100.0, ", app_version", &format!(", '{version}'")).await;
    }
    add(&service.database, 1, 100.0, ", app_version", ", null").await;
    matched(&service, json!({"inactive_days": 1, "app_version_below": "5.10"})).await;
    let found: Vec<String> = sqlx::query_scalar(
        "select app_version from devices where quarantined_at is not null order by device_id",
    )
    .fetch_all(&service.database.pool)
    .await
    .unwrap();
    let expected: Vec<_> = versions.iter().filter(|(_, below)| *below).map(|(version, _)| *version).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn another_apps_devices_are_no_part_of_a_run() {
    let service = TestApi::start().await;
    add(&service.database, 3, 100.0, "", "").await;
    let other =
        "update devices set app_id = (select app_id from apps where name = 'other') where device_id = 2";
    service.database.execute(other).await;
    let ended = run(&service, json!({"inactive_days": 1, "max_share": 1})).await;
    assert_has(&ended, &json!({"scanned": 2, "matched": 2, "quarantined": 2}));
    assert_eq!(service.database.count("select count(*) from devices where quarantined_at is null").await, 1);
}

#[tokio::test]
async fn a_registration_after_the_inactivity_brings_a_device_back() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let body = async |days| {
        let at = days_ago(&service.database, days).await;
        json!({"platform": "fcm", "token": "phone", "registered_at": at})
    };
    backend.put("/v1/devices", body(100).await).await;
    assert_eq!(matched(&service, json!({"inactive_days": 30})).await, 1);
    // A backend that replays its table knows nothing newer, and later something newer.
    for (days, status) in [(100, "quarantined"), (31, "quarantined"), (29, "active")] {
        let answer = backend.put("/v1/devices", body(days).await).await;
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!(status)), "{days} days");
    }
}
