//! 401, 403 and 404: keys, their scopes, and things of other apps.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::{assert_problem, hex};
use serde_json::json;

use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers, stored};
use pushpost_testkit::service::TestService;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_exactly_one_bearer_token() {
    let service = service_without_workers(&[]).await;
    let revoked = service.key("send").await;
    service.database.execute("update api_keys set revoked_at = now()").await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    let body = json!({"to": {"users": ["u"]}, "title": "A"});
    let ask = || ApiRequest::post(SEND, &body);
    let unknown = format!("pushpost_sk_{}", "0a".repeat(32));
    let known_nowhere = |what: &str| matches!(what, "unknown" | "revoked");
    for (what, ask) in [
        ("none", ask()),
        ("empty", ask().header("authorization", "")),
        ("no secret", ask().header("authorization", "Bearer")),
        ("spaces", ask().header("authorization", "Bearer   ")),
        ("another scheme", ask().header("authorization", "Basic eDp5")),
        ("no scheme", ask().header("authorization", &s)),
        ("two keys in one", ask().header("authorization", &format!("Bearer {s}, Bearer {s}"))),
        ("two headers", ask().key(&s).key(&s)),
        ("unknown", ask().key(&unknown)),
        ("revoked", ask().key(&revoked)),
        ("cut off", ask().key(&s[..s.len() - 1])),
        ("in capitals", ask().key(&s.to_uppercase())),
        ("in another header", ask().header("x-api-key", &s)),
        ("in the URL", ApiRequest::post(&format!("{SEND}?key={s}"), &body)),
    ] {
        let answer = ask.of(&service).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert_problem(&answer, 401, "unauthenticated", &json!([]));
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{what}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert_eq!(detail.contains("pushpost keys list"), known_nowhere(what), "{what}: {detail}");
    }
    assert_eq!(stored(&service).await, before);
    for scheme in ["bearer", "BEARER", "Bearer "] {
        let answer = ask().header("authorization", &format!("{scheme} {s}")).of(&service).await;
        assert_eq!(answer.status, 202, "{scheme}: {answer:?}");
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    let service = service_without_workers(&[]).await;
    let keys = [
        ("send", service.key("send").await),
        ("read", service.key("read").await),
        ("devices", service.key("devices").await),
        ("register", service.key("register").await),
    ];
    let before = stored(&service).await;
    for (method, path, able) in [
        (Method::POST, SEND, &["send"][..]),
        (Method::POST, "/v1/notifications/batch", &["send"]),
        (Method::POST, "/v1/notifications/preview", &["send"]),
        (Method::POST, "/v1/notifications?dry_run=true", &["send"]),
        (Method::GET, "/v1/notifications/ntf_x", &["send", "read"]),
        (Method::GET, SEND, &["send", "read"]),
        (Method::POST, "/v1/notifications/cancel", &["send"]),
        (Method::DELETE, "/v1/notifications/ntf_x", &["send"]),
        (Method::GET, "/v1/notifications/ntf_x/deliveries", &["send", "read"]),
        (Method::GET, "/v1/events", &["read"]),
        (Method::PUT, DEVICES, &["devices", "register"]),
        (Method::GET, DEVICES, &["devices", "read"]),
        (Method::GET, "/v1/devices/dev_x", &["devices", "read"]),
        (Method::PATCH, "/v1/devices/dev_x", &["devices"]),
        (Method::DELETE, "/v1/devices/dev_x", &["devices"]),
        (Method::POST, "/v1/devices/dev_x/restore", &["devices"]),
        (Method::POST, "/v1/devices/lookup", &["devices"]),
        (Method::POST, "/v1/devices/unregister", &["devices", "register"]),
        (Method::GET, "/v1/topics", &["devices", "read"]),
        (Method::DELETE, "/v1/topics/news", &["devices"]),
        (Method::POST, "/v1/topics/news/subscribe", &["devices"]),
        (Method::POST, "/v1/topics/news/unsubscribe", &["devices"]),
        (Method::GET, "/v1/users/u1", &["devices", "read"]),
        (Method::DELETE, "/v1/users/u1", &["devices"]),
        (Method::GET, "/v1/admin/keys", &[]),
        (Method::GET, "/v1/admin/nodes", &[]),
        (Method::GET, "/v1/admin/webhooks", &[]),
        (Method::POST, "/v1/admin/webhooks", &[]),
        (Method::GET, "/v1/admin/webhooks/whk_x", &[]),
        (Method::PATCH, "/v1/admin/webhooks/whk_x", &[]),
        (Method::DELETE, "/v1/admin/webhooks/whk_x", &[]),
        (Method::POST, "/v1/admin/webhooks/whk_x/pause", &[]),
        (Method::POST, "/v1/admin/webhooks/whk_x/resume", &[]),
        (Method::POST, "/v1/admin/webhooks/whk_x/retry", &[]),
        (Method::POST, "/v1/admin/webhooks/whk_x/test", &[]),
        (Method::POST, "/v1/admin/webhooks/whk_x/replay", &[]),
        (Method::POST, "/v1/admin/webhooks/whk_x/rotate", &[]),
        (Method::GET, "/v1/admin/webhooks/whk_x/attempts", &[]),
        (Method::GET, "/v1/admin/webhooks/whk_x/set-aside", &[]),
        (Method::POST, "/v1/admin/webhooks/whk_x/set-aside/evt_x/retry", &[]),
        (Method::POST, "/v1/admin/cleanups", &[]),
        (Method::GET, "/v1/admin/cleanups", &[]),
        (Method::GET, "/v1/admin/cleanups/run_x", &[]),
        (Method::DELETE, "/v1/admin/cleanups/run_x", &[]),
        (Method::POST, "/v1/admin/cleanups/run_x/restore", &[]),
    ] {
        for (scope, key) in &keys {
            let answer = ApiRequest::json(method.clone(), path, "no JSON").key(key).of(&service).await;
            if able.contains(scope) {
                assert_ne!(answer.status, 403, "{scope} may {method} {path}");
                continue;
            }
            assert_problem(&answer, 403, "missing_scope", &json!([]));
            let mut would_do = json!(able);
            would_do.as_array_mut().unwrap().push(json!("admin"));
            assert_eq!(answer.body["scopes"], would_do, "{method} {path}");
        }
    }
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publishable_key_may_not_set_users_closed_topics_and_times() {
    let service = service_without_workers(&[]).await;
    let p = service.key("register").await;
    let before = stored(&service).await;
    let put = async |more: serde_json::Value| {
        let mut body = json!({"platform": "apns", "token": hex("ee")});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ApiRequest::put(DEVICES, &body).key(&p).of(&service).await
    };
    let user = json!([{"pointer": "#/user", "code": "forbidden_field"}]);
    assert_problem(&put(json!({"user": "u7"})).await, 403, "forbidden_field", &user);
    let topic = json!([{"pointer": "#/topics/1", "code": "topic_closed"}]);
    assert_problem(&put(json!({"topics": ["news", "team:42"]})).await, 403, "topic_closed", &topic);
    let all = json!([{"pointer": "#/user", "code": "forbidden_field"}, {"pointer": "#/topics/0", "code": "topic_closed"},
                     {"pointer": "#/registered_at", "code": "forbidden_field"}]);
    let every = json!({"user": "u7", "topics": ["a:b"], "registered_at": "2020-01-01T00:00:00Z"});
    assert_problem(&put(every).await, 403, "forbidden_field", &all);
    // What the request means isn't looked at before its form is right.
    let form = json!([{"pointer": "#/user", "code": "forbidden_field"}, {"pointer": "#/lcale", "code": "unknown_field", "suggestion": "locale"}]);
    assert_problem(&put(json!({"user": "u7", "lcale": "de"})).await, 400, "invalid_request", &form);
    let proven = ApiRequest::put(DEVICES, &json!({"platform": "apns", "token": hex("ee")})).key(&p);
    let proven = proven.header("pushpost-user-token", "eyJhbGciOiJub25lIn0.e30.").of(&service).await;
    assert_problem(&proven, 403, "user_tokens_not_configured", &json!([]));
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn things_of_another_app_are_answered_like_missing_ones() {
    let service = TestService::builder().app("other").node(Role::Api).build().await;
    let s = service.key("admin").await;
    let x = service.key_of("other", "admin").await;
    let to = json!({"to": {"tokens": [{"platform": "apns", "token": hex("aa")}]}, "title": "A"});
    let sent = ApiRequest::post(SEND, &to).key(&s).of(&service).await;
    let listed = ApiRequest::get(DEVICES).key(&s).of(&service).await;
    let (n, d) = (sent.body["id"].as_str().unwrap(), listed.body["items"][0]["id"].as_str().unwrap());
    let cleanup = ApiRequest::post("/v1/admin/cleanups", &json!({"inactive_days": 30}));
    let cleanup = cleanup.key(&s).of(&service).await;
    let (c, cleanups) = (cleanup.body["id"].as_str().unwrap(), "/v1/admin/cleanups");
    let before = stored(&service).await;
    for (method, theirs, nobodys) in [
        (Method::GET, format!("{SEND}/{n}"), format!("{SEND}/ntf_doesnotexist")),
        (Method::DELETE, format!("{SEND}/{n}"), format!("{SEND}/ntf_doesnotexist")),
        (Method::GET, format!("{SEND}/{n}/deliveries"), format!("{SEND}/ntf_doesnotexist/deliveries")),
        (Method::GET, format!("{DEVICES}/{d}"), format!("{DEVICES}/dev_doesnotexist")),
        (Method::DELETE, format!("{DEVICES}/{d}"), format!("{DEVICES}/dev_doesnotexist")),
        (Method::PATCH, format!("{DEVICES}/{d}"), format!("{DEVICES}/dev_doesnotexist")),
        (Method::POST, format!("{DEVICES}/{d}/restore"), format!("{DEVICES}/dev_doesnotexist/restore")),
        (Method::GET, format!("{cleanups}/{c}"), format!("{cleanups}/run_doesnotexist")),
        (Method::DELETE, format!("{cleanups}/{c}"), format!("{cleanups}/run_doesnotexist")),
        (Method::POST, format!("{cleanups}/{c}/restore"), format!("{cleanups}/run_doesnotexist/restore")),
    ] {
        let ask =
            |path: &str| ApiRequest::json(method.clone(), path, "{}").key(&x).header("request-id", "same");
        let (theirs, nobodys) = (ask(&theirs).of(&service).await, ask(&nobodys).of(&service).await);
        assert_problem(&theirs, 404, "not_found", &json!([]));
        assert_eq!(theirs.body, nobodys.body, "{method}");
    }
    let looked_up = json!({"tokens": [{"platform": "apns", "token": hex("aa")}]});
    let found = ApiRequest::post("/v1/devices/lookup", &looked_up).key(&x).of(&service).await;
    assert_eq!(found.body, json!({"items": [null]}));
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}
