//! `pushpost nodes` by the real program: the table, its lines of JSON, and its exit codes.

use pushpost_testkit::service::TestService;
use serde_json::Value;

use super::commands::{assert_ended, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_the_nodes_and_is_told_of_a_dead_one() {
    let service = TestService::start().await;
    let (url, key, reader) = (service.url(""), service.key("admin").await, service.key("read").await);
    let by = [("PUSHPOST_URL", url.as_str()), ("PUSHPOST_KEY", key.as_str())];
    let shown = [env!("CARGO_PKG_VERSION"), "NODE", "HEARTBEAT", "all", "alive"];
    assert_ended(&run("nodes", &by).await, 0, &shown, &[]);

    let died = "insert into nodes (name, role, dead_at) values ('push-1-17', 'worker', now())";
    assert_eq!(service.database.execute(died).await, 1);
    let dead = run("nodes", &by).await;
    assert_ended(&dead, 2, &["push-1-17", "worker", "dead"], &["(push-1-17) is dead since", "hint: "]);
    let as_json = run("nodes --json", &by).await;
    assert_ended(&as_json, 2, &["\"draining\":false"], &["(push-1-17) is dead since"]);
    let text = String::from_utf8(as_json.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");

    let may_not = run("nodes", &[by[0], ("PUSHPOST_KEY", reader.as_str())]).await;
    assert_ended(&may_not, 77, &[], &["may not do this"]);
    service.stop().await;
}
