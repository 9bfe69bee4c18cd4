//! A node with the role `worker` answers probes and nothing else.

use pushpost_simulator::Settings;
use serde_json::Value;

use super::answer;
use pushpost_testkit::processes::{TestMachine, free_port};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_answers_probes_where_it_listens_and_404_elsewhere() {
    let machine = TestMachine::new(Settings::default(), "").await;
    let node = machine.start_as(&["serve", "--role", "worker"], &[]);
    let mut node = machine.until_ready(node).await;
    assert_eq!(answer(&machine, "/healthz").await, (200, Value::Null));
    for path in ["/", "/v1/notifications/ntf_1", "/v1/devices", "/v1/admin/lanes"] {
        assert_eq!(answer(&machine, path).await, (404, "not_found".into()), "{path}");
    }
    let asked = machine.run(&["healthcheck", "--ready"]).await;
    assert!(asked.status.success(), "{asked:?}");
    node.terminate().await;
    assert_eq!(node.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_a_listener_for_operators_answers_probes_only_there() {
    let machine = TestMachine::new(Settings::default(), "").await;
    let own = format!("127.0.0.1:{}", machine.port());
    // The port of clients is not listened on: that it is taken does no harm.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let variables =
        [("PUSHPOST__SERVER__LISTEN", listen.as_str()), ("PUSHPOST__SERVER__INTERNAL_LISTEN", &own)];
    let node = machine.start_as(&["serve", "--role", "worker"], &variables);
    let mut node = machine.until_ready(node).await;
    let unused = free_port();
    let asked = machine.run(&["healthcheck", "--url", &format!("http://127.0.0.1:{unused}")]).await;
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(said, format!("error: connection refused: nothing listens on 127.0.0.1:{unused}\n"));
    assert_eq!(asked.status.code(), Some(1));
    let asked = machine.run_with(&["healthcheck"], &variables).await;
    assert!(asked.status.success(), "{asked:?}");
    node.terminate().await;
    assert_eq!(node.ended().await.code(), Some(0));
}
