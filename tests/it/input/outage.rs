//! 503: the database is out of reach.

use http::Method;
use pushpost::runtime::Role;
use pushpost_simulator::Settings;
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use super::ask::{Ask, DEVICES, SEND, assert_problem, key, stored};
use crate::proxy::Proxy;
use crate::whole::stage::{PATIENCE, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_nothing_is_half_stored_and_clients_are_asked_to_come_again() {
    let mut stage = Stage::set(Settings::default()).await;
    let proxy = Proxy::of(&stage.database).await;
    stage.configure("DATABASE__URL", proxy.url());
    stage.node(Role::Api).await;
    let (s, new) = (key(&stage, "send,devices").await, key(&stage, "send").await);
    let to = |token: &str| json!({"to": {"tokens": [{"platform": "fcm", "token": token}], "users": ["u"]}, "title": "A"});
    assert_eq!(Ask::post(SEND, &to("f1")).key(&s).of(&stage).await.status, 202);
    let before = stored(&stage).await;
    proxy.set_away(true);
    for ask in [
        Ask::post(SEND, &to("f2")).key(&s),
        Ask::post(SEND, &to("f1")).key(&s),
        Ask::post(SEND, &to("f1")).key(&new),
        Ask::put(DEVICES, &json!({"platform": "fcm", "token": "f3"})).key(&s),
        Ask::get(DEVICES).key(&s),
        Ask::get("/v1/notifications/ntf_00000000000000000000000000000000").key(&s),
    ] {
        let answer = ask.of(&stage).await;
        assert_problem(&answer, 503, "unavailable", &json!([]));
        assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
    let faulty = Ask::json(Method::POST, SEND, "{").key(&s).of(&stage).await;
    assert!([400, 503].contains(&faulty.status.as_u16()), "{faulty:?}");
    assert_eq!(stored(&stage).await, before);
    proxy.set_away(false);
    let until = Instant::now() + PATIENCE;
    while Ask::post(SEND, &to("f2")).key(&s).of(&stage).await.status != 202 {
        assert!(Instant::now() < until, "Postgres is back");
        sleep(Duration::from_millis(50)).await;
    }
    stage.until_count("select count(*) from notifications", 2).await;
    stage.until_count("select count(*) from devices", 2).await;
    stage.stop_undecided().await;
}
