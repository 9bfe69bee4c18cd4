//! What the log says of requests, attempts and operators' actions (docs/logs.md), and that one burst is one line.

use http::Method;
use pushpost_simulator::{Action, FcmFault, Rule};
use pushpost_testkit::json::{assert_has, fcm_targets};
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::TestProcess;
use pushpost_testkit::wait::until_some;
use serde_json::{Value, json};

use super::commands::run;

const SEND: &str = "/v1/notifications";

/// The lines of the log with this target.
fn lines(process: &TestProcess, target: &str) -> Vec<Value> {
    let log = process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == target).collect()
}

async fn send(process: &TestProcess, key: &str, targets: Vec<Value>) -> String {
    let body = json!({"to": {"tokens": targets}, "title": "Hi"});
    let sent = process.ask(Method::POST, SEND, key, Some(&body)).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    sent.body["id"].as_str().unwrap().to_owned()
}

async fn until_done(process: &TestProcess, key: &str, id: &str) {
    let path = format!("{SEND}/{id}");
    let done = async || {
        let status = process.ask(Method::GET, &path, key, None).await.body;
        (status["status"] == "done").then_some(())
    };
    until_some("the notification is done", done).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_logged_with_what_it_took_if_asked_for() {
    let mut process = TestProcess::create().await;
    process.variable("PUSHPOST_LOG", "info,pushpost::request=debug");
    process.serve().await;
    let key = process.key("send,read").await;
    let id = send(&process, &key, fcm_targets("f", 2)).await;
    process.ask(Method::GET, &format!("{SEND}/{id}"), &key, None).await;
    process.ask(Method::GET, "/v1/nothing", &key, None).await;
    process.http.get(process.url("/healthz")).send().await.unwrap();
    assert!(process.stop().await.success());
    let lines = lines(&process, "pushpost::request");
    let of = |method: &str, route: &str| {
        let is_this = |line: &&Value| line["method"] == method && line["route"] == route;
        lines.iter().find(is_this).unwrap_or_else(|| panic!("{method} {route}: {lines:#?}")).clone()
    };
    let sent = of("POST", SEND);
    assert_has(
        &sent,
        &json!({"level": "DEBUG", "message": "request is answered", "status": 202, "targets": 2, "notification": id,
                "app": "shop", "key": "<key>", "request_id": "<id>", "timestamp": "<time>"}),
    );
    for number in ["elapsed_ms", "db_ms", "request_bytes", "node"] {
        assert!(sent[number].as_f64().unwrap() > 0.0, "{number}: {sent}");
    }
    assert!(sent["db_ms"].as_f64() <= sent["elapsed_ms"].as_f64(), "{sent}");
    let read = of("GET", "/v1/notifications/{id}");
    assert_has(&read, &json!({"status": 200}));
    assert!(read["db_ms"].as_f64().unwrap() > 0.0 && read.get("request_bytes").is_none(), "{read}");
    assert_has(&of("GET", "-"), &json!({"status": 404}));
    assert_has(&of("GET", "/healthz"), &json!({"level": "DEBUG"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_were_not_accepted_are_logged_one_by_one_or_by_the_job() {
    let mut process = TestProcess::create().await;
    process.serve().await;
    let key = process.key("send,read").await;
    for token in ["few0", "many3", "many4"] {
        process.simulator.add_rule(Rule::token(token, Action::fcm(FcmFault::Unregistered)));
    }
    let few = send(&process, &key, fcm_targets("few", 2)).await;
    until_done(&process, &key, &few).await;
    let many = send(&process, &key, fcm_targets("many", 30)).await;
    until_done(&process, &key, &many).await;
    assert!(process.stop().await.success());
    assert_eq!(lines(&process, "pushpost::request"), [] as [Value; 0], "requests are for developers");
    let lines = lines(&process, "pushpost::attempt");
    assert_has(
        &json!(lines),
        &json!([
            {"level": "INFO", "message": "attempt ended", "lane": "shop/fcm", "notification": few, "attempt": 1,
             "outcome": "token_dead", "reason": "UNREGISTERED"},
            {"level": "INFO", "message": "attempts of a job ended", "lane": "shop/fcm", "notification": many, "attempt": 1,
             "devices": 30, "accepted": 28, "token_dead": 2, "reasons": "UNREGISTERED"},
        ]),
    );
    assert!(lines[0]["waited_ms"].is_i64() && lines[0]["provider_ms"].is_u64(), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_is_logged_with_the_status_of_its_answer_and_the_number_of_its_connection() {
    let mut process = TestProcess::create().await;
    process.variable("PUSHPOST_LOG", "info,pushpost::attempt=debug");
    process.serve().await;
    let key = process.key("send,read").await;
    process.simulator.add_rule(Rule::token("cut0", Action::Close { accepted: false }).times(1));
    process.simulator.add_rule(Rule::token("dead0", Action::fcm(FcmFault::Unregistered)));
    for name in ["cut", "fine", "dead"] {
        let id = send(&process, &key, fcm_targets(name, 1)).await;
        until_done(&process, &key, &id).await;
    }
    assert!(process.stop().await.success());
    let lines = lines(&process, "pushpost::attempt");
    assert_has(
        &json!(lines),
        &json!([
            {"outcome": "unknown", "attempt": 1},
            {"outcome": "accepted", "attempt": 2, "provider_status": 200},
            {"outcome": "accepted", "provider_status": 200},
            {"outcome": "token_dead", "provider_status": 404},
        ]),
    );
    assert!(lines[0].get("provider_status").is_none(), "a cut connection answers nothing: {lines:?}");
    let connections: Vec<_> =
        lines.iter().map(|line| line["connection"].as_u64().expect("a number")).collect();
    assert!(connections[0] >= 1 && connections[1] > connections[0], "another connection: {connections:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_failures_is_few_lines_that_tell_how_many_there_were() {
    const FAILURES: u64 = 40;
    let mut process = TestProcess::create().await;
    process.expect_log("request is answered");
    process.expect_log("request failed with an internal error");
    process.serve().await;
    let key = process.key("devices").await;
    let fail = "alter table devices add constraint odd check (locale <> 'de-AT')";
    process.database.execute(fail).await;
    let body = json!({"platform": "fcm", "token": "f1", "locale": "de-AT"});
    for _ in 0..FAILURES {
        let answer = process.ask(Method::PUT, "/v1/devices", &key, Some(&body)).await;
        assert_eq!(answer.status, 500, "{answer:?}");
    }
    assert!(process.stop().await.success());
    let requests = lines(&process, "pushpost::request");
    let causes: Vec<_> = lines(&process, "pushpost::api::problem")
        .into_iter()
        .filter(|line| line["message"] == "request failed with an internal error")
        .collect();
    for lines in [requests, causes] {
        assert!(lines.iter().all(|line| line["route"] == "/v1/devices"), "{lines:?}");
        let suppressed: u64 = lines.iter().filter_map(|line| line["suppressed"].as_u64()).sum();
        assert_eq!(lines.len() as u64 + suppressed, FAILURES, "{lines:?}");
        assert!(suppressed > 0, "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_logged_with_its_code_and_with_what_to_do() {
    let mut process = TestProcess::create().await;
    let proxy = PostgresProxy::of(&process.database).await;
    process.variable("PUSHPOST__DATABASE__URL", proxy.url());
    process.variable("PUSHPOST__LIMITS__MAX_PENDING", "2");
    for message in [
        "request is answered",
        "request failed because of Postgres",
        "Postgres is out of reach",
        "events are not logged",
        "maintenance failed; it is tried again",
        "can't be",
    ] {
        process.expect_log(message);
    }
    process.serve().await;
    let key = process.key("send,admin").await;
    let paused = process.ask(Method::POST, "/v1/admin/lanes/fcm/pause", &key, None).await;
    assert_eq!(paused.status, 200, "{paused:?}");
    send(&process, &key, fcm_targets("f", 3)).await;
    let body = json!({"to": {"tokens": fcm_targets("f", 3)}, "title": "Hi"});
    assert_eq!(process.ask(Method::POST, SEND, &key, Some(&body)).await.body["code"], "queue_full");
    proxy.set_away(true);
    assert_eq!(process.ask(Method::GET, SEND, &key, None).await.body["code"], "unavailable");
    proxy.set_away(false);
    process.stop().await;
    let requests = lines(&process, "pushpost::request");
    let of = |code: &str| {
        requests.iter().find(|line| line["code"] == code).unwrap_or_else(|| panic!("{requests:#?}"))
    };
    let hint = of("queue_full")["hint"].as_str().unwrap();
    assert!(hint.contains("docs/runbook.md#queue-full"), "{hint}");
    let refused = of("unavailable");
    let causes = lines(&process, "pushpost::api::problem");
    let cause = causes.iter().find(|line| line["request_id"] == refused["request_id"]).unwrap();
    assert_eq!(cause["message"], "request failed because of Postgres", "no fault of Pushpost");
    assert!(cause["hint"].as_str().unwrap().contains("docs/runbook.md#postgres-down"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_action_of_an_operator_is_logged_with_its_result() {
    let mut process = TestProcess::create().await;
    process.serve().await;
    let key = process.key("admin").await;
    let reader = process.key("read").await;
    for (key, path) in [
        (&key, "/v1/admin/lanes/fcm/pause"),
        (&key, "/v1/admin/lanes/shop/fcm/resume"),
        (&key, "/v1/admin/lanes/fmc/retry"),
        (&reader, "/v1/admin/lanes/fcm/pause"),
    ] {
        process.ask(Method::POST, path, key, None).await;
    }
    let run_all = json!({"inactive_days": 3650, "dry_run": true});
    let started = process.ask(Method::POST, "/v1/admin/cleanups", &key, Some(&run_all)).await;
    assert_eq!(started.status, 202, "{started:?}");
    process.ask(Method::GET, "/v1/admin/lanes", &key, None).await;
    assert!(process.stop().await.success());
    let audit = lines(&process, "pushpost::audit");
    let told: Vec<_> = audit.iter().map(|line| [&line["action"], &line["object"], &line["result"]]).collect();
    let run_id = started.body["id"].clone();
    let expected = [
        [json!("lane.pause"), json!("fcm"), json!("done")],
        [json!("lane.resume"), json!("shop/fcm"), json!("done")],
        [json!("lane.retry"), json!("fmc"), json!("not_found")],
        [json!("lane.pause"), json!("fcm"), json!("missing_scope")],
        [json!("cleanup.start"), run_id, json!("done")],
    ];
    assert_eq!(told, expected.each_ref().map(|three| three.each_ref()), "{audit:#?}");
    let is_complete = |line: &Value| {
        line["level"] == "INFO" && line["app"] == "shop" && line["key"].as_str().unwrap().starts_with("key_")
    };
    assert!(audit.iter().all(is_complete), "{audit:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_changes_the_database_is_logged() {
    let process = TestProcess::create().await;
    let config = process.path("pushpost.toml");
    let by = [
        ("PUSHPOST_CONFIG", config.as_str()),
        ("PUSHPOST__DATABASE__URL", process.database.url()),
        ("PUSHPOST_LOG_FORMAT", "json"),
    ];
    let created = run("keys create --app shop --scope read", &by).await;
    let stderr = String::from_utf8_lossy(&created.stderr).into_owned();
    let line = stderr.lines().find_map(|line| serde_json::from_str::<Value>(line).ok()).expect("a line");
    assert_has(
        &line,
        &json!({"level": "INFO", "target": "pushpost::audit", "key": "cli", "app": "shop", "action": "keys.create",
                "object": "<key>", "result": "done"}),
    );
    assert!(stderr.contains(&format!("{} for shop", line["object"].as_str().unwrap())), "{stderr}");
    let secret = String::from_utf8_lossy(&created.stdout).trim().to_owned();
    let refused = run(&format!("keys revoke {secret}"), &by).await;
    assert!(!String::from_utf8_lossy(&refused.stderr).contains(&secret));
}
