//! The life of a phone with a publishable key and user tokens: whole exchanges, with the providers at the other end.

use http::Method;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, Rule};
use pushpost_testkit::answer::Answer;
use pushpost_testkit::installation::CONFIG;
use pushpost_testkit::json::{assert_has, assert_problem, hex, text};
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND};
use pushpost_testkit::service::{TestService, sent};
use pushpost_testkit::user_tokens::{HEADER, UserTokenSigner};
use serde_json::{Value, json};

/// A service that knows the key of this signer.
async fn service() -> (TestService, UserTokenSigner) {
    let mut service = TestService::builder().build().await;
    let signer = UserTokenSigner::new(&service.database).await;
    service.write(CONFIG, &(service.read(CONFIG) + &signer.settings()));
    service.node(Role::All).await;
    (service, signer)
}

fn apns(two: &str, more: Value) -> Value {
    let mut body = json!({"platform": "apns", "token": hex(two)});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn put(service: &TestService, key: &str, token: Option<&str>, body: &Value) -> Answer {
    let request = ApiRequest::put(DEVICES, body).key(key);
    let request = match token {
        Some(token) => request.header(HEADER, token),
        None => request,
    };
    request.of(service).await
}

#[track_caller]
fn assert_hides(answer: &Answer, members: &[&str]) {
    for member in members {
        assert!(answer.body.get(member).is_none(), "{member} in {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_install_log_in_log_out_with_a_message_still_queued() {
    let (service, signer) = service().await;
    let (p, s, r) =
        (service.key("register").await, service.key("send,read,devices").await, service.key("read").await);
    let body = json!({"platform": "apns", "token": hex("AA"), "environment": "sandbox", "locale": "de_DE",
                      "app_version": "5.2.0", "topics": ["news"]});
    let installed = put(&service, &p, None, &body).await;
    assert_eq!(installed.status, 201, "{installed:?}");
    let dev = text(&installed.body["id"]);
    let seen = json!({"id": dev, "platform": "apns", "kind": "alert", "environment": "sandbox", "status": "active",
                      "bound": false, "topics": ["news"]});
    assert_has(&installed.body, &seen);
    assert_hides(&installed, &["token", "user", "registered_at"]);

    let bound = put(&service, &p, Some(&signer.token("u42")), &apns("aa", json!({}))).await;
    assert_eq!(bound.status, 200, "{bound:?}");
    let mut seen_bound = seen.clone();
    seen_bound["bound"] = json!(true);
    assert_has(&bound.body, &seen_bound);
    assert_hides(&bound, &["token", "user", "registered_at"]);

    let of_user = format!("{DEVICES}?user=u42");
    let listed = ApiRequest::get(&of_user).key(&s).of(&service).await;
    assert_has(
        &listed.body,
        &json!({"items": [{"id": dev, "token": hex("aa"), "user": "u42", "locale": "de-DE", "app_version": "5.2.0",
                "topics": ["news"], "source": "registered", "status": "active", "quarantine": null,
                "created_at": "<time>", "registered_at": "<time>"}], "next_cursor": null}),
    );
    let hinted = ApiRequest::get(&of_user).key(&r).of(&service).await;
    let hint = json!({"items": [{"id": dev, "token_hint": "aaaaaa", "user": "u42"}], "next_cursor": null});
    assert_has(&hinted.body, &hint);
    assert!(hinted.body["items"][0].get("token").is_none(), "{hinted:?}");

    let lane =
        json!({"lane": "apns-sandbox", "platform": "apns", "environment": "sandbox", "state": "paused"});
    let paused = service.by_admin(Method::POST, "/v1/admin/lanes/apns-sandbox/pause").await;
    assert_eq!(paused.status, 200);
    assert_has(&paused.body, &lane);
    let code = json!({"to": {"users": ["u42"]}, "title": "Your code", "body": "123456", "ttl": "5m",
                      "priority": "high"});
    let queued = ApiRequest::post(SEND, &code).key(&s).of(&service).await;
    assert_eq!(queued.status, 202, "{queued:?}");
    let unmatched = json!({"users": [], "users_total": 0, "devices": [], "devices_total": 0});
    assert_has(&queued.body, &json!({"status": "queued", "targets": 1, "unmatched": unmatched}));
    let n = text(&queued.body["id"]);
    let out = put(&service, &p, None, &apns("aa", json!({"user": null}))).await;
    assert_eq!(out.status, 200, "{out:?}");
    assert_has(&out.body, &json!({"id": dev, "bound": false, "topics": ["news"], "status": "active"}));
    let resumed = service.by_admin(Method::POST, "/v1/admin/lanes/apns-sandbox/resume").await;
    assert_eq!(resumed.status, 200);

    let done = service.notifications().until_done(&n).await;
    let deliveries = ApiRequest::get(&format!("{SEND}/{n}/deliveries")).key(&s).of(&service).await;
    assert_has(
        &deliveries.body,
        &json!({"items": [{"device": dev, "user": "u42", "ref": null, "platform": "apns", "environment": "sandbox",
                "status": "cancelled", "attempts": 0, "reason": "user_changed", "provider_id": null, "at": "<time>",
                "next_attempt_at": null}], "next_cursor": null}),
    );
    let counts = json!({"targets": 1, "pending": 0, "accepted": 0, "unknown": 0, "rejected": 0, "token_dead": 0,
                        "expired": 0, "cancelled": 1});
    assert_has(&done, &json!({"status": "done", "counts": counts}));
    assert_eq!(sent(&service.ledger()).len(), 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_a_dead_token_comes_back_by_its_app_and_not_by_a_nightly_sync() {
    let (service, _) = service().await;
    let (p, s) = (service.key("register").await, service.key("send,read,devices").await);
    let an_hour_ago = Action::Dead { timestamp_ms: None, timestamp_ago_ms: Some(3_600_000) };
    service.simulator.add_rule(Rule::token(hex("cc"), an_hour_ago));
    let send = async |body: Value| {
        let answer = ApiRequest::post(SEND, &body).key(&s).of(&service).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.body
    };
    let deliveries = async |id: &str| {
        service.notifications().until_done(id).await;
        ApiRequest::get(&format!("{SEND}/{id}/deliveries")).key(&s).of(&service).await.body
    };
    let row = |two: &str, name: &str| json!({"platform": "apns", "token": hex(two), "ref": name});
    let rows = [row("bc", "row-1"), row("cc", "row-2")];
    let first = send(json!({"to": {"tokens": rows}, "title": "Hi"})).await;
    let unmatched = json!({"users": [], "users_total": 0, "devices": [], "devices_total": 0});
    assert_has(&first, &json!({"status": "queued", "targets": 2, "unmatched": unmatched}));
    let mut found = deliveries(&text(&first["id"])).await;
    found["items"].as_array_mut().unwrap().sort_by_key(|delivery| text(&delivery["ref"]));
    assert_has(
        &found,
        &json!({"items": [
            {"device": "<d1>", "user": null, "ref": "row-1", "status": "accepted", "attempts": 1, "reason": null},
            {"device": "<d2>", "user": null, "ref": "row-2", "status": "token_dead", "attempts": 1,
             "reason": "Unregistered"}], "next_cursor": null}),
    );
    let d2 = text(&found["items"][1]["device"]);
    let path = format!("{DEVICES}/{d2}");
    let dead = json!({"id": d2, "source": "send", "registered_at": null, "status": "quarantined",
                      "quarantine": {"reason": "Unregistered", "at": "<time>"}});
    assert_has(&ApiRequest::get(&path).key(&s).of(&service).await.body, &dead);

    let everyone = send(json!({"to": {"all": true}, "title": "To everyone"})).await;
    assert_eq!(deliveries(&text(&everyone["id"])).await["items"], json!([]));
    let again = send(json!({"to": {"tokens": [row("cc", "row-2")]}, "title": "Hi again"})).await;
    assert_has(
        &deliveries(&text(&again["id"])).await,
        &json!({"items": [{"device": d2, "ref": "row-2", "status": "token_dead", "attempts": 0, "reason": "quarantined",
                "provider_id": null}]}),
    );

    let old = apns("cc", json!({"user": "u9", "registered_at": "2026-01-01T00:00:00Z"}));
    let synced = put(&service, &s, None, &old).await;
    assert_eq!(synced.status, 200, "{synced:?}");
    assert_has(&synced.body, &json!({"id": d2, "user": "u9", "status": "quarantined"}));
    let back = put(&service, &p, None, &apns("cc", json!({}))).await;
    assert_eq!(back.status, 200, "{back:?}");
    assert_has(&back.body, &json!({"id": d2, "status": "active", "bound": true}));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_user_tokens_are_replaced_by_a_reload() {
    let (service, old) = service().await;
    let p = service.key("register").await;
    let new = UserTokenSigner::new(&service.database).await;
    let status = async |signer: &UserTokenSigner| {
        put(&service, &p, Some(&signer.token("u42")), &apns("aa", json!({}))).await.status.as_u16()
    };
    assert_eq!((status(&old).await, status(&new).await), (201, 401));
    let with_old = service.read(CONFIG);
    service.write(CONFIG, &(with_old.clone() + &new.settings()));
    service.reload().await.unwrap();
    assert_eq!((status(&old).await, status(&new).await), (200, 200), "both during a rotation");
    let without = with_old.replace(&old.settings(), "");
    assert_ne!(without, with_old);
    service.write(CONFIG, &(without.clone() + &new.settings()));
    service.reload().await.unwrap();
    assert_eq!((status(&old).await, status(&new).await), (401, 200));

    let broken = without.clone() + &new.settings().replace("BEGIN PUBLIC KEY", "BEGIN OTHER KEY");
    service.write(CONFIG, &broken);
    let refused = service.reload().await.unwrap_err();
    assert!(refused.contains("apps.shop.user_tokens.keys"), "{refused}");
    assert_eq!((status(&old).await, status(&new).await), (401, 200), "a broken file changes nothing");
    service.write(CONFIG, &without);
    service.reload().await.unwrap();
    let without_keys = put(&service, &p, Some(&new.token("u42")), &apns("aa", json!({}))).await;
    assert_problem(&without_keys, 403, "user_tokens_not_configured", &json!([]));
    service.expect_log("the configuration was not taken over");
    service.stop().await;
}
