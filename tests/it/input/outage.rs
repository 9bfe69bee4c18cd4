//! 503: the database is out of reach.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::assert_problem;
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, stored};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::WAIT_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_nothing_is_half_stored_and_clients_get_503() {
    let mut service = TestService::builder().build().await;
    let proxy = PostgresProxy::of(&service.database).await;
    service.configure("DATABASE__URL", proxy.url());
    service.node(Role::Api).await;
    let (s, new) = (service.key("send,devices").await, service.key("send").await);
    let to = |token: &str| json!({"to": {"tokens": [{"platform": "fcm", "token": token}], "users": ["u"]}, "title": "A"});
    assert_eq!(ApiRequest::post(SEND, &to("f1")).key(&s).of(&service).await.status, 202);
    let before = stored(&service).await;
    proxy.set_away(true);
    for ask in [
        ApiRequest::post(SEND, &to("f2")).key(&s),
        ApiRequest::post(SEND, &to("f1")).key(&s),
        ApiRequest::post(SEND, &to("f1")).key(&new),
        ApiRequest::put(DEVICES, &json!({"platform": "fcm", "token": "f3"})).key(&s),
        ApiRequest::get(DEVICES).key(&s),
        ApiRequest::get("/v1/notifications/ntf_00000000000000000000000000000000").key(&s),
    ] {
        let answer = ask.of(&service).await;
        assert_problem(&answer, 503, "unavailable", &json!([]));
        assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    }
    let faulty = ApiRequest::json(Method::POST, SEND, "{").key(&s).of(&service).await;
    assert!([400, 503].contains(&faulty.status.as_u16()), "{faulty:?}");
    assert_eq!(stored(&service).await, before);
    proxy.set_away(false);
    let until = Instant::now() + WAIT_MAX;
    while ApiRequest::post(SEND, &to("f2")).key(&s).of(&service).await.status != 202 {
        assert!(Instant::now() < until, "Postgres is back");
        sleep(Duration::from_millis(50)).await;
    }
    service.database.until_count("select count(*) from notifications", 2).await;
    service.database.until_count("select count(*) from devices", 2).await;
    service.stop_undecided().await;
}
