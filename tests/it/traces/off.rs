//! Tracing that is off has no thread, and pushes go on whatever a collector does.

use pushpost::runtime::Role;
use serde_json::json;

use pushpost_testkit::collector::{Behaviour, TestCollector};
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::processes::TestProcess;
use pushpost_testkit::service::TestService;

/// The names of the threads of a process.
fn threads(process: &TestProcess) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.pid())).unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_thread_of_traces_exists_only_with_an_endpoint() {
    let collector = TestCollector::start().await;
    let mut off = TestProcess::create().await;
    off.variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    off.variable("OTEL_SDK_DISABLED", "true");
    off.serve().await;
    assert!(!threads(&off).contains(&"traces".to_owned()), "{:?}", threads(&off));
    assert!(off.stop().await.success());
    let mut on = TestProcess::create().await;
    on.variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    on.serve().await;
    assert!(threads(&on).contains(&"traces".to_owned()), "{:?}", threads(&on));
    assert!(on.stop().await.success());
    assert_eq!(collector.posts(), 0);
}

async fn assert_pushes_go_on(url: &str) {
    let service = TestService::builder()
        .config("TELEMETRY__OTLP_ENDPOINT", url)
        .config("TELEMETRY__SAMPLE_RATIO", "1")
        .node(Role::All)
        .build()
        .await;
    for number in 0..5 {
        let targets = fcm_targets(&format!("f{number}-"), 1);
        let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
        assert_eq!(service.notifications().outcome(&id).await["status"], "accepted");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_go_on_whatever_the_collector_does() {
    let collector = TestCollector::start().await;
    for behaviour in [Behaviour::Hang, Behaviour::Refuse(500), Behaviour::Refuse(503)] {
        collector.behave(behaviour);
        assert_pushes_go_on(collector.url()).await;
    }
    assert_eq!(collector.spans(), []);
    let url = collector.url().to_owned();
    drop(collector);
    assert_pushes_go_on(&url).await;
}
