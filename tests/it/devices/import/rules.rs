//! The rules of `PUT /v1/devices` hold for each line of an import.

use pushpost_testkit::json::assert_has;
use serde_json::{Value, json};

use super::{assert_imported, device, fcm, fcm_with, lookup, ndjson};
use pushpost_testkit::api::{ApiClient, TestApi};

async fn imported(client: &ApiClient<'_>, lines: &[Value], created: u64, updated: u64) {
    assert_imported(&client.import("?on_error=stop", ndjson(lines)).await, created, updated);
}

async fn registered(client: &ApiClient<'_>, line: Value) {
    assert!(client.put("/v1/devices", line).await.status.is_success());
}

#[tokio::test]
async fn a_field_left_out_stays_null_clears_it_and_topics_are_the_whole_set() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let all =
        json!({"user": "u1", "topics": ["a", "b"], "locale": "de", "timezone": "UTC", "app_version": "1"});
    imported(&backend, &[fcm_with("f1", all.clone()), fcm_with("f2", all)], 2, 0).await;
    let lines = [
        fcm_with("f1", json!({"locale": "fr"})),
        fcm_with("f2", json!({"user": null, "topics": ["b", "c"], "timezone": null})),
    ];
    imported(&backend, &lines, 0, 2).await;
    let known = lookup(&backend, &["f1", "f2"]).await;
    let f1 =
        json!({"user": "u1", "topics": ["a", "b"], "locale": "fr", "timezone": "UTC", "app_version": "1"});
    let f2 =
        json!({"user": null, "topics": ["b", "c"], "locale": "de", "timezone": null, "app_version": "1"});
    assert_has(&json!(known), &json!([f1, f2]));
    imported(
        &backend,
        &[fcm_with("f1", json!({"topics": null})), fcm_with("f2", json!({"topics": []}))],
        0,
        2,
    )
    .await;
    assert_has(&json!(lookup(&backend, &["f1", "f2"]).await), &json!([{"topics": []}, {"topics": []}]));
}

#[tokio::test]
async fn a_token_twice_in_an_import_acts_like_two_imports() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let lines = [
        fcm_with("f1", json!({"user": "u1", "topics": ["a"], "locale": "de"})),
        fcm_with("f2", json!({"user": "u2"})),
        fcm_with("f1", json!({"user": "u3", "topics": ["a", "b"]})),
        fcm_with("f2", json!({"user": null, "app_version": "2"})),
        fcm_with("f1", json!({"topics": ["b"], "timezone": "UTC"})),
    ];
    imported(&backend, &lines, 2, 3).await;
    let f1 = json!({"user": "u3", "topics": ["b"], "locale": "de", "timezone": "UTC"});
    let f2 = json!({"user": null, "topics": [], "app_version": "2"});
    assert_has(&json!(lookup(&backend, &["f1", "f2"]).await), &json!([f1, f2]));
}

#[tokio::test]
async fn an_import_does_not_change_the_registration_time() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    registered(&backend, fcm_with("f1", json!({"registered_at": "2025-01-02T00:00:00Z"}))).await;
    imported(&backend, &[fcm_with("f1", json!({"user": "u1"})), fcm("f2")], 1, 1).await;
    let known = lookup(&backend, &["f1", "f2"]).await;
    let f1 = json!({"user": "u1", "source": "registered", "registered_at": "2025-01-02T00:00:00.000Z"});
    assert_has(&json!(known), &json!([f1, {"source": "import", "registered_at": null}]));

    // It never moves backwards.
    let at = |time: &str| json!({"registered_at": time});
    let lines = [
        fcm_with("f1", at("2024-12-31T00:00:00Z")),
        fcm_with("f2", at("2025-02-01T00:00:00Z")),
        fcm_with("f2", at("2025-01-01T00:00:00Z")),
    ];
    imported(&backend, &lines, 0, 3).await;
    let known = lookup(&backend, &["f1", "f2"]).await;
    assert_eq!(known[0]["registered_at"], "2025-01-02T00:00:00.000Z");
    assert_eq!(known[1]["registered_at"], "2025-02-01T00:00:00.000Z");
    imported(&backend, &[fcm_with("f1", at("2025-03-01T00:00:00+02:00"))], 0, 1).await;
    assert_eq!(device(&backend, "f1").await["registered_at"], "2025-02-28T22:00:00.000Z");

    registered(&backend, fcm("f2")).await;
    assert_eq!(device(&backend, "f2").await["source"], "registered");
}

#[tokio::test]
async fn a_device_known_from_sends_becomes_an_imported_one() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    imported(&backend, &[fcm("f1")], 1, 0).await;
    let sent = "update devices set source = 1, last_sent_on = current_date";
    sqlx::query(sent).execute(&service.database.pool).await.unwrap();
    imported(&backend, &[fcm("f1")], 0, 1).await;
    assert_eq!(device(&backend, "f1").await["source"], "import");
    let day = "select count(*) from devices where last_sent_on is not null";
    let days: i64 = sqlx::query_scalar(day).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(days, 0, "it is not forgotten");
}

