//! `send_at`: nothing is sent before, and what is sent goes to the devices that the audience has then.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::{assert_ended, assert_problem, fcm_targets, hex, of, text};
use pushpost_testkit::request::{ApiRequest, SEND};
use pushpost_testkit::service::{TestService, sent};
use serde_json::{Value, json};

/// A time so long after the database's present one.
async fn after(service: &TestService, span: TimeDelta) -> String {
    let now = DateTime::from_timestamp_millis(service.database.now_ms().await).unwrap();
    (now + span).to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn at(value: &Value) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().to_utc()
}

fn path(id: &str) -> String {
    format!("{SEND}/{id}")
}

fn phone(platform: &str, token: &str, user: &str) -> Value {
    json!({"platform": platform, "token": token, "user": user, "topics": ["news"]})
}

/// Makes what is scheduled due now.
async fn bring_forward(service: &TestService) {
    let set = "expires_at = now() + (expires_at - due_at), due_at = now() where due_at > now()";
    let sql = format!("with forwarded as (update fan_outs set {set}) update notifications set {set}");
    assert!(service.database.execute(&sql).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_is_sent_at_its_time_to_those_who_are_there_then() {
    let service = TestService::builder().node(Role::All).node(Role::All).build().await;
    service.devices().register(phone("fcm", "f1", "u1")).await;
    let leaving = service.devices().register(phone("fcm", "f2", "u2")).await;
    let send_at = after(&service, TimeDelta::milliseconds(2_500)).await;
    let body = json!({
        "to": {
            "users": ["u1", "u2", "u3", "u4"], "devices": [leaving, "dev_x"], "topics": ["news"],
            "tokens": [
                {"platform": "fcm", "token": "f5", "ref": "row 5"}, {"platform": "fcm", "token": "f6", "ref": "row 6"},
                {"platform": "fcm", "token": "", "ref": "row 7"}
            ],
        },
        "on_bad_token": "reject", "title": "Hi", "send_at": send_at, "ttl": "10m",
    });
    let answer = service.post(SEND, body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = text(&answer.body["id"]);
    assert_eq!(answer.body, json!({"id": id, "status": "scheduled", "targets": null, "unmatched": null}));
    let scheduled = service.get(&path(&id)).await.body;
    assert_eq!((&scheduled["status"], &scheduled["send_at"]), (&json!("scheduled"), &json!(send_at)));
    assert_eq!(at(&scheduled["expires_at"]), at(&scheduled["send_at"]) + TimeDelta::minutes(10));
    assert_eq!((&scheduled["started_at"], &scheduled["held"]), (&Value::Null, &json!([])));
    let listed = service.get(&format!("{SEND}?status=scheduled")).await.body;
    assert_eq!(listed["items"], json!([scheduled]));
    // Meanwhile one comes, one leaves, and a token's device is deleted.
    service.devices().register(phone("fcm", "f3", "u3")).await;
    assert_eq!(service.delete(&format!("/v1/devices/{leaving}")).await.status, 204);
    service.database.execute("delete from devices where token = 'f6'").await;

    let done = service.notifications().until_done(&id).await;
    let deliveries = service.notifications().deliveries(&id).await;
    for (reference, status, reason) in [
        ("row 5", "accepted", None),
        ("row 6", "rejected", Some("device_gone")),
        ("row 7", "rejected", Some("bad_token")),
    ] {
        assert_ended(of(&deliveries, "ref", reference), status, u32::from(reason.is_none()), reason);
    }
    for user in ["u1", "u3"] {
        assert_ended(of(&deliveries, "user", user), "accepted", 1, None);
    }
    assert_eq!(deliveries.len(), 5, "{deliveries:?}");
    assert_eq!(done["unmatched"]["users"], json!(["u2", "u4"]));
    assert_eq!(done["unmatched"]["devices"], json!([leaving, "dev_x"]));
    assert!(at(&done["started_at"]) >= at(&done["send_at"]), "{done}");
    assert_eq!(sent(&service.ledger()).len(), 3);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_to_live_that_a_provider_is_told_begins_at_the_time() {
    let service = TestService::start().await;
    let send = async |token: &str, ttl: &str| {
        let to = json!({"tokens": [{"platform": "apns", "token": token}]});
        let send_at = after(&service, TimeDelta::days(300)).await;
        let send_at = at(&json!(send_at)).to_rfc3339_opts(SecondsFormat::Secs, true);
        let body = json!({"to": to, "title": "Hi", "send_at": send_at, "ttl": ttl});
        let preview = service.post(&format!("{SEND}/preview"), body.clone()).await.body;
        let expiry = text(&preview["platforms"]["apns"]["headers"]["apns-expiration"]);
        (service.notifications().send(body).await, expiry, send_at)
    };
    let (lasting, expiry, send_at) = send(&hex("a1"), "1h").await;
    assert_eq!(expiry, (at(&json!(send_at)) + TimeDelta::hours(1)).timestamp().to_string());
    let (once, expiry, _) = send(&hex("a2"), "0s").await;
    assert_eq!(expiry, "0");
    bring_forward(&service).await;
    let lasting = service.notifications().until_done(&lasting).await;
    assert_ended(&service.notifications().outcome(&once).await, "accepted", 1, None);
    let told: i64 = service.received(&hex("a1"))[0].header("apns-expiration").unwrap().parse().unwrap();
    let expires_at = at(&lasting["expires_at"]).timestamp();
    assert!([expires_at, expires_at + 1].contains(&told), "rounded up: {told} {expires_at}");
    assert_eq!(service.received(&hex("a2"))[0].header("apns-expiration"), Some("0"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_cancelled_like_any_other_before_it_is_due() {
    let service = TestService::start().await;
    let send_at = after(&service, TimeDelta::days(100)).await;
    let body = |label: &str| json!({"to": {"tokens": fcm_targets(label, 2), "all": true}, "title": "Hi", "label": label, "send_at": send_at});
    let one = service.notifications().send(body("one")).await;
    let cancelled = service.delete(&path(&one)).await.body;
    assert_eq!((&cancelled["status"], &cancelled["counts"]["targets"]), (&json!("cancelled"), &json!(0)));
    assert!(cancelled["done_at"].is_string(), "{cancelled}");
    let others =
        [service.notifications().send(body("sale")).await, service.notifications().send(body("sale")).await];
    let stopped = service.post("/v1/notifications/cancel", json!({"label": "sale"})).await.body;
    assert_eq!(stopped, json!({"notifications": 2, "devices": 0}));
    let kept = service.notifications().send(body("kept")).await;
    bring_forward(&service).await;
    service.notifications().until_done(&kept).await;
    for id in others.iter().chain([&one]) {
        assert_eq!(service.get(&path(id)).await.body["status"], "cancelled");
    }
    assert_eq!(sent(&service.ledger()).len(), 2, "the devices of its own tokens");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_first_answer_and_each_item_of_a_batch_has_a_time_of_its_own() {
    let service = TestService::start().await;
    let key = service.key("send").await;
    let send_at = after(&service, TimeDelta::days(1)).await;
    let body = json!({"to": {"users": ["u1"]}, "title": "Hi", "send_at": send_at, "idempotency_key": "k"});
    let first = ApiRequest::post(SEND, &body).key(&key).of(&service).await;
    let second = ApiRequest::post(SEND, &body).key(&key).of(&service).await;
    assert_eq!((second.status.as_u16(), &second.body), (202, &first.body));
    service.devices().register(phone("fcm", "f1", "u1")).await;
    let now = json!({"to": {"users": ["u1"]}, "title": "Now", "send_at": after(&service, TimeDelta::minutes(-59)).await});
    let later = json!({"to": {"users": ["u1"]}, "title": "Later", "send_at": send_at});
    let bad = json!({"to": {"users": ["u1"]}, "title": "Never", "send_at": after(&service, TimeDelta::minutes(-61)).await});
    let answer = service.post("/v1/notifications/batch", json!([later, now, bad])).await;
    let items = answer.body["items"].as_array().unwrap().clone();
    assert_eq!(items[0]["notification"]["status"], "scheduled");
    assert_eq!(items[1]["notification"]["status"], "queued");
    assert_eq!(items[2]["problem"]["errors"][0]["code"], "bad_send_at");
    service.notifications().until_done(&text(&items[1]["notification"]["id"])).await;
    assert_eq!(sent(&service.ledger()).len(), 1);
    let refused = service
        .post(SEND, json!({"to": {"users": ["u1"]}, "title": "Hi", "send_at": after(&service, TimeDelta::days(367)).await}))
        .await;
    assert_problem(&refused, 422, "unprocessable", &json!([{"pointer": "#/send_at", "code": "bad_send_at"}]));
    let listed = ApiRequest::new(Method::GET, &format!("{SEND}?status=scheduled")).of(&service).await;
    assert_eq!(listed.status, 401);
    service.stop().await;
}
