//! A proxy in front of the service that the configuration does not trust.

use http::Method;
use serde_json::json;

use pushpost_testkit::processes::TestProcess;

const MESSAGE: &str = "X-Forwarded-For comes from an address that is not in server.trusted_proxies";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untrusted_proxy_is_reported_once_with_its_address() {
    for (trusted, lines) in [("", 1), ("127.0.0.1", 0)] {
        let mut process = TestProcess::create().await;
        process.variable("PUSHPOST__SERVER__TRUSTED_PROXIES", trusted);
        process.serve().await;
        let phone = process.key("register").await;
        for n in 0..3 {
            let request = process.http.put(process.url("/v1/devices")).bearer_auth(&phone);
            let request = request.header("X-Forwarded-For", format!("198.51.100.{n}"));
            let answer = request.json(&json!({"platform": "fcm", "token": format!("f{n}")})).send().await;
            assert_eq!(answer.unwrap().status(), 201);
        }
        // Without the header there is nothing to tell.
        assert_eq!(process.ask(Method::GET, "/v1/devices", &phone, None).await.status, 403);
        process.expect_log("X-Forwarded-For comes from an address");
        assert!(process.stop().await.success());
        let log = process.log();
        assert_eq!(log.matches(MESSAGE).count(), lines, "trusted: {trusted:?}: {log}");
        if lines > 0 {
            let line = log.lines().find(|line| line.contains(MESSAGE)).unwrap();
            assert!(line.contains(r#"server.trusted_proxies = [\"127.0.0.1\"]"#), "{line}");
        }
    }
}
