//! What a service manager is told through the socket in `NOTIFY_SOCKET`, as `Type=notify` of systemd expects it.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;

use pushpost_simulator::Settings;
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::TestMachine;
use pushpost_testkit::wait::WAIT_MAX;

use super::answer;

/// The manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message; waits for it.
    fn next(&self) -> String {
        let mut buffer = [0; 1_024];
        self.0.set_nonblocking(false).unwrap();
        self.0.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let length = self.0.recv(&mut buffer).expect("the service manager is told");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Asserts that no message waits.
    fn assert_silent(&self) {
        self.0.set_nonblocking(true).unwrap();
        let mut buffer = [0; 1_024];
        let found =
            self.0.recv(&mut buffer).map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        assert_eq!(found.expect_err("a message").kind(), ErrorKind::WouldBlock);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_told_when_the_service_is_ready_reloads_and_stops() {
    let machine = TestMachine::new(Settings::default(), "").await;
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    proxy.set_away(true);
    let socket = machine.folder().join("notify");
    let manager = Manager(UnixDatagram::bind(&socket).unwrap());
    let variables = [("PUSHPOST__DATABASE__URL", proxy.url()), ("NOTIFY_SOCKET", socket.to_str().unwrap())];
    let mut node = machine.start_as(&["serve"], &variables);

    machine.until_logged("waiting for PostgreSQL").await;
    node.hang_up().await;
    assert_eq!(answer(&machine, "/readyz").await.0, 503);
    manager.assert_silent();

    proxy.set_away(false);
    assert_eq!(manager.next(), "READY=1\n");
    assert_eq!(answer(&machine, "/readyz").await.0, 200);
    // The reload that was asked for before is over too.
    machine.until_logged("configuration has not changed").await;
    while_reloading(&machine, &manager, &node).await;

    node.terminate().await;
    assert_eq!(manager.next(), "STOPPING=1\n");
    assert_eq!(node.ended().await.code(), Some(0));
    manager.assert_silent();
}

/// A reload is reported from its begin to its end, also if the configuration has faults.
async fn while_reloading(
    machine: &TestMachine,
    manager: &Manager,
    node: &pushpost_testkit::processes::TestNode,
) {
    let config = machine.read("pushpost.toml");
    machine.write("pushpost.toml", "[servr]\n");
    node.hang_up().await;
    // The end of the reload that was asked for while the service started may come first.
    let mut told = manager.next();
    if told == "READY=1\n" {
        told = manager.next();
    }
    let time = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&told);
    assert!(time.trim().parse::<u64>().unwrap() > 0);
    assert_eq!(manager.next(), "READY=1\n");
    machine.until_logged("the configuration was not taken over").await;
    machine.write("pushpost.toml", &config);
}
