//! `all`: every registered device, found page by page while the first are being sent to.

use pushpost::provider::{apns, fcm};
use pushpost_testkit::json::{fcm_targets, hex, text};
use serde_json::{Value, json};

use pushpost_testkit::service::{TestService, sent};

/// Registers a device of each sort; answers the ids of those that a visible broadcast is for.
async fn crowd(service: &TestService) -> Vec<String> {
    let mut ids = Vec::new();
    for (two, environment, user) in [("a1", "production", "ann"), ("a2", "sandbox", "bob")] {
        let device = json!({"platform": "apns", "token": hex(two), "environment": environment, "user": user});
        ids.push(service.devices().register(device).await);
    }
    for number in 0..20 {
        ids.push(service.devices().register(json!({"platform": "fcm", "token": format!("f{number}")})).await);
    }
    service.devices().register(json!({"platform": "apns", "token": hex("a3"), "kind": "voip"})).await;
    let gone = service.devices().register(json!({"platform": "fcm", "token": "gone"})).await;
    service
        .database
        .execute("update devices set quarantined_at = now(), quarantine_reason = 'x' where token = 'gone'")
        .await;
    assert!(!ids.contains(&gone));
    // Known from a send alone.
    service.notifications().send_to_token("fcm", "stranger", "1h").await;
    ids
}

fn devices(deliveries: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = deliveries.iter().map(|delivery| text(&delivery["device"])).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_reaches_each_active_device_once() {
    let service = TestService::start().await;
    let mut ids = crowd(&service).await;
    ids.sort_unstable();
    let before = sent(&service.ledger()).len();
    let answer = service.post("/v1/notifications", json!({"to": {"all": true}, "title": "Hi"})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = text(&answer.body["id"]);
    let expected = json!({"id": id, "status": "queued", "targets": null, "unmatched": null});
    assert_eq!(answer.body, expected, "how many there are isn't known yet");
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(devices(&outcomes), ids);
    assert!(outcomes.iter().all(|delivery| delivery["status"] == "accepted"), "{outcomes:?}");
    assert!(
        outcomes.iter().all(|delivery| delivery["user"].is_null()),
        "nobody was addressed through a user"
    );
    assert_eq!(sent(&service.ledger()).len() - before, ids.len());
    let status = service.notifications().until_done(&id).await;
    assert_eq!(status["counts"]["targets"], ids.len());
    assert_eq!(status["unmatched"]["users_total"], 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_also_named_gets_a_broadcast_once_and_an_excepted_one_does_not() {
    let service = TestService::start().await;
    let ids = crowd(&service).await;
    let mut tokens = fcm_targets("f", 1);
    tokens[0]["ref"] = json!("mine");
    tokens.extend(fcm_targets("new", 1));
    let to = json!({
        "all": true, "tokens": tokens, "users": ["ann", "nobody"],
        "except": {"devices": [ids[3]], "users": ["bob"]},
    });
    let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
    let outcomes = service.notifications().outcomes(&id).await;
    // All but the excepted device and bob's, and one that was not known before.
    assert_eq!(outcomes.len(), ids.len() - 2 + 1);
    assert!(!devices(&outcomes).contains(&ids[3]) && !devices(&outcomes).contains(&ids[1]));
    let of = |field: &str, value: &str| outcomes.iter().filter(|one| one[field] == value).count();
    assert_eq!((of("ref", "mine"), of("user", "ann")), (1, 1));
    assert_eq!(service.notifications().until_done(&id).await["unmatched"]["users"], json!(["nobody"]));
    let few = service
        .notifications()
        .send(json!({"to": {"all": true, "platforms": ["apns"]}, "title": "Hi"}))
        .await;
    assert_eq!(devices(&service.notifications().outcomes(&few).await), {
        let mut apns = ids[..2].to_vec();
        apns.sort_unstable();
        apns
    });
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_skips_platforms_without_credentials_and_may_be_empty() {
    let service = TestService::builder().without_fcm().node(pushpost::runtime::Role::All).build().await;
    let nobody = service.notifications().send(json!({"to": {"all": true}, "title": "Hi"})).await;
    assert_eq!(service.notifications().until_done(&nobody).await["counts"]["targets"], 0);
    service.devices().register(json!({"platform": "fcm", "token": "f"})).await;
    let apns = service.devices().register(json!({"platform": "apns", "token": hex("a1")})).await;
    let id = service.notifications().send(json!({"to": {"all": true}, "title": "Hi"})).await;
    assert_eq!(devices(&service.notifications().outcomes(&id).await), [apns]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_fewer_platforms_finds_the_same_audience() {
    let mut service = TestService::builder().build().await;
    let whole = service.read("pushpost.toml");
    service.node(pushpost::runtime::Role::Api).await;
    service.without_fcm();
    service.node(pushpost::runtime::Role::Worker).await;
    service.devices().register(json!({"platform": "fcm", "token": "f"})).await;
    service.devices().register(json!({"platform": "apns", "token": hex("a1")})).await;
    let id = service.notifications().send(json!({"to": {"all": true}, "title": "Hi"})).await;
    service.database.until_count("select count(*) from fan_outs", 0).await;
    let status = service.get(&format!("/v1/notifications/{id}")).await.body;
    assert_eq!(status["counts"]["targets"], 2, "{status}");
    service.write("pushpost.toml", &whole);
    service.node(pushpost::runtime::Role::Worker).await;
    assert_eq!(service.notifications().until_done(&id).await["counts"]["accepted"], 2);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_goes_on_after_a_restart_and_its_counts_add_up() {
    let mut service = TestService::start().await;
    service.lanes().pause(fcm::LANE).await;
    service.lanes().pause(apns::lane(apns::PRODUCTION)).await;
    service
        .database.execute(
            "insert into devices (app_id, platform, environment, token, token_digest, registered_at)
             select 1, 2, 0, 'b' || g, substr(sha256(('b' || g)::bytea), 1, 16), now() from generate_series(1, 12000) g",
        )
        .await;
    let id = service.notifications().send(json!({"to": {"all": true}, "title": "Hi"})).await;
    service.database.until_count("select count(*) from fan_outs", 0).await;
    let status = service.get(&format!("/v1/notifications/{id}")).await.body;
    assert_eq!((&status["counts"]["targets"], &status["counts"]["pending"]), (&json!(12000), &json!(12000)));
    assert_eq!(status["held"][0]["state"], "paused");
    service.lanes().resume(fcm::LANE).await;
    service.until_received(1000).await;
    service.end_nodes().await;
    service.node(pushpost::runtime::Role::All).await;
    let status = service.notifications().until_done(&id).await;
    assert_eq!(status["counts"]["accepted"], 12000);
    service.stop().await;
}
