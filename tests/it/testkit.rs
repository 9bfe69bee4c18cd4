//! What the test kit gives to tests: databases, a clock that they hold, and judgements by the OpenAPI document.

use std::time::Duration;

use pushpost::store::{Purpose, SessionPool};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::held_time::HeldTime;
use pushpost_testkit::schema::{DOCUMENT, fault};
use serde_json::{Value, json};

#[tokio::test]
async fn a_test_has_a_migrated_database_of_its_own() {
    let (one, other) = (TestDatabase::create().await, TestDatabase::create().await);
    sqlx::query("insert into apps (name) values ('shop')").execute(&one.pool).await.unwrap();
    let by_url = SessionPool::new(one.url().parse().unwrap(), Purpose::Requests, 1);
    for (pool, apps) in [(&one.pool, 1), (&by_url, 1), (&other.pool, 0)] {
        let found: i64 = sqlx::query_scalar("select count(*) from apps").fetch_one(pool).await.unwrap();
        assert_eq!(found, apps);
    }
}

/// Without it, a pool that pauses after a refused connection would pause for ever.
#[tokio::test]
async fn a_held_clock_moves_on_when_the_test_itself_waits_for_it() {
    let _time = HeldTime::hold();
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// A value with one member set.
fn with(mut value: Value, pointer: &str, name: &str, member: Value) -> Value {
    value.pointer_mut(pointer).unwrap()[name] = member;
    value
}

#[test]
fn each_keyword_of_the_document_forbids_what_it_should() {
    let schema = |name: &str| &DOCUMENT["components"]["schemas"][name];
    let send = schema("SendRequest")["example"].clone();
    let batch =
        &DOCUMENT["paths"]["/v1/notifications/batch"]["post"]["requestBody"]["content"]["application/json"];
    assert_eq!(fault(schema("SendRequest"), &send), None);
    assert_eq!(fault(&batch["schema"], &json!([send, send])), None);
    let clean = json!({"inactive_days": 7.0, "platforms": ["apns"], "max_share": 1});
    assert_eq!(fault(schema("CleanupRequest"), &clean), None);
    for (keyword, schema, value) in [
        ("items", &batch["schema"], json!([send, {}])),
        ("minItems", &batch["schema"], json!([])),
        ("required", schema("SendRequest"), json!({"title": "Hi"})),
        ("additionalProperties", schema("SendRequest"), with(send.clone(), "", "titel", json!("Hi"))),
        ("type", schema("SendRequest"), with(send.clone(), "", "title", json!(7))),
        ("maximum", schema("SendRequest"), with(send.clone(), "", "badge", json!(2_147_483_648_u64))),
        ("enum", schema("SendRequest"), with(send.clone(), "", "priority", json!("urgent"))),
        ("pattern", schema("SendRequest"), with(send.clone(), "", "label", json!("a b"))),
        ("maxLength", schema("SendRequest"), with(send.clone(), "", "collapse_key", json!("x".repeat(65)))),
        ("minProperties", schema("SendRequest"), with(send.clone(), "", "to", json!({}))),
        ("type", schema("SendRequest"), with(send.clone(), "/apns/headers", "apns-priority", json!(5))),
        ("minimum", schema("CleanupRequest"), with(clean.clone(), "", "inactive_days", json!(0))),
        ("type", schema("CleanupRequest"), with(clean.clone(), "", "inactive_days", json!(7.5))),
        ("format", schema("Timestamp"), json!("2026-02-30T00:00:00Z")),
    ] {
        assert!(fault(schema, &value).is_some(), "{keyword}: {value}");
    }
}
