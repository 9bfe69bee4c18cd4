//! An invalid proxy to the providers is refused; a proxy without a port is shown with the port that is used.

use pushpost_simulator::Settings;

use pushpost_testkit::processes::TestMachine;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_proxy_is_refused_without_showing_its_password() {
    let machine = TestMachine::new(Settings::default(), "").await;
    let proxy = ("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:3128");
    let port = "a port that is not a number from 1 to 65535";
    for (variables, told_by, reason) in [
        ([("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:31x"), ("NO_PROXY", "")], "$HTTPS_PROXY", port),
        (
            [("PUSHPOST__NETWORK__PROXY", "http://me:hunter2@p:99999"), ("NO_PROXY", "")],
            "network.proxy",
            port,
        ),
        ([("PUSHPOST__NETWORK__PROXY", "http://me:hunter2@p:0"), ("NO_PROXY", "")], "network.proxy", port),
        ([proxy, ("NO_PROXY", "10.0.0.0/99")], "$NO_PROXY", "networks such as \"10.0.0.0/8\""),
        ([proxy, ("PUSHPOST__NETWORK__NO_PROXY", "http://x")], "network.no_proxy", "without scheme"),
    ] {
        let output = machine.run_with(&["keys", "list"], &variables).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(told_by) && told.contains(reason) && !told.contains("hunter2"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_without_a_port_is_shown_with_the_port_that_is_used() {
    let machine = TestMachine::new(Settings::default(), "").await;
    let nowhere = ("PUSHPOST__DATABASE__URL", "postgres://me@127.0.0.1:1/d");
    let proxy = ("PUSHPOST__NETWORK__PROXY", "http://me:hunter2@proxy.invalid");
    let mut node =
        machine.start_as(&["serve"], &[nowhere, proxy, ("PUSHPOST__DATABASE__START_TIMEOUT", "0s")]);
    assert_eq!(node.ended().await.code(), Some(69));
    let lines = machine.log_lines();
    let line = lines.iter().find(|line| line["message"] == "providers are reached through a proxy");
    assert_eq!(line.expect("the proxy is named")["proxy"], "http://proxy.invalid:1080");
    assert!(!machine.log_text().contains("hunter2"));
}
