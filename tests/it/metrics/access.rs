//! Which listeners answer `/metrics`, and to which clients.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::service::TestService;
use reqwest::StatusCode;

/// The status of the answer to a request with these headers.
async fn status(service: &TestService, url: &str, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = service.http.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_listener_for_operators_only_programs_on_this_machine_read_metrics() {
    let service = TestService::start().await;
    let url = service.url("/metrics");
    assert_eq!(status(&service, &url, &[]).await, 200);
    for refused in
        [("host", "push.example.com"), ("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.7")]
    {
        assert_eq!(status(&service, &url, &[refused]).await, 404, "{refused:?}");
    }
    let by_admin = service.by_admin(Method::POST, "/metrics").await;
    assert_eq!(by_admin.status, 405);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_listener_for_operators_only_that_one_answers_metrics() {
    let service =
        TestService::builder().config("SERVER__INTERNAL_LISTEN", "127.0.0.1:0").node(Role::All).build().await;
    assert_eq!(status(&service, &service.url("/metrics"), &[]).await, 404);
    let internal = service.health_url(0, "/metrics");
    let as_by_a_proxy = [("host", "pushpost.internal.example"), ("x-forwarded-for", "10.1.2.3")];
    assert_eq!(status(&service, &internal, &as_by_a_proxy).await, 200);
    let scrape = service.scrape(0).await;
    assert_eq!(
        scrape.value(r#"pushpost_http_requests_total{route="/metrics",method="GET",code="200"}"#),
        1.0
    );
    assert!(scrape.value(r#"pushpost_http_connections{listener="internal_listen"}"#) >= 1.0);
    // The runbook has one address for all its commands.
    let notification = service.health_url(0, "/v1/notifications/ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b/why");
    assert_eq!(status(&service, &notification, &[]).await, 401, "the path is there, and asks for a key");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_answers_metrics_where_it_answers_probes() {
    let service = TestService::builder().node(Role::Api).node(Role::Worker).build().await;
    let internal = service.health_url(1, "/metrics");
    assert_eq!(status(&service, &internal, &[]).await, 200);
    assert_eq!(status(&service, &internal, &[("host", "push.example.com")]).await, 404);
    let [api, worker] = [service.scrape(0).await, service.scrape(1).await];
    assert_eq!(api.get(r#"pushpost_in_flight{lane="shop/fcm"}"#), None, "it has no lanes");
    assert_eq!(worker.value(r#"pushpost_in_flight{lane="shop/fcm"}"#), 0.0);
    service.stop().await;
}
