//! `kill -9` right after the answer: what a batch was told to be stored is stored, and sent.

use std::time::Duration;

use serde_json::{Value, json};

use pushpost_testkit::processes::{TestMachine, providers};
use pushpost_testkit::wait::until_some;

use super::{BATCH, to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answered_batch_survives_a_kill() {
    let machine = TestMachine::new(providers(Duration::from_millis(50)), "max_in_flight = 20").await;
    let mut node = machine.serve().await;
    let key = machine.key("send").await;
    let mut ids = Vec::new();
    for round in 0..3 {
        let mut batch: Vec<Value> = (0..200).map(|n| to(&format!("f{round}-{n}"))).collect();
        batch.push(json!({}));
        let (status, answer) = machine.post(&key, BATCH, &json!(batch)).await.unwrap();
        node.kill().await;
        assert_eq!(status, 200, "{answer}");
        let items = answer["items"].as_array().unwrap();
        assert_eq!(items[200]["problem"]["status"], 400);
        ids.extend(items[..200].iter().map(|item| item["notification"]["id"].as_str().unwrap().to_owned()));
        machine.settled().await;
        node = machine.serve().await;
    }
    for id in &ids {
        let path = format!("/v1/notifications/{id}");
        let done = async || {
            let (_, status) = machine.get(&key, &path).await.ok()?;
            (status["status"] == "done").then_some(status)
        };
        let status = until_some("the notification is done", done).await;
        assert_eq!(status["counts"]["accepted"], 1, "{status}");
    }
    drop(node);
}