#[tokio::test]
async fn only_a_registration_stated_after_the_evidence_ends_a_quarantine() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    imported(&backend, &[fcm("f1"), fcm("f2"), fcm("f3")], 3, 0).await;
    let aside = "update devices set quarantined_at = now(), quarantine_reason = 'UNREGISTERED', evidence_at = '2025-06-01Z'";
    sqlx::query(aside).execute(&service.database.pool).await.unwrap();
    let lines = [
        fcm_with("f1", json!({"user": "u1"})),
        fcm_with("f2", json!({"registered_at": "2025-06-01T00:00:00Z"})),
        fcm_with("f3", json!({"registered_at": "2025-06-01T00:00:00.001Z"})),
    ];
    imported(&backend, &lines, 0, 3).await;
    let known = lookup(&backend, &["f1", "f2", "f3"]).await;
    let quarantine = json!({"reason": "UNREGISTERED", "at": "<time>"});
    let f1 = json!({"status": "quarantined", "quarantine": quarantine, "user": "u1", "registered_at": null});
    let f2 = json!({"status": "quarantined", "quarantine": quarantine});
    assert_has(&json!(known), &json!([f1, f2, {"status": "active", "quarantine": null}]));
}

#[tokio::test]
async fn a_successor_takes_over_within_a_batch_and_beyond_it() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let old = json!({"user": "u1", "topics": ["news"], "locale": "de", "app_version": "1"});
    registered(&backend, fcm_with("a", old)).await;
    let lines = [
        fcm_with("b", json!({"replaces": "a", "app_version": "2"})),
        fcm_with("c", json!({"replaces": "b", "topics": ["sport"]})),
        fcm_with("d", json!({"replaces": "unknown"})),
        fcm_with("d", json!({"replaces": "d"})),
    ];
    let answer = backend.import("", ndjson(&lines)).await;
    assert_has(&answer.body, &json!({"created": 3, "updated": 1, "failed": 0, "ignored": 2}));
    let known = lookup(&backend, &["a", "b", "c", "d"]).await;
    let replaced = json!({"status": "quarantined", "quarantine": {"reason": "replaced"}, "topics": ["news"]});
    let c =
        json!({"status": "active", "user": "u1", "topics": ["sport"], "locale": "de", "app_version": "2"});
    let d = json!({"status": "active", "user": null, "topics": []});
    assert_has(&json!(known), &json!([replaced, replaced, c, d]));

    // Sent again, it brings nothing back.
    imported(&backend, &[fcm_with("c", json!({"topics": [], "user": null}))], 0, 1).await;
    imported(&backend, &lines[..2], 0, 2).await;
    let known = lookup(&backend, &["a", "b", "c"]).await;
    let c = json!({"status": "active", "user": null, "topics": ["sport"]});
    assert_has(&json!(known), &json!([replaced, replaced, c]));
}

#[tokio::test]
async fn a_backend_may_change_an_environment_that_apns_has_proven() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let token = "ab".repeat(32);
    let line = |environment: Value| json!({"platform": "apns", "token": token, "environment": environment});
    imported(&backend, &[line(json!(null))], 1, 0).await;
    let proven = "update devices set environment_proven = true";
    sqlx::query(proven).execute(&service.database.pool).await.unwrap();
    for (said, becomes) in [(json!("sandbox"), "sandbox"), (json!(null), "production")] {
        imported(&backend, &[line(said)], 0, 1).await;
        assert_eq!(backend.get("/v1/devices").await.body["items"][0]["environment"], becomes);
    }
}

#[tokio::test]
async fn both_platforms_in_one_batch_even_with_one_token() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let lines =
        [json!({"platform": "apns", "token": "aa"}), json!({"platform": "fcm", "token": "aa", "user": "u1"})];
    imported(&backend, &lines, 2, 0).await;
    imported(&backend, &lines[1..], 0, 1).await;
    imported(&backend, &lines, 0, 2).await;
    let known = backend.post("/v1/devices/lookup", json!({"tokens": [&lines[0], fcm("aa")]})).await.body;
    assert_has(
        &known["items"],
        &json!([{"platform": "apns", "user": null}, {"platform": "fcm", "user": "u1"}]),
    );
}

#[tokio::test]
async fn devices_of_another_app_do_not_change() {
    let service = TestApi::start().await;
    let (ours, theirs) =
        (service.client("devices").await, service.client_of(&service.other, "devices").await);
    let line = |user: &str| fcm_with("f1", json!({"user": user, "topics": ["news"]}));
    imported(&theirs, &[line("theirs")], 1, 0).await;
    let before = device(&theirs, "f1").await;
    imported(&ours, &[line("ours"), fcm_with("f2", json!({"replaces": "f1"}))], 2, 0).await;
    assert_eq!(device(&theirs, "f1").await, before);
    assert_eq!(theirs.get("/v1/devices?topic=news").await.body["items"], json!([before]));
    assert_eq!(device(&theirs, "f2").await, Value::Null);
}
