//! `pushpost why` by the real program: what it prints, and its exit codes.

use pushpost::provider::fcm;
use pushpost_simulator::{Action, FcmFault, Rule};
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use super::commands::{assert_ended, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_push_is_late_is_said_while_it_waits_and_afterwards() {
    let service = TestService::start().await;
    let (url, key) = (service.url(""), service.key("read").await);
    let by = [("PUSHPOST_URL", url.as_str()), ("PUSHPOST_KEY", key.as_str())];
    service.lanes().pause(fcm::LANE).await;
    let hello = json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi"});
    let id = service.notifications().send(hello).await;
    let waits = run(&format!("why {id}"), &by).await;
    let shown = [
        "CAUSE ",
        "lane_paused",
        " pending ",
        ": lane fcm is paused.",
        "lane_paused: Resume the lane: pushpost queue resume fcm",
    ];
    assert_ended(&waits, 0, &shown, &[]);
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(&id).await;
    let device = service.notifications().deliveries(&id).await[0]["device"].as_str().unwrap().to_owned();
    let ended = run(&format!("why {id} {device}"), &by).await;
    assert_ended(&ended, 0, &["attempt", "accepted", &device, "ccepted at attempt 1."], &[]);
    let as_json = run(&format!("why {id} {device} --json"), &by).await;
    assert_ended(&as_json, 0, &["\"segments\":["], &[]);
    let printed: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    assert_eq!(printed, service.get(&format!("/v1/notifications/{id}/why?device={device}")).await.body);

    service.rule(Rule::token("dead", Action::fcm(FcmFault::Unregistered)));
    let dead = json!({"to": {"tokens": [{"platform": "fcm", "token": "dead"}]}, "title": "Hi"});
    let dead = service.notifications().send(dead).await;
    service.notifications().until_done(&dead).await;
    let said = ["the device ended as token_dead"];
    assert_ended(
        &run(&format!("why {dead}"), &by).await,
        2,
        &["alled dead at attempt 1 (UNREGISTERED)."],
        &said,
    );
    assert_ended(&run(&format!("why {dead} --json"), &by).await, 2, &["\"token_dead\""], &said);
    let none = service.notifications().send(json!({"to": {"users": ["u9"]}, "title": "Hi"})).await;
    assert_ended(&run(&format!("why {none}"), &by).await, 2, &["no device done"], &["no device was found"]);

    assert_ended(&run(&format!("why {dead} {device}"), &by).await, 1, &[], &["was not for this device"]);
    assert_ended(&run("why ntf_1", &by).await, 1, &[], &["nothing with this id"]);
    assert_ended(&run("why ntf_1/../x", &by).await, 64, &[], &["an id is letters"]);
    assert_ended(&run("why", &by).await, 64, &[], &["<NTF>"]);
    let devices = service.key("devices").await;
    let refused = run(&format!("why {id}"), &[by[0], ("PUSHPOST_KEY", devices.as_str())]).await;
    assert_ended(&refused, 77, &[], &["may not do this"]);
    let away = run(&format!("why {id} --url http://127.0.0.1:1"), &by[1..]).await;
    assert_ended(&away, 69, &[], &["connection refused"]);
    service.stop().await;
}
