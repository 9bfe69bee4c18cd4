//! After `kill -9`, the next start knows that it is alone with its database: what its predecessor held is its own at
//! once, however long the node time-out (docs/queue.md#node-lease).

use std::sync::Arc;
use std::time::Duration;

use pushpost_simulator::{Action, Rule};

use super::posts::{Posts, duplicates, register};
use super::site::{LONG, Site, providers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_waits_for_no_time_out_of_its_predecessor() {
    let site = Site::new(providers(Duration::ZERO), "node_timeout = \"10m\"\nmax_in_flight = 20").await;
    let site = Arc::new(site);
    let node = site.serve().await;
    let key = site.key("send,read,devices").await;
    register(&site, &key).await;
    let silence = Rule { action: Action::NoAnswer { accepted: false }, ..Rule::default() };
    let untouched = Rule { provider: Some(pushpost_simulator::Provider::Oauth), ..Rule::default() };
    site.simulator.add_rule(untouched);
    site.simulator.add_rule(silence);
    let posts = Posts::default();
    for _ in 0..16 {
        assert_eq!(posts.post(&site, &key).await, Some(202));
    }
    let ledger = site.ledger();
    assert!(
        ledger.wait_until(LONG, |ledger| ledger.received_count() >= 20).await,
        "as many are under way as may be"
    );
    node.kill().await;
    site.settled().await;
    site.simulator.clear_rules();
    let node = site.serve().await;
    let receptions = posts.assert_kept(&site, &key).await;
    assert_eq!(duplicates(&receptions), 0, "no provider had taken any");
    drop(node);
}
