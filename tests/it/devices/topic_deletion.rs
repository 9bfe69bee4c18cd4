//! `DELETE /v1/topics/{topic}`: large topics in pages, beside requests that change the same subscriptions.

use std::time::Duration;

use http::Method;
use pushpost_testkit::api::{ApiClient, TestApi};
use pushpost_testkit::json::text;
use serde_json::{Value, json};

/// Subscribes so many devices and users that there never were, without going through the API.
async fn fill(service: &TestApi, topic: &str, devices: i64, users: i64) {
    let sql = "with topic as (select topic_id, app_id from topics where name = $1),
                 devices as (insert into subscriptions select topic_id, g from topic, generate_series(1000, 999 + $2) g)
               insert into user_subscriptions select topic_id, app_id, 'f' || g from topic, generate_series(1, $3) g";
    sqlx::query(sql).bind(topic).bind(devices).bind(users).execute(&service.database.pool).await.unwrap();
}

async fn delete(client: &ApiClient<'_>, topic: &str) -> Value {
    let answer = client.ask(Method::DELETE, &format!("/v1/topics/{topic}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

async fn subscribe(client: &ApiClient<'_>, topic: &str, members: Value) {
    let answer = client.post(&format!("/v1/topics/{topic}/subscribe"), members).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn all_subscriptions_of_a_large_topic_end_and_those_of_others_stay() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    for topic in ["large", "other"] {
        subscribe(&backend, topic, json!({"users": ["u1"]})).await;
        fill(&service, topic, 12_000, 7_000).await;
    }
    assert_eq!(delete(&backend, "large").await, json!({"devices": 12_000, "users": 7_001}));
    assert_eq!(delete(&backend, "large").await, json!({"devices": 0, "users": 0}), "again");
    let left = backend.get("/v1/topics").await.body;
    assert_eq!(left["items"], json!([{"topic": "other", "devices": 12_000, "users": 7_001}]));
    assert_eq!(backend.get("/v1/users/u1").await.body["topics"], json!(["other"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_subscription_is_waited_for_and_holds_up_no_other() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    subscribe(&backend, "news", json!({"users": ["u1"]})).await;
    fill(&service, "news", 100, 100).await;
    let pool = &service.database.pool;
    let mut holder = pool.acquire().await.unwrap();
    let mut transaction = holder.begin().await.unwrap();
    for lock in [
        "select 1 from subscriptions where device_id = 1050 for update",
        "select 1 from user_subscriptions where user_id = 'f50' for update",
    ] {
        sqlx::query(lock).execute(&mut *transaction).await.unwrap();
    }
    let deletion = delete(&backend, "news");
    let release = async {
        let others = "select (select count(*) from subscriptions)";
        while sqlx::query_scalar::<_, i64>(others).fetch_one(pool).await.unwrap() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        transaction.rollback().await.unwrap();
    };
    let (deleted, ()) = tokio::join!(deletion, release);
    assert_eq!(deleted, json!({"devices": 100, "users": 101}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_deletions_and_registrations_at_once_never_fail_and_the_count_is_right() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let mut devices = Vec::new();
    for n in 0..30 {
        let body = json!({"platform": "fcm", "token": format!("f{n}"), "user": format!("u{}", n % 7)});
        devices.push(text(&backend.put("/v1/devices", body).await.body["id"]));
    }
    let turned = |by: usize| {
        let mut turned = devices.clone();
        turned.rotate_left(by);
        turned
    };
    let change = async |verb: &str, first: usize| {
        for round in 0..12 {
            let topic = format!("t{}", (first + round) % 3);
            let users: Vec<_> = (0..7).rev().map(|n| format!("u{}", (n + first) % 7)).collect();
            let members = json!({"devices": turned((first + round) % 30), "users": users});
            let answer = backend.post(&format!("/v1/topics/{topic}/{verb}"), members).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    let delete_all = async {
        for round in 0..20 {
            delete(&backend, &format!("t{}", round % 3)).await;
        }
    };
    let register = async {
        for n in 0..40 {
            let topics: Vec<_> = (0..n % 4).map(|topic| format!("t{topic}")).collect();
            let body = json!({"platform": "fcm", "token": format!("f{}", n % 30), "topics": topics});
            assert_eq!(backend.put("/v1/devices", body).await.status, 200);
        }
    };
    tokio::join!(
        change("subscribe", 0),
        change("subscribe", 11),
        change("unsubscribe", 5),
        change("unsubscribe", 17),
        delete_all,
        register
    );
    let sql = "select (select count(*) from topics) = (select sum(topic_count) from apps)
                      and not exists (select from subscriptions where topic_id not in (select topic_id from topics))";
    assert!(sqlx::query_scalar::<_, bool>(sql).fetch_one(&service.database.pool).await.unwrap());
    for topic in 0..4 {
        delete(&backend, &format!("t{topic}")).await;
    }
    assert_eq!(backend.get("/v1/topics").await.body["items"], json!([]));
}
