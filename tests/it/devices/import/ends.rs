//! Imports that end early, and lines that Postgres does not take.

use pushpost_testkit::json::assert_has;
use std::convert::Infallible;

use axum::body::Body;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{device, fcm, ndjson};
use pushpost_testkit::api::TestApi;

/// Two lines, the second after something has happened; then nothing more comes.
fn two_lines(happens: impl Future<Output = ()> + Send + 'static) -> Body {
    let first = stream::iter([Ok::<_, Infallible>(ndjson(&[fcm("f1")]))]);
    let second = stream::once(async move {
        happens.await;
        Ok(ndjson(&[fcm("f2")]))
    });
    Body::from_stream(first.chain(second).chain(stream::pending()))
}

#[tokio::test]
async fn an_import_on_a_stopping_node_says_how_far_it_came() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let health = service.health.clone();
    let answer = backend.import("", two_lines(async move { health.start_draining() })).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (503, &json!("shutting_down")));
    assert!(answer.headers.contains_key("retry-after"));
    assert_has(&answer.body["import"], &json!({"lines": 2, "created": 2, "stopped_at": 3}));
    assert!(answer.body["detail"].as_str().unwrap().contains("before line 3 is imported"), "{}", answer.body);
    assert!(device(&backend, "f2").await.is_object());
}

#[tokio::test]
async fn an_import_without_a_database_says_how_far_it_came() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let pool = service.database.pool.clone();
    let known = "select count(*) from devices";
    let lost = async move {
        while sqlx::query_scalar::<_, i64>(known).fetch_one(&pool).await.unwrap() < 1 {
            tokio::task::yield_now().await;
        }
        pool.close().await;
    };
    let answer = backend.import("", two_lines(lost)).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (503, &json!("unavailable")));
    assert!(!answer.body["detail"].as_str().unwrap().contains("Nothing was stored"), "{}", answer.body);
    assert_has(&answer.body["import"], &json!({"lines": 1, "created": 1, "failed": 0, "stopped_at": 2}));
}

#[tokio::test]
async fn a_line_that_postgres_does_not_take_fails_alone() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let check = "alter table devices add check (token not in ('f3', 'f8'))";
    sqlx::query(check).execute(&service.database.pool).await.unwrap();
    let lines: Vec<Value> = (1..=9).map(|n| fcm(&format!("f{n}"))).collect();
    let answer = backend.import("?on_error=stop", ndjson(&lines)).await;
    assert_has(&answer.body, &json!({"lines": 3, "created": 2, "failed": 1, "stopped_at": 3}));
    assert_eq!(device(&backend, "f4").await, Value::Null);
    let answer = backend.import("", ndjson(&lines)).await;
    assert_has(&answer.body, &json!({"lines": 9, "created": 5, "updated": 2, "failed": 2}));
    let told: Vec<_> = answer.body["errors"].as_array().unwrap().iter().collect();
    let codes: Vec<_> = told.iter().map(|error| (&error["line"], &error["problem"]["code"])).collect();
    assert_eq!(json!(codes), json!([[3, "internal"], [8, "internal"]]));
}
