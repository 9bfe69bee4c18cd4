//! A log that is not read, and unknown log levels.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::ChildStderr;
use tokio::time::timeout;

use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::processes::TestProcess;
use pushpost_testkit::wait::{WAIT_MAX, until};

const LOSS: &str = "log lines were dropped";
/// Many times the memory of lines that wait for a reader (1 MiB), and far less than what is logged meanwhile.
const LOG_QUEUE_TIMES: u64 = 32 << 20;

/// Requests, until more was logged than a pipe and a queue take.
async fn log_much(process: &TestProcess, key: &str) {
    // Each line names the request, and each request with all that is below it logs some thousand bytes.
    for n in 0..600 {
        let body = json!({"platform": "fcm", "token": format!("f{n}")});
        let answer = process.ask(Method::PUT, "/v1/devices", key, Some(&body)).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
}

/// The memory of the process as the kernel counts it.
fn resident_bytes(process: &TestProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Each push reaches the provider and is recorded.
async fn assert_pushes_end(process: &TestProcess) {
    const PUSHES: usize = 50;
    let key = process.key("send,read").await;
    let mut ids = Vec::new();
    for number in 0..PUSHES {
        let body = json!({"to": {"tokens": fcm_targets(&format!("p{number}-"), 1)}, "title": "Hi"});
        let sent = process.ask(Method::POST, "/v1/notifications", &key, Some(&body)).await;
        assert_eq!(sent.status, 202, "{sent:?}");
        ids.push(sent.body["id"].as_str().unwrap().to_owned());
    }
    for id in ids {
        until("the push is accepted", async || {
            let status = process.ask(Method::GET, &format!("/v1/notifications/{id}"), &key, None).await;
            status.body["counts"]["accepted"] == 1
        })
        .await;
    }
    assert_eq!(process.simulator.ledger().accepted_count(), PUSHES as u64);
}

async fn until_lost(log: &mut BufReader<ChildStderr>) -> String {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = timeout(WAIT_MAX, log.read_until(b'\n', &mut line)).await.expect("it goes on").unwrap();
        assert_ne!(read, 0, "the process is there");
        let text = String::from_utf8_lossy(&line);
        if text.contains(LOSS) {
            return text.into_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_read_delays_nothing_and_its_loss_is_reported_once() {
    let mut process = TestProcess::create().await;
    process.variable("PUSHPOST_LOG", "trace");
    let mut log = process.serve_into_pipe().await;
    let backend = process.key("devices").await;
    log_much(&process, &backend).await;
    let full = resident_bytes(&process);
    assert_pushes_end(&process).await;
    log_much(&process, &backend).await;
    let grown = resident_bytes(&process).saturating_sub(full);
    assert!(grown < LOG_QUEUE_TIMES, "{grown} bytes more, while nothing reads the log");
    let health = process.ask(Method::GET, "/healthz", &backend, None).await;
    assert_eq!(health.status, 200);

    let lost = until_lost(&mut log).await;
    let (_, lines) = lost.split_once("\"lines\":").expect("JSON with a count");
    let lines: u64 = lines.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    assert!(lines > 0, "{lost}");

    // Not read again, and told to stop.
    log_much(&process, &backend).await;
    assert!(process.stop().await.success());
    // What was in the pipe: nothing was told in between.
    let mut rest = Vec::new();
    timeout(WAIT_MAX, tokio::io::AsyncReadExt::read_to_end(&mut log, &mut rest))
        .await
        .expect("an end")
        .unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains(LOSS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_start_is_an_error_line_in_a_json_log() {
    let mut process = TestProcess::create().await;
    process.variable("PUSHPOST__LIMITS__TARGETS", "0");
    let (ended, log) = process.refuse().await;
    assert_eq!(ended.code(), Some(1), "{log}");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = lines.iter().find(|line| line["message"] == "pushpost ends with an error").expect("a line");
    assert_eq!(
        (&line["level"], &line["hint"]),
        (&json!("ERROR"), &json!("config.example.toml describes every key"))
    );
    assert!(line["error"].as_str().unwrap().contains("limits.targets: must be from 1 to"), "{line}");
    assert!(log.lines().any(|line| line.starts_with("error: ")), "a person reads the text: {log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_log_level_is_an_error_at_the_start() {
    for (levels, said) in [
        (
            "warning",
            r#"PUSHPOST_LOG: "warning" is not a level (did you mean "warn"?); levels are off, error, warn, info, debug, trace"#,
        ),
        ("pushpots=debug", r#"PUSHPOST_LOG: "pushpots" is not a target (did you mean "pushpost"?)"#),
    ] {
        let mut process = TestProcess::create().await;
        process.variable("PUSHPOST_LOG", levels);
        let (ended, log) = process.refuse().await;
        assert_eq!(ended.code(), Some(64), "{log}");
        assert!(log.contains(said), "{log}");
    }
}
