//! `pushpost keys` before, beside and after the service.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use pushpost_testkit::processes::{TestMachine, providers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_made_before_the_first_start_and_beside_the_service() {
    let machine = TestMachine::new(providers(Duration::ZERO), "").await;
    let first =
        machine.run(&["keys", "create", "--app", "shop", "--scope", "send,read", "--name", "first"]).await;
    assert!(first.status.success(), "{first:?}");
    let said = String::from_utf8_lossy(&first.stderr);
    let place =
        format!(" for shop (send,read) in {}; the secret is shown only now\n", machine.data_dir().display());
    // The audit line comes before it.
    let told = said.lines().last().expect("a line about the key");
    assert!(told.starts_with("key_") && said.ends_with(&place), "{said}");
    assert!(said.contains("keys.create"), "the audit line: {said}");
    let first = String::from_utf8(first.stdout).unwrap();
    let secret = first.strip_suffix('\n').expect("one line");
    assert!(secret.starts_with("pushpost_sk_") && !secret.contains('\n'), "the secret alone is on stdout");
    assert_eq!(machine.postmaster(), None, "the command stops the Postgres that it started");

    let mut node = machine.serve().await;
    let postmaster = machine.postmaster().expect("Postgres runs");
    let push = json!({"to": {"tokens": [{"platform": "apns", "token": "aa".repeat(32)}]}, "title": "A"});
    let (status, answer) = machine.post(secret, "/v1/notifications", &push).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    let second = machine.key("read").await;
    let brief = ["keys", "create", "--app", "shop", "--scope", "read", "--expires", "90d", "--json"];
    let brief = machine.run(&brief).await;
    let brief: Value = serde_json::from_slice(&brief.stdout).unwrap();
    let expires = brief["expires_at"].as_str().unwrap();
    assert_eq!(machine.get(&second, "/v1/notifications/ntf_x").await.unwrap().0, 404);

    let list = machine.run(&["keys", "list", "--json"]).await;
    let list: Vec<Value> = serde_json::from_slice(&list.stdout).unwrap();
    let names: Vec<_> = list.iter().map(|key| (&key["name"], &key["revoked_at"])).collect();
    assert_eq!(
        names,
        [(&json!("first"), &Value::Null), (&Value::Null, &Value::Null), (&Value::Null, &Value::Null)]
    );
    let expiries: Vec<_> = list.iter().map(|key| &key["expires_at"]).collect();
    assert_eq!(expiries, [&Value::Null, &Value::Null, &json!(expires)]);
    assert!(
        list[0]["last_used_at"].as_str().unwrap().ends_with(":00:00.000Z"),
        "the service was asked: {list:?}"
    );
    assert_eq!(list[2]["last_used_at"], Value::Null);
    let shown = String::from_utf8(machine.run(&["keys", "list"]).await.stdout).unwrap();
    assert!(!shown.contains("pushpost_sk_"), "no secret is shown again");
    assert!(shown.contains(&expires[..10]) && shown.contains("never"), "{shown}");
    for wrong in ["90", "90 days", "0s", "40000d"] {
        let refused =
            machine.run(&["keys", "create", "--app", "shop", "--scope", "read", "--expires", wrong]).await;
        assert_eq!(refused.status.code(), Some(64), "{wrong}: {refused:?}");
    }

    let id = list[0]["id"].as_str().unwrap();
    for says in ["revoked key_", "key_"] {
        let revoked = machine.run(&["keys", "revoke", id]).await;
        let said = String::from_utf8(revoked.stderr).unwrap();
        let told = said.lines().last().expect("a line about the key");
        assert!(revoked.status.success() && told.starts_with(says), "{said}");
        assert_eq!(said.contains(" was revoked at 2"), says == "key_", "{said}");
    }
    let begun = Instant::now();
    loop {
        let (status, answer) = machine.get(secret, "/v1/notifications/ntf_x").await.unwrap();
        if status == 401 {
            assert_eq!(answer["code"], "unauthenticated");
            break;
        }
        assert_eq!(status, 404);
        assert!(begun.elapsed() < Duration::from_secs(60), "a revoked key still works");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(machine.get(&second, "/v1/notifications/ntf_x").await.unwrap().0, 404);
    assert!(node.is_running());
    assert_eq!(machine.postmaster(), Some(postmaster), "the commands left the service's Postgres running");
}
