//! The endpoints under `/v1/devices`.

use http::{HeaderMap, Method, StatusCode};
use pushpost_testkit::json::assert_has;
use serde_json::{Value, json};

use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::TestApi;

/// 64 hexadecimal digits of two.
fn hex(two: &str) -> String {
    two.repeat(32)
}

fn id(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap().to_owned()
}

fn path(answer: &Answer) -> String {
    format!("/v1/devices/{}", id(answer))
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str, places: &[(&str, &str)]) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.body["code"], code);
    let none = Vec::new();
    let errors = answer.body["errors"].as_array().unwrap_or(&none);
    let found: Vec<_> = errors
        .iter()
        .map(|error| {
            let place = error.get("pointer").or(error.get("parameter"));
            (place.and_then(Value::as_str).unwrap_or("?"), error["code"].as_str().unwrap_or("?"))
        })
        .collect();
    assert_eq!(found, places);
}

#[tokio::test]
async fn an_app_registers_updates_and_deletes_its_device() {
    let service = TestApi::start().await;
    let (app, backend, reader) = (
        service.client("register").await,
        service.client("devices,send,read").await,
        service.client("read").await,
    );
    let installed = app
        .put(
            "/v1/devices",
            json!({"platform": "apns", "token": hex("AA"), "environment": "sandbox", "locale": "de_DE",
                   "app_version": "5.2.0", "topics": ["news"]}),
        )
        .await;
    assert_eq!(installed.status, StatusCode::CREATED);
    let dev = id(&installed);
    assert_eq!(
        installed.body,
        json!({"id": dev, "platform": "apns", "kind": "alert", "environment": "sandbox", "status": "active",
               "bound": false, "topics": ["news"]})
    );

    let bound = json!({"platform": "apns", "token": hex("aa"), "user": "u42"});
    assert_eq!(backend.put("/v1/devices", bound).await.status, StatusCode::OK);
    let listed = backend.get("/v1/devices?user=u42").await;
    assert_has(
        &listed.body,
        &json!({"items": [{"id": dev, "token": hex("aa"), "user": "u42", "locale": "de-DE", "app_version": "5.2.0",
                "topics": ["news"], "user_topics": [], "source": "registered", "status": "active",
                "quarantine": null, "timezone": null, "environment": "sandbox", "created_at": "<time>",
                "registered_at": "<time>"}], "next_cursor": null}),
    );
    let hinted = reader.get("/v1/devices?user=u42").await;
    assert_has(&hinted.body, &json!({"items": [{"id": dev, "token_hint": "aaaaaa", "user": "u42"}]}));
    assert!(hinted.body["items"][0].get("token").is_none());

    let out = json!({"platform": "apns", "token": hex("aa"), "user": null});
    let logged_out = app.put("/v1/devices", out).await;
    assert_has(&logged_out.body, &json!({"id": dev, "bound": false, "topics": ["news"], "status": "active"}));
    assert_eq!(backend.get("/v1/devices?user=u42").await.body["items"], json!([]));
}

