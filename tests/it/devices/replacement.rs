//! `replaces` by publishable keys: a caller that knows a token must not silence its owner, and an app with a changed token
//! must not be sent to twice.

use http::Method;
use pushpost_testkit::json::assert_has;
use serde_json::{Value, json};

use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::{ApiClient, TestApi};

const PUT: &str = "/v1/devices";

fn apns(two: &str, more: Value) -> Value {
    let mut body = json!({"platform": "apns", "token": two.repeat(32)});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// An app's claim that a device of `two` takes the place of a device of `old`.
async fn claim(app: &ApiClient<'_>, two: &str, old: &str) -> Answer {
    let answer = app.put(PUT, apns(two, json!({"replaces": old.repeat(32)}))).await;
    assert!(answer.status.is_success(), "{answer:?}");
    assert_eq!(answer.body.get("ignored"), None);
    answer
}

/// What the backend sees of the device with this token.
async fn device(backend: &ApiClient<'_>, two: &str) -> Value {
    let answer = backend.post("/v1/devices/lookup", json!({"tokens": [apns(two, json!({}))]})).await;
    answer.body["items"][0].clone()
}

async fn assert_replaced(backend: &ApiClient<'_>, two: &str) {
    let replaced = json!({"status": "quarantined", "quarantine": {"reason": "replaced", "at": "<time>"}});
    assert_has(&device(backend, two).await, &replaced);
}

async fn assert_active(backend: &ApiClient<'_>, two: &str) {
    assert_has(&device(backend, two).await, &json!({"status": "active", "quarantine": null}));
}

#[tokio::test]
async fn a_device_with_a_user_stays_until_its_successor_has_that_user() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let old = json!({"user": "u7", "topics": ["news", "team:42"], "environment": "sandbox", "locale": "de",
                     "app_version": "1"});
    backend.put(PUT, apns("bb", old.clone())).await;
    let heir = claim(&app, "ee", "bb").await;
    assert_has(&heir.body, &json!({"bound": false, "topics": [], "environment": "sandbox"}));
    assert_has(&device(&backend, "bb").await, &old);
    assert_has(
        &device(&backend, "ee").await,
        &json!({"user": null, "topics": [], "locale": null, "app_version": null, "environment": "sandbox"}),
    );

    backend.put(PUT, apns("ee", json!({"user": "u8"}))).await;
    assert_active(&backend, "bb").await;
    backend.put(PUT, apns("ee", json!({"user": "u7"}))).await;
    assert_replaced(&backend, "bb").await;
    assert_has(&device(&backend, "ee").await, &json!({"status": "active", "user": "u7", "topics": []}));

    // The app itself brings it back, and nothing that was settled sets it aside again.
    app.put(PUT, apns("bb", json!({}))).await;
    backend.put(PUT, apns("ee", json!({"user": "u7"}))).await;
    assert_active(&backend, "bb").await;
}

#[tokio::test]
async fn every_way_to_bind_a_user_settles_a_claim() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    for (old, new) in [("a1", "b1"), ("a2", "b2"), ("a3", "b3")] {
        backend.put(PUT, apns(old, json!({"user": "u7"}))).await;
        claim(&app, new, old).await;
    }
    let id = device(&backend, "b1").await["id"].as_str().unwrap().to_owned();
    let bound = backend.json(Method::PATCH, &format!("/v1/devices/{id}"), json!({"user": "u7"})).await;
    assert_eq!(bound.status, 200, "{bound:?}");
    assert_replaced(&backend, "a1").await;
    let imported = backend.import("", format!("{}\n", apns("b2", json!({"user": "u7"})))).await;
    assert_has(&imported.body, &json!({"updated": 1, "failed": 0}));
    assert_replaced(&backend, "a2").await;
    // The new device takes over the user of another one.
    backend.put(PUT, apns("c3", json!({"user": "u7"}))).await;
    backend.put(PUT, apns("b3", json!({"replaces": "c3".repeat(32)}))).await;
    assert_replaced(&backend, "a3").await;
    // A successor that is bound before the app says which device it replaces.
    backend.put(PUT, apns("a4", json!({"user": "u7"}))).await;
    backend.put(PUT, apns("b4", json!({"user": "u7"}))).await;
    claim(&app, "b4", "a4").await;
    assert_replaced(&backend, "a4").await;
}

#[tokio::test]
async fn a_device_without_a_user_is_replaced_and_its_open_part_taken_over() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let old = json!({"topics": ["news", "team:42"], "environment": "sandbox", "locale": "de",
                     "timezone": "Europe/Berlin", "app_version": "1"});
    backend.put(PUT, apns("bb", old)).await;
    claim(&app, "ee", "bb").await;
    assert_replaced(&backend, "bb").await;
    let taken = json!({"user": null, "topics": ["news"], "environment": "sandbox", "locale": "de",
                       "timezone": "Europe/Berlin", "app_version": "1"});
    assert_has(&device(&backend, "ee").await, &taken);
    app.put(PUT, apns("ee", json!({"topics": []}))).await;
    claim(&app, "ee", "bb").await;
    assert_has(&device(&backend, "ee").await, &json!({"topics": []}));
}

#[tokio::test]
async fn a_claim_goes_on_to_the_next_token_and_ends_after_thirty_days() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    for (first, second, third, days) in [("a1", "b1", "c1", 29), ("a2", "b2", "c2", 31)] {
        backend.put(PUT, apns(first, json!({"user": "u7"}))).await;
        claim(&app, second, first).await;
        claim(&app, third, second).await;
        assert_replaced(&backend, second).await;
        let moved =
            "update devices set replaces_at = replaces_at - make_interval(days => $1) where token like $2";
        let query = sqlx::query(moved).bind(days).bind(format!("{third}%"));
        assert_eq!(query.execute(&service.database.pool).await.unwrap().rows_affected(), 1);
        backend.put(PUT, apns(third, json!({"user": "u7"}))).await;
    }
    assert_replaced(&backend, "a1").await;
    assert_active(&backend, "a2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_and_a_binding_at_once_end_as_one_after_the_other() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    for n in 0..20 {
        let (old, new) = (format!("a{n:03}"), format!("b{n:03}"));
        backend.put(PUT, apns(&old, json!({"user": "u7"}))).await;
        let bind = async {
            let bound = backend.put(PUT, apns(&new, json!({"user": "u7"}))).await;
            assert!(bound.status.is_success(), "{bound:?}");
        };
        tokio::join!(claim(&app, &new, &old), bind);
        assert_replaced(&backend, &old).await;
    }
}

#[tokio::test]
async fn a_claim_on_a_device_that_claims_another_one_is_settled_too() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    backend.put(PUT, apns("aa", json!({"user": "u1"}))).await;
    claim(&app, "bb", "aa").await;
    // Another user logs in on the phone, and its token changes again.
    backend.put(PUT, apns("bb", json!({"user": "u2"}))).await;
    claim(&app, "cc", "bb").await;
    let answer = backend.put(PUT, apns("cc", json!({"user": "u2"}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_replaced(&backend, "bb").await;
    assert_active(&backend, "aa").await;

    claim(&app, "dd", "cc").await;
    let lines = format!("{}\n{}\n", apns("dd", json!({"user": "u2"})), apns("ee", json!({})));
    let imported = backend.import("", lines).await;
    assert_has(&imported.body, &json!({"lines": 2, "created": 1, "updated": 1, "failed": 0}));
    assert_replaced(&backend, "cc").await;
}
