//! What a session may do, and what it may not: the API takes no cookie, readers change nothing, and no page gets a whole token.

use http::Method;
use pushpost_testkit::json::{assert_problem, hex};
use pushpost_testkit::request::{service_without_workers, stored};
use pushpost_testkit::schema::DOCUMENT;
use serde_json::{Value, json};

use super::Browser;

/// All operations of `/v1`, with ids that are there.
fn operations(device: &str, notification: &str) -> Vec<(Method, String)> {
    let paths = DOCUMENT["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        let path = path.replace("{lane}", "fcm").replace("{user}", "u1").replace("{topic}", "news");
        let id = if path.contains("/devices/") { device } else { notification };
        let path = path.replace("{id}", id);
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| (method.to_ascii_uppercase().parse().unwrap(), path.clone()))
    });
    let operations = operations.filter(|(_, path)| path.starts_with("/v1/"));
    let operations: Vec<_> = operations.collect();
    assert!(operations.len() > 30, "{operations:?}");
    operations
}

fn of_page(path: &str) -> String {
    path.replacen("/v1/", "/dashboard/api/", 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_takes_no_cookie() {
    let service = service_without_workers(&[]).await;
    let browser = Browser::with_key(&service, &service.key("admin").await).await;
    for (method, path) in operations("dev_x", "ntf_x") {
        let answer = browser.ask(method.clone(), &path, None).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (401, &json!("unauthenticated")),
            "{method} {path}"
        );
    }
    // And a page's call takes no key in a header.
    let mut without = Browser::of(&service);
    without.cookie = None;
    let bearer = format!("Bearer {}", service.key("admin").await);
    let answer = without.sends("authorization", &bearer).get("/dashboard/api/admin/lanes").await;
    assert_problem(&answer, 401, "unauthenticated", &json!([]));
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_changes_nothing_and_sees_no_route_of_admins() {
    let service = service_without_workers(&[]).await;
    // More scopes than `read` do not help.
    let reader = Browser::with_key(&service, &service.key("read,send,devices").await).await;
    let known = json!({"platform": "apns", "token": hex("aa"), "environment": "production", "user": "u1"});
    let device = service.put("/v1/devices", known).await.body["id"].as_str().unwrap().to_owned();
    let posted = service.post("/v1/notifications", json!({"to": {"users": ["u1"]}, "title": "A"})).await;
    let notification = posted.body["id"].as_str().unwrap().to_owned();
    let before = stored(&service).await;
    let mut allowed = Vec::new();
    for (method, path) in operations(&device, &notification) {
        let answer = reader.ask(method.clone(), &of_page(&path), None).await;
        let may_read = method == Method::GET && !path.starts_with("/v1/admin");
        if may_read {
            assert_ne!(answer.status, 403, "{method} {path}");
            allowed.push(path);
        } else {
            assert_eq!(
                (answer.status.as_u16(), &answer.body["code"]),
                (403, &json!("missing_scope")),
                "{method} {path}"
            );
        }
    }
    assert!(allowed.len() > 8, "{allowed:?}");
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_gets_a_whole_token() {
    let service = service_without_workers(&[]).await;
    let admin = service.key("admin").await;
    let browser = Browser::with_key(&service, &admin).await;
    let token = hex("c0");
    let known = json!({"platform": "apns", "token": token, "environment": "production", "user": "u1",
        "topics": ["news"]});
    let device = service.put("/v1/devices", known).await.body["id"].as_str().unwrap().to_owned();
    let fcm = json!({"platform": "fcm", "token": "fcm-token-of-a-phone", "user": "u1"});
    service.put("/v1/devices", fcm.clone()).await;
    let posted = service.post("/v1/notifications", json!({"to": {"users": ["u1"]}, "title": "A"})).await;
    let notification = posted.body["id"].as_str().unwrap().to_owned();
    let mut hints = 0;
    let mut check = |what: &str, answer: &pushpost_testkit::answer::Answer| {
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(!text.contains(&token) && !text.contains("fcm-token-of-a-phone"), "{what}: {text}");
        hints += text.matches("\"token_hint\"").count();
    };
    for (method, path) in operations(&device, &notification) {
        if method == Method::GET {
            check(&path, &browser.get(&of_page(&path)).await);
        }
    }
    let lookup = json!({"tokens": [{"platform": "apns", "token": token}]});
    let preview = json!({"to": {"devices": [device]}, "title": "A"});
    for (method, path, body) in [
        (Method::POST, "/v1/devices/lookup", lookup),
        (Method::POST, "/v1/notifications/preview", preview),
        (Method::PUT, "/v1/devices", fcm),
        (Method::PATCH, &*format!("/v1/devices/{device}"), json!({"locale": "de"})),
    ] {
        let answer = browser.ask(method, &of_page(path), Some(body)).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        check(path, &answer);
    }
    assert!(hints >= 5, "the devices are shown: {hints}");
    // The same key sees it outside of the dashboard.
    let path = format!("/v1/devices/{device}");
    let shown = service.by_admin(Method::GET, &path).await;
    assert_eq!((&shown.body["token"], &shown.body["token_hint"]), (&json!(token), &Value::Null));
    service.stop_undecided().await;
}