#[tokio::test]
async fn a_publishable_key_cannot_be_abused() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let put = "/v1/devices";
    let mine = backend
        .put(
            put,
            json!({"platform": "apns", "token": hex("bb"), "user": "u7", "topics": ["news", "team:42"]}),
        )
        .await;
    let named = json!({"platform": "apns", "token": hex("ee"), "user": "u7"});
    assert_refused(&app.put(put, named).await, 403, "forbidden_field", &[("#/user", "forbidden_field")]);
    let closed = json!({"platform": "apns", "token": hex("ee"), "topics": ["team:42"]});
    assert_refused(&app.put(put, closed).await, 403, "topic_closed", &[("#/topics/0", "topic_closed")]);
    let timed = json!({"platform": "apns", "token": hex("ee"), "registered_at": "2020-01-01T00:00:00Z"});
    let pointer = [("#/registered_at", "forbidden_field")];
    assert_refused(&app.put(put, timed).await, 403, "forbidden_field", &pointer);
    assert_eq!(backend.get(put).await.body["items"].as_array().unwrap().len(), 1, "nothing was made");

    let replacing = json!({"platform": "apns", "token": hex("ee"), "replaces": hex("bb")});
    let thief = app.put(put, replacing).await;
    assert_eq!(thief.status, StatusCode::CREATED);
    assert_has(&thief.body, &json!({"bound": false, "topics": []}));
    let stays = json!({"status": "active", "quarantine": null, "user": "u7", "topics": ["news", "team:42"]});
    assert_has(&backend.get(&path(&mine)).await.body, &stays);

    let back = app.put(put, json!({"platform": "apns", "token": hex("bb")})).await;
    assert_eq!(back.status, StatusCode::OK);
    assert_has(&back.body, &json!({"id": id(&mine), "bound": true, "topics": ["news"], "status": "active"}));
    assert!(back.body.get("token").is_none() && back.body.get("user").is_none());

    let lookup = json!({"tokens": []});
    assert_refused(&app.get("/v1/devices?user=u7").await, 403, "missing_scope", &[]);
    assert_refused(&app.get(&path(&mine)).await, 403, "missing_scope", &[]);
    assert_refused(&app.post("/v1/devices/lookup", lookup).await, 403, "missing_scope", &[]);
    assert_refused(&app.ask(Method::DELETE, &path(&mine)).await, 403, "missing_scope", &[]);
    let unknown = json!({"platform": "apns", "token": hex("12")});
    assert_eq!(app.post("/v1/devices/unregister", unknown).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_user_token_is_refused_where_none_can_be_checked() {
    let service = TestApi::start().await;
    let app = service.client("register").await;
    let headers = HeaderMap::from_iter([("pushpost-user-token".parse().unwrap(), "x.y.z".parse().unwrap())]);
    let body = json!({"platform": "fcm", "token": "f1"});
    let answer = app.json_with(Method::PUT, "/v1/devices", headers, body).await;
    assert_refused(&answer, 403, "user_tokens_not_configured", &[]);
}

#[tokio::test]
async fn another_apps_device_is_answered_like_one_that_does_not_exist() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let stranger = service.client_of(&service.other, "devices").await;
    let mine = backend.put("/v1/devices", json!({"platform": "fcm", "token": "f1"})).await;
    for method in [Method::GET, Method::DELETE] {
        let theirs = stranger.ask(method.clone(), &path(&mine)).await;
        let mut nobodys = stranger.ask(method, "/v1/devices/dev_doesnotexist").await;
        assert_refused(&theirs, 404, "not_found", &[]);
        nobodys.body["request_id"] = theirs.body["request_id"].clone();
        assert_eq!(theirs.body, nobodys.body);
    }
    assert_eq!(backend.get(&path(&mine)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_device_is_read_described_and_deleted() {
    let service = TestApi::start().await;
    let backend = service.client("admin").await;
    let made = backend.put("/v1/devices", json!({"platform": "fcm", "token": "f1", "user": "u1"})).await;
    assert_has(&made.body, &json!({"environment": null, "kind": "alert", "token": "f1"}));
    assert_eq!(backend.get(&path(&made)).await.body, made.body);

    let anonymous = json!({"user": null, "timezone": "Europe/Berlin"});
    let described = backend.json(Method::PATCH, &path(&made), anonymous).await;
    assert_eq!(described.status, StatusCode::OK);
    assert_has(&described.body, &json!({"user": null, "timezone": "Europe/Berlin"}));
    assert_eq!(described.body["registered_at"], made.body["registered_at"]);
    let unfit = backend.json(Method::PATCH, &path(&made), json!({"environment": "sandbox"})).await;
    assert_refused(&unfit, 422, "unprocessable", &[("#/environment", "bad_value")]);
    let token = backend.json(Method::PATCH, &path(&made), json!({"token": "f2"})).await;
    assert_refused(&token, 400, "invalid_request", &[("#/token", "unknown_field")]);

    let gone = backend.ask(Method::DELETE, &path(&made)).await;
    assert_eq!((gone.status, gone.body), (StatusCode::NO_CONTENT, Value::Null));
    assert_refused(&backend.ask(Method::DELETE, &path(&made)).await, 404, "not_found", &[]);
    assert_refused(&backend.get(&path(&made)).await, 404, "not_found", &[]);
}

#[tokio::test]
async fn a_time_in_the_future_is_refused() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let body = json!({"platform": "fcm", "token": "f1", "registered_at": "2999-01-01T00:00:00Z"});
    let answer = backend.put("/v1/devices", body).await;
    assert_refused(&answer, 422, "unprocessable", &[("#/registered_at", "bad_value")]);
    let offset = json!({"platform": "fcm", "token": "f1", "registered_at": "2026-01-01T02:00:00+02:00"});
    let answer = backend.put("/v1/devices", offset).await;
    assert_has(&answer.body, &json!({"registered_at": "2026-01-01T00:00:00.000Z"}));
}

#[tokio::test]
async fn pages_follow_each_other_and_filters_narrow() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    for n in 0..5 {
        let body = json!({"platform": "fcm", "token": format!("f{n}"), "topics": ["news"]});
        backend.put("/v1/devices", body).await;
    }
    backend.put("/v1/devices", json!({"platform": "apns", "token": hex("aa"), "user": "u1"})).await;
    let mut seen = Vec::new();
    let mut next = "/v1/devices?limit=2&platform=fcm".to_owned();
    for items in [2, 2, 1] {
        let page = backend.get(&next).await;
        let found = page.body["items"].as_array().unwrap();
        assert_eq!(found.len(), items, "{next}");
        seen.extend(found.iter().map(|device| device["token"].as_str().unwrap().to_owned()));
        let cursor = page.body["next_cursor"].as_str();
        next = cursor
            .map_or(String::new(), |cursor| format!("/v1/devices?platform=fcm&limit=2&cursor={cursor}"));
    }
    assert_eq!((seen, next.as_str()), (["f0", "f1", "f2", "f3", "f4"].map(str::to_owned).to_vec(), ""));

    let count = async |query: &str| {
        let answer = backend.get(&format!("/v1/devices?{query}")).await;
        answer.body["items"].as_array().unwrap_or_else(|| panic!("{answer:?}")).len()
    };
    assert_eq!(count("").await, 6);
    assert_eq!(count("platform=fcm&platform=apns").await, 6);
    assert_eq!(count("topic=news&topic=sport").await, 5);
    assert_eq!(count("user=u1&topic=news").await, 0);
    assert_eq!(count("status=active&status=quarantined").await, 6);
    assert_eq!(count("status=quarantined").await, 0);
    assert_eq!(count("registered_before=2020-01-01T00:00:00Z").await, 0);
    assert_eq!(
        count("registered_before=2020-01-01T00:00:00Z&registered_before=2999-01-01T00:00:00Z").await,
        6
    );
    assert_eq!(count("quarantined_after=2020-01-01T00:00:00Z").await, 0);
    let dead = "update devices set quarantined_at = '2026-03-01', quarantine_reason = 'x' where token in ('f1', 'f3')";
    service.database.execute(dead).await;
    for (query, found) in [
        ("status=quarantined", 2),
        ("status=quarantined&limit=1", 1),
        ("status=active", 4),
        ("quarantined_after=2026-02-28T00:00:00Z", 2),
        ("quarantined_after=2026-03-02T00:00:00Z", 0),
        ("quarantined_after=2026-03-02T00:00:00Z&quarantined_after=2026-02-28T00:00:00Z", 2),
        ("quarantined_after=2026-02-28T00:00:00Z&status=active", 0),
        ("quarantined_after=2026-02-28T00:00:00Z&status=active&status=quarantined", 2),
        ("quarantined_after=2026-02-28T00:00:00Z&platform=apns", 0),
        ("quarantined_after=2026-02-28T00:00:00Z&topic=news", 2),
        ("quarantined_after=2026-02-28T00:00:00Z&user=u1", 0),
        ("status=quarantined&registered_before=2020-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(count(query).await, found, "{query}");
    }
}

#[tokio::test]
async fn a_faulty_query_lists_its_faults_and_returns_nothing() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let answer =
        backend.get("/v1/devices?usr=u1&platform=hms&limit=0&registered_before=today&cursor=00").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let mut places: Vec<_> =
        answer.body["errors"].as_array().unwrap().iter().map(|e| e["parameter"].clone()).collect();
    places.sort_by_key(ToString::to_string);
    assert_eq!(json!(places), json!(["cursor", "limit", "platform", "registered_before", "usr"]));
    let user = backend.get("/v1/devices?user=%00").await;
    assert_refused(&user, 422, "unprocessable", &[("user", "bad_user")]);
}

#[tokio::test]
async fn a_lookup_answers_in_the_order_asked() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let a = backend.put("/v1/devices", json!({"platform": "apns", "token": hex("aa")})).await;
    let f = backend.put("/v1/devices", json!({"platform": "fcm", "token": hex("aa")})).await;
    let tokens = json!({"tokens": [
        {"platform": "fcm", "token": hex("aa")}, {"platform": "fcm", "token": "unknown"},
        {"platform": "apns", "token": hex("AA")}, {"platform": "fcm", "token": hex("aa")}]});
    let found = backend.post("/v1/devices/lookup", tokens).await;
    assert_eq!(found.body, json!({"items": [f.body, null, a.body, f.body]}));
    let many: Vec<_> = (0..1001).map(|_| json!({"platform": "fcm", "token": "f"})).collect();
    let answer = backend.post("/v1/devices/lookup", json!({ "tokens": many })).await;
    assert_refused(&answer, 413, "too_many_items", &[]);
    assert_eq!(answer.body["limit"], 1000);
}

#[tokio::test]
async fn an_unregistered_device_is_gone() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let made = app.put("/v1/devices", json!({"platform": "fcm", "token": "f1"})).await;
    let body = json!({"platform": "fcm", "token": "f1"});
    assert_eq!(app.post("/v1/devices/unregister", body).await.status, StatusCode::NO_CONTENT);
    assert_refused(&backend.get(&path(&made)).await, 404, "not_found", &[]);
}
