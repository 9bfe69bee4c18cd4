//! `/v1/topics` and `/v1/users`: subscriptions of devices and users, by a backend.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::{ApiClient, TestApi};
use pushpost_testkit::json::{assert_has, assert_problem, text};
use pushpost_testkit::request::{ApiRequest, service_without_workers};
use serde_json::{Value, json};

fn unmatched(devices: &[&str]) -> Value {
    json!({"users": [], "users_total": 0, "devices": devices, "devices_total": devices.len()})
}

/// Registers an FCM device. Returns its id.
async fn device(client: &ApiClient<'_>, token: &str, more: Value) -> String {
    let mut body = json!({"platform": "fcm", "token": token});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = client.put("/v1/devices", body).await;
    assert!(answer.status.is_success(), "{answer:?}");
    text(&answer.body["id"])
}

async fn change(client: &ApiClient<'_>, topic: &str, verb: &str, devices: &[&str], users: &[&str]) -> Answer {
    client.post(&format!("/v1/topics/{topic}/{verb}"), json!({"devices": devices, "users": users})).await
}

#[track_caller]
fn assert_changed(answer: &Answer, topic: &str, changed: u64) {
    let expected = json!({"topic": topic, "changed": changed, "unmatched": unmatched(&[])});
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &expected));
}

async fn topics_of(client: &ApiClient<'_>, device: &str) -> Value {
    let body = client.get(&format!("/v1/devices/{device}")).await.body;
    json!([body["topics"], body["user_topics"]])
}

/// The topics of the list, which are as many as the app's count says.
async fn listed(service: &TestApi, client: &ApiClient<'_>) -> Value {
    let sql = "select (select count(*) from topics), (select sum(topic_count) from apps)";
    let (stored, counted): (i64, i64) = sqlx::query_as(sql).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(stored, counted);
    client.get("/v1/topics").await.body["items"].take()
}

#[tokio::test]
async fn devices_and_users_come_and_go_and_a_repeat_changes_nothing() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let a = device(&backend, "a", json!({})).await;
    let b = device(&backend, "b", json!({"topics": ["team:42"]})).await;
    let members: (&[&str], &[&str]) = (&[&a, &b, &b], &["u1", "u2", "u1"]);
    assert_changed(&change(&backend, "team:42", "subscribe", members.0, members.1).await, "team:42", 3);
    assert_changed(&change(&backend, "team:42", "subscribe", members.0, members.1).await, "team:42", 0);
    assert_eq!(listed(&service, &backend).await, json!([{"topic": "team:42", "devices": 2, "users": 2}]));
    assert_eq!(topics_of(&backend, &a).await, json!([["team:42"], []]));

    assert_changed(&change(&backend, "team:42", "unsubscribe", &[&a], &["u1"]).await, "team:42", 2);
    assert_changed(&change(&backend, "team:42", "unsubscribe", &[&a], &["u1"]).await, "team:42", 0);
    assert_eq!(listed(&service, &backend).await, json!([{"topic": "team:42", "devices": 1, "users": 1}]));
    assert_changed(&change(&backend, "team:42", "unsubscribe", &[&b], &[]).await, "team:42", 1);
    assert_eq!(listed(&service, &backend).await, json!([{"topic": "team:42", "devices": 0, "users": 1}]));
    assert_changed(&change(&backend, "team:42", "unsubscribe", &[], &["u2"]).await, "team:42", 1);
    assert_eq!(listed(&service, &backend).await, json!([]), "it went with its last subscriber");
    assert_changed(&change(&backend, "unknown", "unsubscribe", &[&a], &["u1"]).await, "unknown", 0);
}

