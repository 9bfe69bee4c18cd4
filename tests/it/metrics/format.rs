//! The two forms of the answer, and that Prometheus's own checker takes one.

use std::process::Stdio;

use pushpost_testkit::json::{fcm_targets, hex};
use pushpost_testkit::service::TestService;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// `promtool check metrics` has nothing to say about it.
pub(super) async fn assert_valid(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().expect("promtool is installed: scripts/ensure-promtool");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = promtool.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_takes_the_text_and_nothing_names_a_person() {
    let service = TestService::start().await;
    let user =
        json!({"platform": "apns", "token": hex("a1"), "user": "user-seven", "topics": ["topic-nine"]});
    let device = service.devices().register(user).await;
    let to = json!({"users": ["user-seven"], "tokens": fcm_targets("secret-token-", 3)});
    let id = service.notifications().send(json!({"to": to, "title": "Hi", "label": "label-two"})).await;
    service.notifications().until_done(&id).await;
    assert_eq!(service.get(&format!("/v1/notifications/{id}?odd=query-five")).await.status, 400);
    assert_eq!(service.get("/v1/path-eleven").await.status, 404);

    let scrape = service.scrape(0).await;
    assert_valid(&scrape.text).await;
    for secret in [
        "user-seven",
        "topic-nine",
        "label-two",
        "query-five",
        "path-eleven",
        "secret-token",
        &hex("a1"),
        &device,
        &id,
        &id[4..],
        "pp_",
    ] {
        assert!(!scrape.text.contains(secret), "{secret} in\n{}", scrape.text);
    }
    assert!(scrape.series() <= 1_500, "{} series", scrape.series());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openmetrics_is_answered_to_collectors_that_ask_for_it() {
    let service = TestService::start().await;
    let asked = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = service.http.get(service.url("/metrics")).header("accept", asked).send().await.unwrap();
    let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(media_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(answer.text().await.unwrap().ends_with("\n# EOF\n"));
    let answer = service.http.get(service.url("/metrics")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    service.stop().await;
}
