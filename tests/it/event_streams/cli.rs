//! `pushpost events tail`.

use std::process::Stdio;

use pushpost_testkit::json::hex;
use pushpost_testkit::processes::{command, program, signal};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::WAIT_MAX;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use super::{all_after, until_ended};

async fn send(service: &TestService, key: &str, two: &str) -> String {
    let to = json!({"tokens": [{"platform": "apns", "token": hex(two)}]});
    let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
    until_ended(service, key, &id).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_prints_what_is_kept_and_with_follow_what_comes() {
    let service = TestService::start().await;
    let key = service.key("read").await;
    let id = send(&service, &key, "aa").await;
    let (all, _) = all_after(&service, &key, "", "").await;
    let tail = |arguments: &[&str]| {
        let mut tail = command(program());
        tail.args(["events", "tail"]).args(arguments);
        tail.env("PUSHPOST_URL", service.url("")).env("PUSHPOST_KEY", &key).kill_on_drop(true);
        tail
    };
    let kept = timeout(WAIT_MAX, tail(&["--json"]).output()).await.unwrap().unwrap();
    assert!(kept.status.success(), "{kept:?}");
    let lines: Vec<Value> = String::from_utf8(kept.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, all);
    let words = timeout(WAIT_MAX, tail(&["--type", "notification.*"]).output()).await.unwrap().unwrap();
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(
        words.contains("notification.done") && words.contains(&id) && !words.contains("delivery"),
        "{words}"
    );
    let wrong = timeout(WAIT_MAX, tail(&["--after", "evt_00"]).output()).await.unwrap().unwrap();
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let both = ["--after", "evt_00", "--since", "2026-12-01T09:00:00Z"];
    let both = timeout(WAIT_MAX, tail(&both).output()).await.unwrap().unwrap();
    assert_eq!(both.status.code(), Some(64), "{both:?}");

    let last = all.last().unwrap()["id"].as_str().unwrap().to_owned();
    let arguments = ["--follow", "--json", "--type", "notification.done", "--after", &last];
    let mut follow = tail(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    for two in ["bb", "cc"] {
        let id = send(&service, &key, two).await;
        let line = timeout(WAIT_MAX, lines.next_line()).await.unwrap().unwrap().unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["data"]["notification"], id);
    }
    signal("-INT", follow.id().unwrap()).await;
    let ended = timeout(WAIT_MAX, follow.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_begins_at_a_time_and_leaves_devices_out() {
    let service = TestService::start().await;
    let key = service.key("read").await;
    let tail = async |arguments: &[&str]| -> Vec<Value> {
        let mut tail = command(program());
        tail.args(["events", "tail", "--json"]).args(arguments);
        tail.env("PUSHPOST_URL", service.url("")).env("PUSHPOST_KEY", &key).kill_on_drop(true);
        let tail = timeout(WAIT_MAX, tail.output()).await.unwrap().unwrap();
        assert!(tail.status.success(), "{tail:?}");
        let lines = String::from_utf8(tail.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    send(&service, &key, "aa").await;
    let (all, _) = all_after(&service, &key, "", "").await;
    assert_eq!(tail(&["--since", "2026-01-01T00:00:00+01:00"]).await, all);
    assert_eq!(tail(&["--since", "2999-12-01T09:00:00Z"]).await, Vec::<Value>::new());
    let listed = |events: &[Value]| -> usize {
        events.iter().filter_map(|event| event["data"]["devices"].as_array()).map(Vec::len).sum()
    };
    assert_eq!(listed(&tail(&["--devices", "all"]).await), 1);
    for which in ["failed", "none"] {
        let events = tail(&["--devices", which]).await;
        assert_eq!((events.len(), listed(&events)), (all.len(), 0), "{which}");
    }

    let since =
        ["events", "tail", "--json", "--follow", "--devices", "none", "--since", "2026-01-01T00:00:00Z"];
    let mut follow = command(program());
    follow.args(since).env("PUSHPOST_URL", service.url("")).env("PUSHPOST_KEY", &key).kill_on_drop(true);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    for event in &all {
        let line = timeout(WAIT_MAX, lines.next_line()).await.unwrap().unwrap().unwrap();
        let followed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(followed["id"], event["id"]);
    }
    signal("-INT", follow.id().unwrap()).await;
    assert!(timeout(WAIT_MAX, follow.wait()).await.unwrap().unwrap().success());
    service.stop().await;
}
