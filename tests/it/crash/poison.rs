//! A job that kills its process is isolated: the device that does it is rejected, and no other device
//! (docs/queue.md#isolated-attempt).

use std::time::Duration;

use pushpost_simulator::{Action, Rule};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use pushpost_testkit::processes::{TestMachine, providers};
use pushpost_testkit::wait::WAIT_MAX;

/// Where the poison has been told from what stands beside it.
const MOST_KILLS: usize = 9;

async fn deliveries(machine: &TestMachine, key: &str, id: &str) -> Vec<Value> {
    let path = format!("/v1/notifications/{id}/deliveries");
    machine.get(key, &path).await.unwrap().1["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_kills_the_process_is_rejected_and_no_other() {
    let machine = TestMachine::new(providers(Duration::from_millis(5)), "").await;
    let poison = "ee".repeat(32);
    // The process dies when this one is being sent, before there is an answer.
    machine.simulator.add_rule(Rule::token(poison.clone(), Action::NoAnswer { accepted: false }));
    let mut node = machine.serve().await;
    let key = machine.key("send,read").await;
    let token = |i: usize| json!({"platform": "apns", "token": format!("{i:064x}")});
    let mut targets: Vec<Value> = (0..20).map(token).collect();
    targets.insert(10, json!({"platform": "apns", "token": poison, "ref": "poison"}));
    let body = json!({"to": {"tokens": targets}, "title": "Hi"});
    let (status, answer) = machine.post(&key, "/v1/notifications", &body).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    let id = answer["id"].as_str().unwrap().to_owned();
    let beside = json!({"to": {"tokens": [token(100)]}, "title": "Hi"});
    let (_, beside) = machine.post(&key, "/v1/notifications", &beside).await.unwrap();

    let (mut kills, mut began) = (0, Instant::now());
    loop {
        let found = deliveries(&machine, &key, &id).await;
        if found.iter().all(|delivery| delivery["status"] != "pending") {
            break;
        }
        assert!(began.elapsed() < WAIT_MAX, "nothing more after {kills} kills: {found:?}");
        if machine.ledger().by_token(&poison).len() > kills {
            kills += 1;
            assert!(kills <= MOST_KILLS, "it goes on killing: {found:?}");
            node.kill().await;
            node = machine.serve().await;
            began = Instant::now();
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(kills >= 3, "one death proves nothing: {kills}");
    for delivery in deliveries(&machine, &key, &id).await {
        let expected = if delivery["ref"] == "poison" {
            [json!("rejected"), json!(0), json!("internal")]
        } else {
            [json!("accepted"), json!(1), Value::Null]
        };
        let found = ["status", "attempts", "reason"].map(|name| delivery[name].clone());
        assert_eq!(found, expected, "{delivery}");
    }
    let found = deliveries(&machine, &key, beside["id"].as_str().unwrap()).await;
    assert_eq!(found[0]["status"], "accepted");
    drop(node);
}
