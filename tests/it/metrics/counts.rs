//! What requests, accepted notifications, fan-outs, statements and the node itself are counted as.

use chrono::DateTime;
use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::{apns_targets, fcm_targets};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_by_route_and_answer() {
    let service = TestService::start().await;
    for _ in 0..3 {
        service.get("/v1/notifications/ntf_doesnotexist").await;
    }
    let phone = service.key("register").await;
    let get = service.url("/v1/devices");
    for key in [phone.as_str(), "pp_wrong"] {
        service.http.get(&get).bearer_auth(key).send().await.unwrap();
    }
    let odd = Method::from_bytes(b"BREW").unwrap();
    service.http.request(odd, service.url("/coffee")).send().await.unwrap();

    let scrape = service.scrape(0).await;
    let route = r#"route="/v1/notifications/{id}""#;
    assert_eq!(
        scrape.value(&format!(r#"pushpost_http_requests_total{{{route},method="GET",code="404"}}"#)),
        3.0
    );
    assert_eq!(scrape.value(&format!("pushpost_http_request_seconds_count{{{route}}}")), 3.0);
    let none = r#"pushpost_http_requests_total{route="none",method="other",code="404"}"#;
    assert_eq!(scrape.value(none), 1.0);
    for (code, count) in [("missing_scope", 1.0), ("unauthenticated", 1.0), ("queue_full", 0.0)] {
        let sample = format!(r#"pushpost_http_refused_total{{code="{code}"}}"#);
        assert_eq!(scrape.value(&sample), count, "{code}");
    }
    assert_eq!(scrape.get(r#"pushpost_http_refused_total{code="not_found"}"#), None);
    assert!(scrape.value(r#"pushpost_http_connections{listener="listen"}"#) >= 1.0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_are_counted_by_how_their_devices_are_found() {
    let service = TestService::start().await;
    for n in 0..4 {
        let device = json!({"platform": "fcm", "token": format!("f{n}"), "topics": ["news"]});
        service.devices().register(device).await;
    }
    let in_an_hour = service.database.now_ms().await + 3_600_000;
    let send_at = DateTime::from_timestamp_millis(in_an_hour).unwrap().to_rfc3339();
    let send = async |body| service.notifications().send(body).await;
    let single = send(json!({"to": {"tokens": apns_targets("a", 2)}, "title": "Hi"})).await;
    let keyed = json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi", "idempotency_key": "once"});
    let [first, second] = [send(keyed.clone()).await, send(keyed).await];
    assert_eq!(first, second, "it is a repeat");
    let broadcast = send(json!({"to": {"topics": ["news"]}, "title": "Hi"})).await;
    let later = send(json!({"to": {"topics": ["news"]}, "title": "Hi", "send_at": send_at})).await;
    for id in [&single, &first, &broadcast] {
        service.notifications().until_done(id).await;
    }

    let scrape = service.scrape(0).await;
    for (audience, count) in [("direct", 2.0), ("broadcast", 1.0), ("scheduled", 1.0)] {
        let sample = format!(r#"pushpost_notifications_total{{app="shop",audience="{audience}"}}"#);
        assert_eq!(scrape.value(&sample), count, "{audience}");
    }
    assert_eq!(scrape.value(r#"pushpost_fan_out_devices_total{app="shop"}"#), 4.0);
    assert_eq!(scrape.value("pushpost_accept_seconds_count"), 4.0);
    assert_eq!(scrape.value("pushpost_accept_batch_notifications_sum"), 4.0);
    assert!(service.delete(&format!("/v1/notifications/{later}")).await.status.is_success());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_skips_the_claim_is_counted() {
    let service = TestService::start().await;
    // The first jobs wait for a claim: a lane that has just started does not know yet whether older jobs wait.
    until("a job skips the claim", async || {
        let to = json!({"tokens": apns_targets("a", 1)});
        service.notifications().send(json!({"to": to, "title": "Hi"})).await;
        service.scrape(0).await.sum("pushpost_handovers_total{") > 0.0
    })
    .await;
    until("all are sent", async || service.database.count("select count(*) from jobs").await == 0).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_counts_each_notification_and_its_one_commit() {
    let service = TestService::start().await;
    let item = |n: usize| json!({"to": {"tokens": fcm_targets(&format!("f{n}-"), 1)}, "title": "Hi"});
    let items: Vec<_> = (0..25).map(item).collect();
    let answer = service.post("/v1/notifications/batch", json!(items)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let scrape = service.scrape(0).await;
    assert_eq!(scrape.value(r#"pushpost_notifications_total{app="shop",audience="direct"}"#), 25.0);
    assert_eq!(scrape.value(r#"pushpost_accept_batch_notifications_bucket{le="50.0"}"#), 1.0);
    assert_eq!(scrape.value(r#"pushpost_accept_batch_notifications_bucket{le="20.0"}"#), 0.0);
    assert_eq!(scrape.value("pushpost_accept_seconds_count"), 1.0);
    service.until_received(25).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_nodes_leads_and_both_show_their_pools() {
    let service = TestService::builder().node(Role::All).node(Role::Api).build().await;
    until("a node leads", async || {
        let leaders = service.scrape(0).await.value("pushpost_leader")
            + service.scrape(1).await.value("pushpost_leader");
        leaders == 1.0
    })
    .await;
    for node in 0..2 {
        let beats = r#"pushpost_postgres_seconds_count{pool="heartbeat"}"#;
        until("a node beats", async || service.scrape(node).await.value(beats) >= 1.0).await;
        let scrape = service.scrape(node).await;
        assert_eq!(scrape.value("pushpost_postgres_up"), 1.0);
        assert_eq!(scrape.value("pushpost_draining"), 0.0);
        assert!(scrape.value("pushpost_heartbeat_age_seconds") < 15.0, "it lives");
        // Postgres runs on this machine.
        assert!(scrape.value("pushpost_clock_offset_seconds").abs() < 60.0);
        assert!(scrape.value(r#"pushpost_postgres_wait_seconds_count{pool="heartbeat"}"#) >= 1.0);
        assert_eq!(scrape.value(r#"pushpost_postgres_connections{pool="heartbeat",state="used"}"#), 1.0);
        assert_eq!(scrape.value(r#"pushpost_postgres_errors_total{class="data"}"#), 0.0);
        assert!(scrape.sum("pushpost_build_info{") == 1.0);
        assert!(scrape.value("process_cpu_seconds_total") > 0.0);
        assert!(scrape.value("process_resident_memory_bytes") > 1e6);
        assert!(scrape.value("process_open_fds") <= scrape.value("process_max_fds"));
        assert!(scrape.value("process_start_time_seconds") > 1.6e9);
    }
    service.stop().await;
}
