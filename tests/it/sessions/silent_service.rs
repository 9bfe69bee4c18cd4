//! The whole service while its sessions die in silence, or turn read-only as after a failover.

use std::time::Duration;

use pushpost::runtime::Role;
use serde_json::json;
use tokio::time::{Instant, sleep};

use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND};
use pushpost_testkit::service::TestService;

/// From the cut to an answer 202: the product's promise.
const RECOVERY: Duration = Duration::from_secs(15);

/// Asks until the answer is a success, within the promise; nothing but 503 may come before.
async fn succeeds(service: &TestService, cut: Instant, ask: impl Fn() -> ApiRequest) {
    loop {
        let status = ask().of(service).await.status;
        if matches!(status.as_u16(), 200..300) {
            assert!(cut.elapsed() < RECOVERY, "after {:?}", cut.elapsed());
            return;
        }
        assert_eq!(status, 503);
        assert!(cut.elapsed() < RECOVERY, "no success after {:?}", cut.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
}

async fn node_behind_a_proxy() -> (TestService, PostgresProxy, String) {
    let mut service = TestService::builder().build().await;
    let proxy = PostgresProxy::of(&service.database).await;
    service.configure("DATABASE__URL", proxy.url());
    service.node(Role::All).await;
    let secret = service.key("send,read,devices").await;
    (service, proxy, secret)
}

/// Everything works again: what is accepted is claimed, sent and recorded, and devices are registered.
async fn assert_goes_on(service: &TestService, secret: &str, cut: Instant, round: usize) {
    let to = json!({"tokens": [{"platform": "fcm", "token": format!("f{round}")}]});
    let post = || ApiRequest::post(SEND, &json!({"to": to, "title": "Hi"})).key(secret);
    let put =
        || ApiRequest::put(DEVICES, &json!({"platform": "fcm", "token": format!("g{round}")})).key(secret);
    tokio::join!(succeeds(service, cut, post), succeeds(service, cut, put));
    let id = service.notifications().send(json!({"to": to, "title": "Again"})).await;
    assert_eq!(service.notifications().outcome(&id).await["status"], "accepted");
    let ready = || ApiRequest::get("/readyz");
    while ready().of(service).await.status != 200 {
        assert!(cut.elapsed() < 4 * RECOVERY, "the node is not ready again");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sessions_delay_sending_by_seconds() {
    let (service, proxy, secret) = node_behind_a_proxy().await;
    assert_goes_on(&service, &secret, Instant::now(), 0).await;
    for round in 1..=2 {
        proxy.silence();
        assert_goes_on(&service, &secret, Instant::now(), round).await;
    }
    service.stop_with_duplicates().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_sessions_delay_sending_by_seconds() {
    let (service, proxy, secret) = node_behind_a_proxy().await;
    assert_goes_on(&service, &secret, Instant::now(), 0).await;
    proxy.make_read_only().await;
    assert_goes_on(&service, &secret, Instant::now(), 1).await;
    service.stop_with_duplicates().await;
}
