//! `kill -9` of the service while it cancels a broadcast: the next one completes what was begun.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use pushpost_testkit::processes::{TestMachine, providers};
use pushpost_testkit::wait::{POLL_INTERVAL, WAIT_MAX};

/// Each is a device, registered by an import.
const DEVICES: usize = 30_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_was_begun_is_completed_after_a_kill() {
    // Slow, so that the broadcast is under way for longer than the test takes.
    let machine = TestMachine::new(providers(Duration::from_secs(2)), "max_in_flight = 20").await;
    let mut node = machine.serve().await;
    let key = machine.key("send,read,devices").await;
    let lines: String =
        (0..DEVICES).map(|n| format!("{{\"platform\":\"fcm\",\"token\":\"b{n}\"}}\n")).collect();
    machine.write("devices.ndjson", &lines);
    let file = machine.folder().join("devices.ndjson").display().to_string();
    let imported = machine.run(&["devices", "import", "--app", "shop", &file]).await;
    assert!(imported.status.success(), "{imported:?}");
    let body = json!({"to": {"all": true}, "title": "Hi"});
    let (status, answer) = machine.post(&key, "/v1/notifications", &body).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    let path = format!("/v1/notifications/{}", answer["id"].as_str().unwrap());
    until(&machine, &key, &path, |counts| counts["accepted"].as_u64() > Some(0)).await;

    let cancel = machine.raw(Method::DELETE, &key, &path, Vec::new());
    let kill = async {
        // As soon as the cancellation stands, with most of its devices still to be ended.
        until(&machine, &key, &path, |counts| counts["cancelled"].as_u64() > Some(0)).await;
        node.kill().await;
    };
    let (_lost_or_not, ()) = tokio::join!(cancel, kill);
    machine.settled().await;
    let node = machine.serve().await;
    until(&machine, &key, &path, |counts| counts["pending"] == 0).await;
    let (_, settled) = machine.get(&key, &path).await.unwrap();
    assert_eq!(settled["status"], "cancelled", "{settled}");
    let (_, again) = machine.raw(Method::DELETE, &key, &path, Vec::new()).await.unwrap();
    assert_eq!(again, settled);
    drop(node);
}

/// Waits for a state of the counts, which must add up each time.
async fn until(machine: &TestMachine, key: &str, path: &str, is_so: impl Fn(&serde_json::Value) -> bool) {
    let begun = Instant::now();
    loop {
        if let Ok((200, status)) = machine.get(key, path).await {
            let counts = &status["counts"];
            let of_all = counts.as_object().unwrap().iter().filter(|(name, _)| *name != "targets");
            let sum: u64 = of_all.map(|(_, count)| count.as_u64().unwrap()).sum();
            assert_eq!(counts["targets"], sum, "{status}");
            if is_so(counts) {
                return;
            }
        }
        assert!(begun.elapsed() < WAIT_MAX, "in vain");
        sleep(POLL_INTERVAL).await;
    }
}
