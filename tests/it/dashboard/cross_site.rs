//! Changes that no page of the dashboard asks for, and proxies in front of it.

use http::Method;
use pushpost_testkit::json::assert_problem;
use pushpost_testkit::request::service_without_workers;
use serde_json::json;

use super::{Browser, SESSION};

const PAUSE: &str = "/dashboard/api/admin/lanes/fcm/pause";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_another_page_asks_for_is_refused() {
    let service = service_without_workers(&[]).await;
    let browser = Browser::with_key(&service, &service.key("admin").await).await;
    let port: u16 = browser.origin.rsplit(':').next().unwrap().parse().unwrap();
    let other_port = format!("http://127.0.0.1:{}", port ^ 1);
    let lookalike = format!("{}.evil.example", browser.origin);
    for (what, name, value) in [
        ("no mark", "x-pushpost-dashboard", ""),
        ("another mark", "x-pushpost-dashboard", "true"),
        ("no origin", "origin", ""),
        ("no page", "origin", "null"),
        ("another site", "origin", "https://evil.example"),
        ("another port", "origin", &*other_port),
        ("another name", "origin", &format!("http://localhost:{port}")),
        ("a longer name", "origin", &lookalike),
        ("another host", "host", "push.example.com"),
    ] {
        let sender = browser.sends(name, value);
        for (method, path) in [
            (Method::POST, PAUSE),
            (Method::DELETE, "/dashboard/api/devices/dev_x"),
            (Method::POST, "/dashboard/api/devices/lookup"),
            (Method::POST, SESSION),
            (Method::DELETE, SESSION),
        ] {
            let answer = sender.ask(method.clone(), path, None).await;
            assert_problem(&answer, 403, "cross_site", &json!([]));
            assert!(!answer.headers.contains_key("set-cookie"), "{what}: {method} {path}");
        }
        assert_eq!(
            sender.get("/dashboard/api/admin/lanes").await.status,
            200,
            "{what}: reading changes nothing"
        );
    }
    assert_eq!(service.database.count("select count(*) from lanes where paused_at is not null").await, 0);
    assert_eq!(browser.post(PAUSE).await.status, 200);
    assert_eq!(service.database.count("select count(*) from lanes where paused_at is not null").await, 1);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_trusted_proxy_says_how_the_browser_came() {
    for (trusted, proto, allowed) in [
        ("", "https", false),
        ("198.51.100.0/24", "https", false),
        ("127.0.0.0/8", "https", true),
        ("127.0.0.0/8", "HTTPS", true),
        ("127.0.0.0/8", "Https, http", true),
    ] {
        let forwarded = [("x-forwarded-host", "push.example.com"), ("x-forwarded-proto", proto)];
        let service = service_without_workers(&[("SERVER__TRUSTED_PROXIES", trusted)]).await;
        let admin = service.key("admin").await;
        let behind = |origin: &str| {
            let browser = Browser::of(&service).sends("origin", origin);
            forwarded.iter().fold(browser, |browser, (name, value)| browser.sends(name, value))
        };
        let answer = behind("https://push.example.com").log_in(&admin).await;
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "trusted: {trusted}, {proto}: {answer:?}");
        let secure = |answer: &pushpost_testkit::answer::Answer| {
            answer.headers.get("set-cookie").is_some_and(|set| set.to_str().unwrap().ends_with("; Secure"))
        };
        assert_eq!(secure(&answer), allowed, "{proto}");
        // The name that the proxy asked for does not count then; and without the proxy's word it does.
        let direct = Browser::of(&service).origin;
        let answer = behind(&direct).log_in(&admin).await;
        assert_eq!(
            (answer.status.as_u16(), secure(&answer)),
            if allowed { (403, false) } else { (200, false) }
        );
        assert_eq!(behind("http://push.example.com").log_in(&admin).await.status, 403, "another scheme");
        if !allowed {
            service.expect_log("X-Forwarded-For comes from an address");
        }
        service.stop_undecided().await;
    }
}
