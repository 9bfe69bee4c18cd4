//! After `kill -9`, the next start knows that it is alone with its database: it takes over the leases of its predecessor at
//! once, however long the node timeout (docs/queue.md#node-lease).

use std::sync::Arc;
use std::time::Duration;

use pushpost_simulator::{Action, Rule};

use pushpost_testkit::processes::{Posts, duplicates, register};
use pushpost_testkit::processes::{TestMachine, providers};
use pushpost_testkit::wait::WAIT_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_does_not_wait_for_the_node_timeout_of_its_predecessor() {
    let machine =
        TestMachine::new(providers(Duration::ZERO), "node_timeout = \"10m\"\nmax_in_flight = 20").await;
    let machine = Arc::new(machine);
    let mut node = machine.serve().await;
    let key = machine.key("send,read,devices").await;
    register(&machine, &key).await;
    let silence = Rule { action: Action::NoAnswer { accepted: false }, ..Rule::default() };
    let untouched = Rule { provider: Some(pushpost_simulator::Provider::Oauth), ..Rule::default() };
    machine.simulator.add_rule(untouched);
    machine.simulator.add_rule(silence);
    let posts = Posts::default();
    for _ in 0..16 {
        assert_eq!(posts.post(&machine, &key).await, Some(202));
    }
    let ledger = machine.ledger();
    assert!(
        ledger.wait_until(WAIT_MAX, |ledger| ledger.received_count() >= 20).await,
        "as many are under way as may be"
    );
    node.kill().await;
    machine.settled().await;
    machine.simulator.clear_rules();
    let node = machine.serve().await;
    let receptions = posts.assert_kept(&machine, &key).await;
    assert_eq!(duplicates(&receptions), 0, "no provider had taken any");
    drop(node);
}
