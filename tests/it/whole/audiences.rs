//! Topics, conditions and opt-outs as audiences, from the request to the phones (docs/queue.md#pages-of-topics).

use pushpost::provider::{apns, fcm};
use pushpost::runtime::Role;
use serde_json::{Value, json};

use pushpost_testkit::json::{assert_ended, hex, of, text};
use pushpost_testkit::service::{TestService, sent};
use pushpost_testkit::wait::until;

async fn android(service: &TestService, token: &str, user: Option<&str>, topics: &[&str]) -> String {
    let device = json!({"platform": "fcm", "token": token, "user": user, "topics": topics});
    service.devices().register(device).await
}

async fn subscribe_users(service: &TestService, topic: &str, users: &[&str]) {
    let answer =
        service.post(&format!("/v1/topics/{topic}/subscribe"), json!({"devices": [], "users": users})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The deliveries of a notification to this audience, once it is done.
async fn outcomes(service: &TestService, to: Value) -> Vec<Value> {
    let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
    service.notifications().outcomes(&id).await
}

fn devices(outcomes: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> = outcomes.iter().map(|delivery| text(&delivery["device"])).collect();
    ids.sort_unstable();
    ids
}

fn sorted<const N: usize>(ids: [&String; N]) -> Vec<String> {
    let mut ids = ids.map(String::clone).to_vec();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_reach_devices_by_their_own_subscriptions_and_by_those_of_their_users() {
    let service = TestService::builder().app("other").node(Role::All).build().await;
    let own = android(&service, "own", None, &["news"]).await;
    let of_user = android(&service, "of-user", Some("u1"), &[]).await;
    let both = android(&service, "both", Some("u1"), &["news"]).await;
    let neither = android(&service, "neither", Some("u2"), &["sport"]).await;
    let iphone = json!({"platform": "apns", "token": hex("a1"), "topics": ["news", "team:42"]});
    let iphone = service.devices().register(iphone).await;
    subscribe_users(&service, "news", &["u1", "nobody"]).await;
    let news = outcomes(&service, json!({"topics": ["news", "unknown"]})).await;
    assert_eq!(devices(&news), sorted([&own, &of_user, &both, &iphone]));
    assert_eq!(of(&news, "device", &of_user)["user"], "u1");
    for device in [&own, &both, &iphone] {
        assert_eq!(of(&news, "device", device)["user"], Value::Null, "its own subscription comes first");
    }
    assert!(news.iter().all(|delivery| delivery["status"] == "accepted"), "{news:?}");
    assert_eq!(sent(&service.ledger()).len(), 4, "each phone once");

    let of_apns = json!({"topics": ["news"], "platforms": ["apns"]});
    assert_eq!(devices(&outcomes(&service, of_apns).await), sorted([&iphone]));
    let closed = json!({"topics": ["team:42"]});
    assert_eq!(
        devices(&outcomes(&service, closed).await),
        sorted([&iphone]),
        "a backend sends to closed topics"
    );
    let union = json!({
        "topics": ["news", "sport"], "users": ["u2"], "devices": [own], "condition": "news || sport",
        "tokens": [{"platform": "fcm", "token": "both", "ref": "row-1"}],
    });
    let union = outcomes(&service, union).await;
    assert_eq!(devices(&union), sorted([&own, &of_user, &both, &neither, &iphone]));
    assert_eq!(of(&union, "device", &both)["ref"], "row-1");
    let with_all = outcomes(&service, json!({"all": true, "topics": ["news"]})).await;
    assert_eq!(devices(&with_all), sorted([&own, &of_user, &both, &neither, &iphone]));
    assert!(with_all.iter().all(|delivery| delivery["user"].is_null()));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_and_opt_outs_are_over_topics_of_devices_and_users() {
    let service = TestService::start().await;
    let a = android(&service, "a", None, &["news", "sport"]).await;
    let b = android(&service, "b", Some("u1"), &["news"]).await;
    let c = android(&service, "c", None, &["news", "quiet"]).await;
    let d = android(&service, "d", Some("u2"), &[]).await;
    subscribe_users(&service, "sport", &["u1"]).await;
    subscribe_users(&service, "quiet", &["u2"]).await;
    for (to, expected) in [
        (json!({"condition": "news && sport"}), sorted([&a, &b])),
        (json!({"condition": "'news' in topics && !('sport' in topics)"}), sorted([&c])),
        (json!({"condition": "!news"}), sorted([&d])),
        (json!({"condition": "!sport && !unknown"}), sorted([&c, &d])),
        (json!({"condition": "unknown"}), sorted([])),
        (json!({"condition": "news", "except": {"topics": ["sport"]}}), sorted([&c])),
        (json!({"topics": ["news"], "except": {"topics": ["quiet", "unknown"]}}), sorted([&a, &b])),
        (json!({"all": true, "except": {"topics": ["quiet"]}}), sorted([&a, &b])),
        (
            json!({"users": ["u1", "u2"], "devices": [a, c], "except": {"topics": ["quiet"]}}),
            sorted([&a, &b]),
        ),
        (json!({"all": true, "users": ["u2"], "except": {"topics": ["sport"]}}), sorted([&c, &d])),
    ] {
        assert_eq!(devices(&outcomes(&service, to.clone()).await), expected, "{to}");
    }
    let opted_out = json!({"to": {"users": ["u2"], "except": {"topics": ["quiet"]}}, "title": "Hi"});
    let answer = service.post("/v1/notifications", opted_out).await;
    assert_eq!((&answer.body["targets"], &answer.body["unmatched"]["users"]), (&json!(0), &json!(["u2"])));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_without_devices_are_no_error() {
    let service = TestService::start().await;
    let id = service.notifications().send(json!({"to": {"topics": ["unknown"]}, "title": "Hi"})).await;
    assert_eq!(service.notifications().until_done(&id).await["counts"]["targets"], 0);
    let answer = service.post("/v1/notifications", json!({"to": {"topics": []}, "title": "Hi"})).await;
    assert_eq!((&answer.body["status"], &answer.body["targets"]), (&json!("done"), &json!(0)), "{answer:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_leaves_the_user_of_the_topic_gets_nothing() {
    let service = TestService::start().await;
    service.lanes().pause(fcm::LANE).await;
    let left = android(&service, "left", Some("u1"), &[]).await;
    let moved = android(&service, "moved", Some("u1"), &[]).await;
    let own = android(&service, "own", Some("u1"), &["news"]).await;
    let stays = android(&service, "stays", Some("u1"), &[]).await;
    subscribe_users(&service, "news", &["u1", "u2"]).await;
    let id = service.notifications().send(json!({"to": {"topics": ["news"]}, "title": "Hi"})).await;
    service.database.until_count("select count(*) from fan_outs", 0).await;
    for (token, user) in [("left", None), ("moved", Some("u2")), ("own", None)] {
        service.devices().register(json!({"platform": "fcm", "token": token, "user": user})).await;
    }
    service.lanes().resume(fcm::LANE).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 4);
    for device in [&left, &moved] {
        let delivery = of(&outcomes, "device", device);
        assert_ended(delivery, "cancelled", 0, Some("user_changed"));
        assert_eq!(delivery["user"], "u1");
    }
    for device in [&own, &stays] {
        assert_ended(of(&outcomes, "device", device), "accepted", 1, None);
    }
    service.stop().await;
}

/// The first page of an audience may have no device that depends on its user, and a later page may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_knows_a_notification_learns_of_a_later_page_with_users() {
    let service = TestService::start().await;
    android(&service, "first", None, &["news"]).await;
    let id = service.notifications().send(json!({"to": {"topics": ["news"]}, "title": "Hi"})).await;
    service.notifications().until_done(&id).await;
    let other = android(&service, "other", Some("u2"), &[]).await;
    // What the later page writes, of a device that was u1's.
    service
        .database
        .execute(
            "with page as (
               insert into jobs (notification_id, lane_id, priority, class, due_at, expires_at, device_count, devices)
               select n.notification_id, lane_id, n.priority, 2, n.due_at, n.expires_at, 1, array[device_id]
               from notifications n, receipts r, devices where token = 'other'
               returning notification_id, devices[1] as device_id),
             target as (
               insert into targets (notification_id, device_id, user_id)
               select notification_id, device_id, 'u1' from page)
             update notifications set by_user = true, target_count = 2",
        )
        .await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_ended(of(&outcomes, "device", &other), "cancelled", 0, Some("user_changed"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_many_devices_is_found_by_both_nodes_and_across_a_restart() {
    let mut service = TestService::builder().node(Role::All).node(Role::Worker).build().await;
    for lane in [fcm::LANE, apns::lane(apns::PRODUCTION)] {
        service.lanes().pause(lane).await;
    }
    // Every second device has the topic, and every third belongs to one of the users that have it.
    service
        .database
        .execute(
            "insert into devices (app_id, platform, environment, token, token_digest, registered_at, user_id)
             select 1, 2, 0, 'b' || g, substr(sha256(('b' || g)::bytea), 1, 16), now(), case when g % 3 = 0 then 'u' || g end
             from generate_series(1, 60000) g;
             insert into topics (app_id, name) values (1, 'news');
             insert into subscriptions (topic_id, device_id)
             select topic_id, device_id from topics, devices where device_id % 2 = 0;
             insert into user_subscriptions (topic_id, app_id, user_id)
             select topic_id, 1, user_id from topics, devices where user_id is not null",
        )
        .await;
    let id = service.notifications().send(json!({"to": {"topics": ["news"]}, "title": "Hi"})).await;
    until("the first page is written", async || {
        service.database.count("select count(*) from jobs").await > 0
    })
    .await;
    service.end_nodes().await;
    service.node(Role::All).await;
    service.node(Role::Worker).await;
    service.database.until_count("select count(*) from fan_outs", 0).await;
    let expected = "select count(*) from devices where device_id % 2 = 0 or user_id is not null";
    let expected = service.database.count(expected).await;
    let counts = &service.get(&format!("/v1/notifications/{id}")).await.body["counts"];
    assert_eq!((&counts["targets"], &counts["pending"]), (&json!(expected), &json!(expected)));
    let once = "select count(distinct device) from jobs, unnest(devices) as device";
    assert_eq!(service.database.count(once).await, expected, "each device once");
    let through_users = "select count(*) from targets where user_id is not null";
    assert_eq!(service.database.count(through_users).await, 10_000);
    service.stop_undecided().await;
}
