//! What the log says of apps that are added and removed while the service runs.

use http::Method;
use pushpost_simulator::Ledger;
use serde_json::json;
use tokio::time::{Instant, sleep};

use pushpost_testkit::processes::TestProcess;
use pushpost_testkit::processes::signal;
use pushpost_testkit::wait::WAIT_MAX;

const POLL: std::time::Duration = std::time::Duration::from_millis(50);
const TAKEN_OVER: &str = "the configuration has changed";
const RESTART: &str = "configuration has changes that take a restart";

/// The configuration with one more app, which has the credentials of `shop`.
pub(super) fn with_market(toml: &str) -> String {
    let (_, apps) = toml.split_once("[apps.shop.apns]").unwrap();
    format!("{toml}\n[apps.market.apns]{}\n", apps.replace("apps.shop", "apps.market"))
}

/// Puts a configuration into the place of the one that is there, and waits until it has been taken over.
pub(super) async fn take_over(process: &TestProcess, toml: &str) {
    let before = process.log().matches(TAKEN_OVER).count();
    process.write("pushpost.toml", toml);
    signal("-HUP", process.pid()).await;
    let until = Instant::now() + WAIT_MAX;
    while process.log().matches(TAKEN_OVER).count() == before {
        assert!(Instant::now() < until, "not taken over: {}", process.log());
        sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_reports_added_apps_and_keeps_removed_ones_until_a_restart() {
    let mut process = TestProcess::create().await;
    let toml = process.read("pushpost.toml").replace("[server]", "[server]\nreload_interval = \"1h\"");
    process.write("pushpost.toml", &toml);
    process.serve().await;
    take_over(&process, &with_market(&toml)).await;
    let added = process.until_logged("apps and lanes are added").await;
    assert!(added.contains("market/apns-production, market/apns-sandbox, market/fcm"), "{added}");
    assert!(!added.contains("shop"), "{added}");

    let (without_fcm, _) = toml.split_once("[apps.shop.fcm]").unwrap();
    take_over(&process, without_fcm).await;
    let removed = process.until_logged(RESTART).await;
    for told in ["apps.market (removed), apps.shop.fcm (removed)", "restart this node", "WARN"] {
        assert!(removed.contains(told), "{told} in {removed}");
    }
    take_over(&process, &without_fcm.replace("\"1h\"", "\"2h\"")).await;
    let to = json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "A"});
    for app in ["market", "shop"] {
        let key = process.key_of(app, "send").await;
        let answer = process.ask(Method::POST, "/v1/notifications", &key, Some(&to)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let both = |ledger: &Ledger| ledger.accepted_count() == 2;
    assert!(process.simulator.ledger().wait_until(WAIT_MAX, both).await, "both are sent");
    process.expect_log("configuration has changes that take a restart");
    process.expect_log("app has no provider");
    assert!(process.stop().await.success());
    let log = process.log();
    assert_eq!(log.lines().filter(|line| line.contains(RESTART)).count(), 1, "told once: {log}");
}
