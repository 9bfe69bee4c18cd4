//! `kill -9` in the middle of an erasure: a repeat on another node does the rest.

use http::Method;
use serde_json::{Value, json};

use pushpost_testkit::processes::TestCluster;

/// Devices of the user. An erasure deletes 500 at a time.
const DEVICES: i64 = 1_200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_whose_process_is_killed_is_completed_by_its_repeat() {
    let cluster = TestCluster::create(&[]).await;
    let mut first = cluster.node(cluster.database.url()).await;
    let second = cluster.node(cluster.database.url()).await;
    let pause = cluster.ask(&first, Method::POST, "/v1/admin/lanes/fcm/pause", None).await;
    assert_eq!(pause.0, Some(200), "{pause:?}");
    let fill = format!(
        "insert into devices (app_id, platform, environment, token, token_digest, user_id)
         select app_id, 2, 0, 'f' || g, substr(sha256(g::text::bytea), 1, 16), 'alice'
         from apps, generate_series(1, {DEVICES}) g where name = 'shop'"
    );
    cluster.database.execute(&fill).await;
    let members = json!({"users": ["alice"]});
    let subscribed = cluster.ask(&first, Method::POST, "/v1/topics/news/subscribe", Some(&members)).await;
    assert_eq!(subscribed.0, Some(200), "{subscribed:?}");
    let id = cluster.notify(&first, &json!({"to": {"all": true}, "title": "A"})).await;
    let expanded = async || cluster.counts(&second, &id).await["pending"] == DEVICES;
    cluster.until("each device waits", &[&first, &second], expanded).await;

    // The last page of devices waits for a lock, and its process is killed.
    let mut holder = cluster.database.pool.acquire().await.unwrap();
    let mut transaction = holder.begin().await.unwrap();
    sqlx::query("select 1 from devices order by device_id desc limit 1 for update")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let path = "/v1/users/alice";
    let request = cluster.http.delete(first.url(path)).bearer_auth(cluster.key("devices").await);
    let killed = async {
        let stands = async || cluster.database.count("select count(*) from devices").await == DEVICES - 1_000;
        cluster.until("the erasure waits for the lock", &[&second], stands).await;
        first.kill().await;
    };
    let (answer, ()) = tokio::join!(request.send(), killed);
    assert!(answer.is_err(), "the process that should answer was killed");
    transaction.rollback().await.unwrap();

    let repeated = cluster.ask(&second, Method::DELETE, path, None).await;
    assert_eq!(repeated, (Some(200), json!({"devices": DEVICES - 1_000, "cancelled": DEVICES})));
    let again = cluster.ask(&second, Method::DELETE, path, None).await;
    assert_eq!(again, (Some(200), json!({"devices": 0, "cancelled": 0})));
    let counts = cluster.counts(&second, &id).await;
    assert_eq!((&counts["targets"], &counts["cancelled"]), (&json!(DEVICES), &json!(DEVICES)), "{counts}");
    let left = "select (select count(*) from devices) + (select count(*) from user_subscriptions) + (select count(*) from jobs)";
    assert_eq!(cluster.database.count(left).await, 0);
    let deliveries = format!("/v1/notifications/{id}/deliveries?limit=1000");
    let items = cluster.ask(&second, Method::GET, &deliveries, None).await.1["items"].take();
    assert!(items.as_array().unwrap().iter().all(|delivery| delivery["device"] == Value::Null));
}