#[tokio::test]
async fn unknown_devices_are_unmatched_and_another_app_s_are_unknown() {
    let service = TestApi::start().await;
    let (backend, stranger) =
        (service.client("devices").await, service.client_of(&service.other, "devices").await);
    let own = device(&backend, "a", json!({})).await;
    let gone = device(&backend, "b", json!({})).await;
    let other = device(&stranger, "a", json!({})).await;
    backend.ask(Method::DELETE, &format!("/v1/devices/{gone}")).await;
    let named = [gone.as_str(), &own, "dev_unknown", &other, "dev_unknown"];
    for (verb, changed) in [("subscribe", 1), ("unsubscribe", 1), ("unsubscribe", 0)] {
        let answer = change(&backend, "news", verb, &named, &[]).await;
        let expected = unmatched(&[&gone, "dev_unknown", &other]);
        assert_eq!(
            answer.body,
            json!({"topic": "news", "changed": changed, "unmatched": expected}),
            "{verb}"
        );
    }
    let many: Vec<String> = (0..150).map(|n| format!("dev_{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let answer = change(&backend, "news", "subscribe", &many, &[]).await;
    assert_has(&answer.body["unmatched"], &json!({"devices": many[..100], "devices_total": 150}));
    assert_eq!(listed(&service, &backend).await, json!([]), "a topic without a subscriber is not made");

    change(&backend, "news", "subscribe", &[&own], &["u1"]).await;
    assert_eq!(stranger.get("/v1/topics").await.body["items"], json!([]));
    assert_problem(&stranger.get("/v1/users/u1").await, 404, "not_found", &json!([]));
    let deleted = stranger.ask(Method::DELETE, "/v1/topics/news").await;
    assert_eq!(deleted.body, json!({"devices": 0, "users": 0}));
    assert_eq!(listed(&service, &backend).await, json!([{"topic": "news", "devices": 1, "users": 1}]));
}

#[tokio::test]
async fn a_user_s_subscription_holds_for_each_device_now_and_later() {
    let service = TestApi::start().await;
    let (backend, reader, app) =
        (service.client("devices").await, service.client("read").await, service.client("register").await);
    let now = device(&backend, "now", json!({"user": "u1", "topics": ["own"]})).await;
    change(&backend, "news", "subscribe", &[], &["u1"]).await;
    change(&backend, "Sport", "subscribe", &[], &["u1", "u2"]).await;
    let later = json!({"platform": "fcm", "token": "later", "user": "u1"});
    let later = backend.put("/v1/devices", later).await;
    assert_has(&later.body, &json!({"topics": [], "user_topics": ["Sport", "news"]}));
    assert_eq!(topics_of(&backend, &now).await, json!([["own"], ["Sport", "news"]]));
    // An app is not told.
    let told = app.put("/v1/devices", json!({"platform": "fcm", "token": "now"})).await;
    assert_eq!((&told.body["topics"], told.body.get("user_topics")), (&json!(["own"]), None));

    let user = reader.get("/v1/users/u1").await.body;
    assert_has(
        &user,
        &json!({"user": "u1", "topics": ["Sport", "news"], "devices": [
        {"id": now, "token_hint": "now", "user_topics": ["Sport", "news"]}, {"id": later.body["id"]}]}),
    );
    assert_eq!(
        reader.get("/v1/users/u2").await.body,
        json!({"user": "u2", "devices": [], "topics": ["Sport"]})
    );
    let found = async |query: &str| -> Vec<String> {
        let body = backend.get(&format!("/v1/devices?{query}")).await.body;
        body["items"].as_array().unwrap().iter().map(|item| text(&item["token"])).collect()
    };
    assert_eq!(found("topic=news").await, ["now", "later"]);
    assert_eq!(found("topic=news&topic=own").await, ["now", "later"]);
    assert_eq!(found("topic=news&limit=1").await, ["now"]);
    assert_eq!(found("topic=own").await, ["now"]);
    assert_eq!(found("topic=news&user=u1").await, ["now", "later"]);
    assert_eq!(found("topic=news&user=u2").await, Vec::<String>::new());

    // A device leaves the topics with the user.
    backend.json(Method::PATCH, &format!("/v1/devices/{now}"), json!({"user": null})).await;
    assert_eq!(topics_of(&backend, &now).await, json!([["own"], []]));
    assert_eq!(found("topic=news").await, ["later"]);
    change(&backend, "Sport", "unsubscribe", &[], &["u1"]).await;
    assert_has(&backend.get("/v1/users/u1").await.body, &json!({"topics": ["news"]}));
}

#[tokio::test]
async fn a_user_is_found_by_any_id_and_only_with_a_device_or_a_topic() {
    let service = TestApi::start().await;
    let backend = service.client("admin").await;
    assert_problem(&backend.get("/v1/users/u1").await, 404, "not_found", &json!([]));
    let id = device(&backend, "a", json!({"user": "a/b ü"})).await;
    let user = backend.get("/v1/users/a%2Fb%20%C3%BC").await;
    assert_has(&user.body, &json!({"user": "a/b ü", "devices": [{"id": id, "token": "a"}], "topics": []}));
    let fault = json!([{"parameter": "user", "code": "bad_user", "limit": 128}]);
    let long = format!("/v1/users/{}", "x".repeat(129));
    assert_problem(&backend.get(&long).await, 422, "unprocessable", &fault);
    let both =
        json!([{"parameter": "user", "code": "bad_user"}, {"parameter": "x", "code": "unknown_parameter"}]);
    assert_problem(&backend.get("/v1/users/%00?x=1").await, 400, "invalid_request", &both);
}

#[tokio::test]
async fn a_faulty_request_lists_its_faults_and_changes_nothing() {
    let service = TestApi::start_with(|app| app.topics_max = 1).await;
    let backend = service.client("devices").await;
    let path = "/v1/topics/a%20b/subscribe?dry_run=true";
    let body = json!({"devices": ["dev_x", "c0ffee", 1], "users": ["", "u1"], "user": "u2"});
    let faults = json!([
        {"parameter": "topic", "code": "bad_topic", "limit": 100},
        {"parameter": "dry_run", "code": "unknown_parameter"},
        {"pointer": "#/devices/1", "code": "bad_device_id"}, {"pointer": "#/devices/2", "code": "wrong_type"},
        {"pointer": "#/users/0", "code": "bad_user", "limit": 128},
        {"pointer": "#/user", "code": "unknown_field", "suggestion": "users"}]);
    assert_problem(&backend.post(path, body).await, 400, "invalid_request", &faults);
    for verb in ["subscribe", "unsubscribe"] {
        let path = format!("/v1/topics/news/{verb}");
        let missing = json!([{"pointer": "#", "code": "missing_field"}]);
        assert_problem(&backend.post(&path, json!({})).await, 400, "invalid_request", &missing);
        let misspelt = json!([{"pointer": "#/device", "code": "unknown_field", "suggestion": "devices"}]);
        assert_problem(&backend.post(&path, json!({"device": []})).await, 400, "invalid_request", &misspelt);
        assert_changed(&change(&backend, "news", verb, &[], &[]).await, "news", 0);
        let many: Vec<String> = (0..10_001).map(|n| format!("u{n}")).collect();
        let too_many = backend.post(&path, json!({"users": many[1..], "devices": ["dev_x"]})).await;
        assert_problem(&too_many, 413, "too_many_targets", &json!([]));
        assert_eq!(too_many.body["limit"], 10_000);
        let all = backend.post(&path, json!({"users": many[1..]})).await;
        assert_changed(&all, "news", 10_000);
    }
    let bad = json!([{"parameter": "topic", "code": "bad_topic"}]);
    assert_problem(&backend.ask(Method::DELETE, "/v1/topics/a%2Fb").await, 422, "unprocessable", &bad);
    assert_eq!(listed(&service, &backend).await, json!([]));

    change(&backend, "only", "subscribe", &[], &["u1"]).await;
    let full = json!([{"parameter": "topic", "code": "too_many_topics", "limit": 1}]);
    assert_problem(&change(&backend, "more", "subscribe", &[], &["u1"]).await, 422, "unprocessable", &full);
    assert_changed(&change(&backend, "only", "subscribe", &[], &["u2"]).await, "only", 1);
}

#[tokio::test]
async fn pages_of_topics_follow_each_other() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let names = ["A", "a", "b-1", "b:2", "z~"];
    for name in names {
        change(&backend, name, "subscribe", &[], &["u1"]).await;
    }
    let mut seen = Vec::new();
    let mut next = "/v1/topics?limit=2".to_owned();
    for items in [2, 2, 1] {
        let page = backend.get(&next).await.body;
        assert_eq!(page["items"].as_array().unwrap().len(), items, "{page}");
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| text(&item["topic"])));
        let cursor = page["next_cursor"].as_str();
        next = cursor.map_or(String::new(), |cursor| format!("/v1/topics?limit=2&cursor={cursor}"));
    }
    seen.sort_unstable();
    assert_eq!((seen.as_slice(), next.as_str()), (names.map(str::to_owned).as_slice(), ""));
    let faults = json!([{"parameter": "limit", "code": "out_of_range"}, {"parameter": "cursor", "code": "invalid_cursor"},
        {"parameter": "topic", "code": "unknown_parameter"}]);
    let wrong = backend.get("/v1/topics?limit=0&cursor=00&topic=a").await;
    assert_problem(&wrong, 400, "invalid_request", &faults);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_survive_a_restart() {
    let mut service = service_without_workers(&[]).await;
    let key = service.key("devices").await;
    let members = json!({"users": ["u1"]});
    let ask = || ApiRequest::post("/v1/topics/news/subscribe", &members).key(&key);
    assert_changed(&ask().of(&service).await, "news", 1);
    service.end_nodes().await;
    service.node(Role::Api).await;
    let user = ApiRequest::get("/v1/users/u1").key(&key).of(&service).await;
    assert_eq!(user.body, json!({"user": "u1", "devices": [], "topics": ["news"]}));
    assert_changed(&ask().of(&service).await, "news", 0);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_comes_while_a_deletion_waits_goes_with_the_device() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let gone = device(&backend, "f1", json!({"topics": ["old"]})).await;
    let pool = &service.database.pool;
    let mut holder = pool.acquire().await.unwrap();
    let mut transaction = holder.begin().await.unwrap();
    for statement in [
        "select 1 from devices for update",
        "insert into topics (app_id, name) select app_id, 'new' from topics",
        "update apps set topic_count = topic_count + 1 where name = 'shop'",
        "insert into subscriptions (topic_id, device_id) select topic_id, device_id from topics, devices where name = 'new'",
    ] {
        sqlx::query(statement).execute(&mut *transaction).await.unwrap();
    }
    let path = format!("/v1/devices/{gone}");
    let deletion = backend.ask(Method::DELETE, &path);
    let release = async {
        let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        service.database.until_count(waits, 1).await;
        transaction.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(deletion, release);
    assert_eq!(answer.status, 204);
    assert_eq!(service.database.count("select count(*) from subscriptions").await, 0);
}
