//! What makes our own code panic fails alone (docs/queue.md 22).

use serde_json::{Value, json};

use super::stage::{Stage, assert_ended, hex, of, sent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_attempt_panics_is_rejected_and_nobody_else() {
    let stage = Stage::start().await;
    let mut devices: Vec<String> = Vec::new();
    for n in 0..20 {
        let phone = json!({"platform": "apns", "token": hex(&format!("{n:02x}")), "user": "u1"});
        devices.push(stage.device(phone).await);
    }
    // No registration lets such a token in, and the code that makes a path of it relies on that; a row that was damaged
    // from outside has one all the same.
    let damaged = format!("update devices set token = 'not a token' where token = '{}'", hex("07"));
    assert_eq!(stage.execute(&damaged).await, 1);
    for round in 1..=2 {
        let id = stage.notify(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
        let outcomes: Vec<Value> = stage.outcomes(&id).await;
        assert_eq!(outcomes.len(), 20);
        for (n, device) in devices.iter().enumerate() {
            let outcome = of(&outcomes, "device", device);
            match n {
                7 => assert_ended(outcome, "rejected", 1, Some("internal")),
                _ => assert_ended(outcome, "accepted", 1, None),
            }
        }
        assert_eq!(sent(&stage.ledger()).len(), 19 * round);
    }
    assert_eq!(stage.count("select count(*) from devices where quarantined_at is not null").await, 0);
    stage.stop().await;
}
