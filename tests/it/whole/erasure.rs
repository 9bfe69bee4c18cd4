//! `DELETE /v1/users/{user}`: what belongs to a user is gone, what waits is cancelled, and no answer names the user.

use std::time::Duration;

use http::Method;
use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost::store;
use pushpost_testkit::json::{assert_ended, hex, text};
use pushpost_testkit::processes::providers;
use pushpost_testkit::request::ApiRequest;
use pushpost_testkit::service::{PRODUCTION, TestService};
use serde_json::{Value, json};

async fn erase(service: &TestService, user: &str) -> Value {
    let answer = service.delete(&format!("/v1/users/{user}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// The counts of a notification, which add up.
async fn counts(service: &TestService, id: &str) -> Value {
    let counts = service.get(&format!("/v1/notifications/{id}")).await.body["counts"].take();
    let parts = counts.as_object().unwrap().iter().filter(|(name, _)| *name != "targets");
    assert_eq!(parts.map(|(_, count)| count.as_u64().unwrap()).sum::<u64>(), counts["targets"], "{counts}");
    counts
}

fn phone(two: &str, user: &str) -> Value {
    json!({"platform": "apns", "token": hex(two), "user": user, "topics": ["own"]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_erased_user_is_cancelled_and_no_answer_names_the_user() {
    let mut service = TestService::builder().app("other").build().await;
    service.lanes().pause(PRODUCTION).await;
    service.node(Role::All).await;
    let first = service.devices().register(phone("a1", "alice")).await;
    let sold = service.devices().register(phone("a2", "alice")).await;
    let quarantined = service.devices().register(phone("a3", "alice")).await;
    let of_bob = service.devices().register(phone("b1", "bob")).await;
    let other_key = service.key_of("other", "devices,read").await;
    let of_other = ApiRequest::put("/v1/devices", &phone("a1", "alice")).key(&other_key).of(&service).await;
    assert_eq!(of_other.status, 201);
    let members = json!({"users": ["alice", "bob"]});
    assert_eq!(service.post("/v1/topics/news/subscribe", members).await.body["changed"], 2);
    service.database.execute("update subscriptions set is_bound = true").await;

    let by_user = json!({"to": {"users": ["alice", "bob"]}, "title": "A"});
    let by_user = service.notifications().send(by_user).await;
    let by_token = json!({"to": {"tokens": [{"platform": "apns", "token": hex("a1"), "ref": "alice's phone"}]}, "title": "A"});
    let by_token = service.notifications().send(by_token).await;
    let to_all = service.notifications().send(json!({"to": {"all": true}, "title": "A"})).await;
    service.lanes().until(PRODUCTION, &json!({"depth": 9})).await;
    service.devices().register(phone("a2", "bob")).await;
    let dead = format!(
        "update devices set quarantined_at = now(), quarantine_reason = 'x' where token = '{}'",
        hex("a3")
    );
    service.database.execute(&dead).await;

    // Two devices, each in `by_user` and `to_all`, and one in `by_token`.
    assert_eq!(erase(&service, "alice").await, json!({"devices": 2, "cancelled": 5}));
    assert_eq!(erase(&service, "alice").await, json!({"devices": 0, "cancelled": 0}), "again");
    assert_eq!(erase(&service, "nobody").await, json!({"devices": 0, "cancelled": 0}));

    for device in [&first, &quarantined] {
        assert_eq!(service.get(&format!("/v1/devices/{device}")).await.status, 404);
        assert_eq!(service.get(&format!("/v1/devices/{device}/deliveries")).await.status, 404);
    }
    assert_eq!(service.get("/v1/users/alice").await.status, 404);
    assert_eq!(service.get("/v1/users/bob").await.body["topics"], json!(["news"]));
    let topics = service.get("/v1/topics").await.body;
    let expected =
        json!([{"topic": "news", "devices": 0, "users": 1}, {"topic": "own", "devices": 2, "users": 0}]);
    assert_eq!(topics["items"], expected);
    let theirs = ApiRequest::get("/v1/users/alice").key(&other_key).of(&service).await;
    assert_eq!(
        theirs.body["devices"][0]["id"], of_other.body["id"],
        "another app's user of the same name stays"
    );

    assert_eq!(counts(&service, &by_user).await["cancelled"], 2);
    assert_eq!(counts(&service, &by_token).await["cancelled"], 1);
    assert_eq!(counts(&service, &to_all).await["cancelled"], 2);
    let deliveries = service.notifications().deliveries(&by_user).await;
    assert_eq!(deliveries.len(), 4);
    for delivery in &deliveries {
        let named = (&delivery["device"], &delivery["user"], &delivery["ref"]);
        match delivery["status"].as_str().unwrap() {
            "cancelled" => {
                assert_ended(delivery, "cancelled", 0, Some("device_gone"));
                assert_eq!(named, (&Value::Null, &Value::Null, &Value::Null));
                assert_eq!(
                    (&delivery["platform"], &delivery["environment"]),
                    (&json!("apns"), &json!("production"))
                );
                assert!(delivery["at"].is_string(), "{delivery}");
            }
            // The phone that was sold: its line is alice's.
            _ if delivery["user"].is_null() => assert_eq!(named, (&Value::Null, &Value::Null, &Value::Null)),
            _ => assert_eq!(named, (&json!(of_bob), &json!("bob"), &Value::Null)),
        }
    }
    let shown = service.notifications().deliveries(&by_token).await;
    assert_ended(&shown[0], "cancelled", 0, Some("device_gone"));
    for path in [by_user.as_str(), by_token.as_str(), to_all.as_str()] {
        let path = format!("/v1/notifications/{path}");
        for path in
            [path.clone(), format!("{path}/deliveries"), format!("{path}/deliveries?status=cancelled")]
        {
            let answer = service.get(&path).await.body.to_string();
            assert!(!answer.contains("alice") && !answer.contains(&first), "{path}: {answer}");
        }
        for filter in
            ["user=alice".to_owned(), format!("device={first}"), format!("user=alice&device={first}")]
        {
            let found = service.get(&format!("{path}/deliveries?{filter}")).await.body;
            assert_eq!(found["items"], json!([]), "{path} {filter}");
        }
    }

    service.lanes().resume(PRODUCTION).await;
    service.notifications().until_done(&by_user).await;
    let timeline = service.get(&format!("/v1/devices/{sold}/deliveries")).await.body;
    let line =
        timeline["items"].as_array().unwrap().iter().find(|line| line["notification"] == json!(by_user));
    assert_ended(line.unwrap(), "cancelled", 0, Some("user_changed"));
    assert_eq!((&line.unwrap()["device"], &line.unwrap()["user"]), (&Value::Null, &Value::Null));

    // Registered anew, the user is a new one.
    let anew = service.devices().register(phone("a1", "alice")).await;
    let later = service.notifications().send(json!({"to": {"users": ["alice"]}, "title": "A"})).await;
    let delivery = service.notifications().outcome(&later).await;
    assert_eq!((&delivery["device"], &delivery["user"]), (&json!(anew), &json!("alice")));
    let before = service.notifications().deliveries(&by_user).await;
    assert!(before.iter().all(|delivery| delivery["user"] != "alice"), "{before:?}");
    service.notifications().until_done(&to_all).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_under_way_ends_for_an_erased_user_and_goes_on_for_others() {
    const DEVICES: usize = 3_000;
    const ERASED: usize = 150;
    let builder = TestService::builder().simulator(providers(Duration::from_millis(5)));
    let service = builder.config("DELIVERY__MAX_IN_FLIGHT", "8").node(Role::All).build().await;
    let line = |number: usize| {
        let user =
            if number.is_multiple_of(DEVICES / ERASED) { "alice".to_owned() } else { format!("u{number}") };
        json!({"platform": "fcm", "token": format!("f{number}"), "user": user}).to_string() + "\n"
    };
    let lines: String = (0..DEVICES).map(line).collect();
    let devices = service.key("devices").await;
    let import = ApiRequest::json(Method::POST, "/v1/devices/import", lines).without("content-type");
    let import = import.header("content-type", "application/x-ndjson").key(&devices).of(&service).await;
    assert_eq!(import.body["created"], DEVICES, "{import:?}");
    let id = service.notifications().send(json!({"to": {"all": true}, "title": "A"})).await;
    service.until_received(100).await;
    let erased = erase(&service, "alice").await;
    assert_eq!(erased["devices"], ERASED);

    let outcomes = service.notifications().outcomes(&id).await;
    let counts = counts(&service, &id).await;
    assert!(outcomes.len() <= DEVICES && counts["targets"] == outcomes.len(), "{counts}");
    assert!(counts["cancelled"].as_u64() >= erased["cancelled"].as_u64(), "{counts} {erased}");
    let (gone, sent): (Vec<_>, Vec<_>) = outcomes.iter().partition(|delivery| delivery["device"].is_null());
    assert_eq!(sent.len(), DEVICES - ERASED, "each device of the others");
    assert!(sent.iter().all(|delivery| delivery["status"] == "accepted"));
    for delivery in gone {
        match text(&delivery["status"]).as_str() {
            "cancelled" => assert_ended(delivery, "cancelled", 0, Some("device_gone")),
            _ => assert_ended(delivery, "accepted", 1, None),
        }
        assert_eq!(delivery["provider_id"], Value::Null, "{delivery}");
    }
    service.lanes().until(fcm::LANE, &json!({"depth": 0})).await;
    service.stop().await;
}

/// A phone that alice sold before the erasure, and that has a user of her name again afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_comes_back_gets_nothing_from_before_the_erasure() {
    let service = TestService::start().await;
    service.lanes().pause(PRODUCTION).await;
    service.devices().register(phone("a1", "alice")).await;
    service.devices().register(phone("b1", "bob")).await;
    let to_both = json!({"to": {"users": ["alice", "bob"]}, "title": "A"});
    let before = service.notifications().send(to_both.clone()).await;
    service.devices().register(phone("a1", "carol")).await;
    assert_eq!(erase(&service, "alice").await, json!({"devices": 0, "cancelled": 0}));
    service.devices().register(phone("a1", "alice")).await;
    let after = service.notifications().send(to_both).await;
    service.lanes().resume(PRODUCTION).await;
    for (id, lost) in [(before, 1), (after, 0)] {
        let outcomes = service.notifications().outcomes(&id).await;
        let (cancelled, sent): (Vec<_>, Vec<_>) =
            outcomes.iter().partition(|delivery| delivery["status"] == "cancelled");
        assert_eq!((cancelled.len(), sent.len()), (lost, 2 - lost), "{outcomes:?}");
        for delivery in cancelled {
            assert_ended(delivery, "cancelled", 0, Some("user_changed"));
            assert_eq!((&delivery["device"], &delivery["user"]), (&Value::Null, &Value::Null));
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_are_registered_meanwhile_are_erased_or_stay_whole() {
    let service = TestService::builder().node(Role::Api).build().await;
    let register = async |round: usize| {
        for number in 0..40 {
            let body = json!({"platform": "fcm", "token": format!("f{number}"), "user": "alice",
                              "topics": [format!("t{}", (number + round) % 3)]});
            let answer = service.put("/v1/devices", body).await;
            assert!(answer.status.is_success(), "{answer:?}");
        }
    };
    let erase_often = async || {
        let mut erased = 0;
        for _ in 0..20 {
            erased += erase(&service, "alice").await["devices"].as_u64().unwrap();
        }
        erased
    };
    register(0).await;
    let (erased, (), ()) = tokio::join!(erase_often(), register(1), register(2));
    assert!(erased >= 40, "{erased}");
    erase(&service, "alice").await;
    assert_eq!(service.get("/v1/users/alice").await.status, 404);
    let left = "select (select count(*) from devices) + (select count(*) from subscriptions)";
    assert_eq!(service.database.count(left).await, 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_about_erasures_go_when_no_notification_from_before_is_left() {
    let service = TestService::builder().node(Role::Api).build().await;
    service.devices().register(phone("a1", "alice")).await;
    service.notifications().send(json!({"to": {"users": ["alice"]}, "title": "A"})).await;
    erase(&service, "alice").await;
    let notes = "select (select count(*) from erased_users) + (select count(*) from erased_devices)";
    let age = "update erased_users set erased_at = now() - interval '25 hours';
               update erased_devices set erased_at = now() - interval '25 hours'";
    let mut conn = service.database.pool.acquire().await.unwrap();
    assert_eq!(
        store::erasures::delete_old(&mut conn, 10).await.unwrap(),
        0,
        "a notification may name the user"
    );
    assert_eq!(service.database.count(notes).await, 2);
    for statement in age.split(';') {
        service.database.execute(statement).await;
    }
    assert_eq!(store::erasures::delete_old(&mut conn, 10).await.unwrap(), 1);
    assert_eq!(service.database.count(notes).await, 0);
    service.stop().await;
}
