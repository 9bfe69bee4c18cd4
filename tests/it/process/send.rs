//! `pushpost send` by the real program: outcomes, exit codes, and what is said where a request fails.

use pushpost::provider::fcm;
use pushpost_simulator::{Action, FcmFault, Rule};
use pushpost_testkit::json::hex;
use pushpost_testkit::service::{TestService, sent};
use serde_json::{Value, json};

use super::commands::{assert_ended, run, run_with_input};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_from_the_shell_says_what_became_of_it() {
    let service = TestService::start().await;
    let (url, key) = (service.url(""), service.key("send").await);
    let by = [("PUSHPOST_URL", url.as_str()), ("PUSHPOST_KEY", key.as_str())];
    let phone =
        service.devices().register(json!({"platform": "apns", "token": hex("a1"), "user": "u1"})).await;
    let other = service.devices().register(json!({"platform": "fcm", "token": "f1", "user": "u1"})).await;

    let accepted =
        run("send --app shop --user u1 --title Hello --body World --ttl 1h --priority high", &by).await;
    let shown =
        [phone.as_str(), &other, "apns", "fcm", "accepted", "DEVICE", "CAUSE", "ccepted at attempt 1."];
    assert_ended(&accepted, 0, &shown, &["ntf_", " is stored\n"]);
    let token =
        run_with_input("send --token - --platform apns --title Hello", &by, &format!("{}\n", hex("a1")))
            .await;
    assert_ended(&token, 0, &[&phone, "accepted"], &["ntf_"]);

    service.rule(Rule::token("f1", Action::fcm(FcmFault::Unregistered)).times(1));
    let dead = run("send --user u1 --title Hello", &by).await;
    assert_ended(
        &dead,
        0,
        &["token_dead", "UNREGISTERED"],
        &["1 of 2 deliveries were accepted", "docs/reasons.md"],
    );
    let nobody = run("send --user u9 --title Hello", &by).await;
    assert_ended(&nobody, 2, &["DEVICE"], &["no device was found"]);
    service.rule(Rule::token("f3", Action::fcm(FcmFault::Unregistered)).times(1));
    let refused = run("send --token f3 --platform fcm --title Hello", &by).await;
    assert_ended(&refused, 2, &["token_dead"], &["0 of 1 deliveries were accepted", "docs/reasons.md"]);

    let as_json = run("send --token f2 --platform fcm --title Hello --json", &by).await;
    assert_ended(&as_json, 0, &["ntf_"], &[]);
    let printed: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    assert_eq!(printed["counts"]["accepted"], 1);
    assert_eq!(printed["deliveries"][0]["status"], "accepted");
    assert_eq!(printed["why"]["device"], printed["deliveries"][0]["device"]);

    let before = sent(&service.ledger()).len();
    service.lanes().pause(fcm::LANE).await;
    let stored = run("send --token f2 --platform fcm --title Hello --no-wait", &by).await;
    assert_ended(&stored, 0, &["ntf_"], &[]);
    let as_json = run("send --token f2 --platform fcm --title Hello --no-wait --json", &by).await;
    let answer: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    assert_eq!((&answer["status"], &answer["targets"]), (&json!("queued"), &json!(1)));
    assert_eq!(sent(&service.ledger()).len(), before, "what is not waited for is stored all the same");
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(answer["id"].as_str().unwrap()).await;
    service.notifications().until_done(String::from_utf8(stored.stdout).unwrap().trim()).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_can_t_be_sent_says_why() {
    let service = TestService::start().await;
    let (url, key) = (service.url(""), service.key("send").await);
    let by = [("PUSHPOST_URL", url.as_str()), ("PUSHPOST_KEY", key.as_str())];
    let refused = run("send --token zz --platform apns --title Hello --ttl soon", &by).await;
    assert_ended(&refused, 1, &[], &["#/to/tokens/0/token: ", "#/ttl: "]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!said.contains("zz"), "a token is not repeated: {said}");

    let no_key = run(&format!("send --user u1 --title Hello --url {url}"), &[]).await;
    assert_ended(&no_key, 64, &[], &["PUSHPOST_KEY is not set"]);
    let reader = service.key("read").await;
    let may_not = run("send --user u1 --title Hello", &[by[0], ("PUSHPOST_KEY", reader.as_str())]).await;
    assert_ended(&may_not, 77, &[], &["may not do this"]);
    let away = run("send --user u1 --title Hello --url http://127.0.0.1:1", &by[1..]).await;
    assert_ended(&away, 69, &[], &["connection refused: nothing listens at http://127.0.0.1:1"]);
    for usage in [
        "send --title Hello",
        "send --user u1",
        "send --token zz --title Hello",
        "send --user u1 --topic t --title Hello",
        "send --token - --platform fcm --title Hello",
    ] {
        assert_eq!(run(usage, &by).await.status.code(), Some(64), "{usage}");
    }
    service.stop().await;
}
