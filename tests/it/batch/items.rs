//! Each item is a request of its own: its place, its answer, its problem.

use std::collections::BTreeMap;

use http::Method;
use pushpost::runtime::Role;
use serde_json::{Value, json};

use pushpost_testkit::json::{assert_has, fcm_targets, hex};
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers};
use pushpost_testkit::service::{TestService, sent};

use super::{BATCH, COMMITS, NOTIFICATIONS, assert_refused, id, items, items_of, to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_items_are_answered_in_order_stored_in_one_commit_and_sent() {
    let service = TestService::start().await;
    let s = service.key("send").await;
    let tokens: Vec<String> = (0..1_000).map(|number| format!("f{number}")).collect();
    let found = items(&service, &s, &tokens.iter().map(|token| to(token)).collect()).await;
    assert_eq!(found.len(), 1_000);
    assert_eq!(service.database.count(COMMITS).await, 1);
    assert_eq!(service.database.count("select count(distinct xmin::text) from devices").await, 1);
    service.database.until_count("select count(*) from jobs", 0).await;
    let entries = sent(&service.ledger());
    let sent_to: BTreeMap<_, _> =
        entries.iter().map(|entry| (entry.notification().unwrap(), entry.token.as_ref().unwrap())).collect();
    assert_eq!(entries.len(), 1_000);
    for (token, item) in tokens.iter().zip(&found) {
        let expected = json!({"notification": {"id": "<n>", "status": "queued", "targets": 1, "unmatched":
            {"users": [], "users_total": 0, "devices": [], "devices_total": 0}}});
        assert_has(item, &expected);
        assert_eq!(item.as_object().unwrap().len(), 1, "{item}");
        assert_eq!(sent_to[id(item)], token);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_item_spoils_no_other() {
    let service = service_without_workers(&[("LIMITS__TARGETS", "10")]).await;
    let s = service.key("send,devices").await;
    let user = json!({"platform": "apns", "token": hex("aa"), "user": "u1"});
    assert_eq!(ApiRequest::put(DEVICES, &user).key(&s).of(&service).await.status, 201);
    let many = json!({"to": {"tokens": fcm_targets("m", 11)}, "title": "A"});
    let batch = json!([
        to("f1"),
        {"to": {"users": "u7"}, "titel": "A", "badge": "1"},
        null,
        "x",
        {"to": {"users": ["u1", "u2"]}, "title": "A"},
        {"to": {"tokens": [{"platform": "fcm", "token": "?? "}]}, "title": "A", "ttl": "29d"},
        many,
        {"to": {"all": true}, "title": "A"},
        {"to": {"users": ["u2"]}, "title": "A"},
        to("f1"),
    ]);
    let ask = ApiRequest::post(BATCH, &batch).key(&s).header("request-id", "asked");
    let found = items_of(&ask.of(&service).await);
    assert_eq!(found.len(), 10);
    for (place, status, targets) in [
        (0, "queued", json!(1)),
        (4, "queued", json!(1)),
        (7, "queued", json!(null)),
        (8, "done", json!(0)),
        (9, "queued", json!(1)),
    ] {
        let notification = &found[place]["notification"];
        assert_eq!(
            (&notification["status"], &notification["targets"]),
            (&json!(status), &targets),
            "{place}"
        );
        let path = format!("{SEND}/{}", id(&found[place]));
        assert_eq!(ApiRequest::get(&path).key(&s).of(&service).await.status, 200);
    }
    assert_eq!(found[4]["notification"]["unmatched"]["users"], json!(["u2"]));
    assert_refused(&found[6], 413, "too_many_targets");
    assert_eq!(found[6]["problem"]["limit"], 10);
    assert_refused(&found[5], 422, "unprocessable");
    // As the request alone, with pointers that begin at the item.
    for place in [1, 2, 3, 5, 6] {
        let alone = ApiRequest::post(SEND, &batch[place]).key(&s).header("request-id", "asked");
        let alone = alone.of(&service).await;
        assert_eq!(found[place], json!({"problem": alone.body}), "{place}");
        assert_eq!(found[place]["problem"]["status"], alone.status.as_u16());
    }
    assert_eq!(service.database.count(NOTIFICATIONS).await, 5);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_without_any_that_is_valid_are_answered_200() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let found = items(&service, &s, &json!([{}, []])).await;
    found.iter().for_each(|item| assert_refused(item, 400, "invalid_request"));
    assert_eq!(service.database.count(NOTIFICATIONS).await, 0);
    service.stop_undecided().await;
}

/// Half of a surrogate pair, a repeated member and too many levels are found by the reader of the item.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_in_the_text_of_an_item_stay_with_it() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let twice = r#"{"to":{"users":["u"]},"title":"A","title":"B"}"#;
    let good = to("f1").to_string();
    let batch = format!("[{good},{{\"title\":\"\\ud800\"}},{twice},{deep},{good}]");
    let found = items_of(&ApiRequest::json(Method::POST, BATCH, batch).key(&s).of(&service).await);
    for (place, code) in [(1, "malformed_json"), (2, "duplicate_field"), (3, "malformed_json")] {
        assert_refused(&found[place], 400, "invalid_request");
        assert_eq!(found[place]["problem"]["errors"][0]["code"], code, "{}", found[place]);
    }
    assert_eq!(found[2]["problem"]["errors"][0]["pointer"], "#/title");
    assert_ne!(id(&found[0]), id(&found[4]));
    service.stop_undecided().await;
}

/// Items share the look-up, and each keeps to its own app, users and kinds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_find_the_devices_that_they_name() {
    let service = TestService::builder().app("other").node(Role::Api).build().await;
    let s = service.key("send,devices").await;
    let x = service.key_of("other", "devices").await;
    let put = async |key: &str, token: String, user: &str| {
        let body = json!({"platform": "apns", "token": token, "user": user});
        let answer = ApiRequest::put(DEVICES, &body).key(key).of(&service).await;
        answer.body["id"].as_str().unwrap().to_owned()
    };
    let (a, b) = (put(&s, hex("aa"), "u1").await, put(&s, hex("bb"), "u2").await);
    let theirs = put(&x, hex("cc"), "u3").await;
    let batch = json!([
        {"to": {"devices": [a, b]}, "title": "A"},
        {"to": {"devices": [theirs]}, "title": "A"},
        {"to": {"users": ["u1", "u3"]}, "title": "A"},
        {"to": {"users": ["u1"], "tokens": [{"platform": "apns", "token": hex("aa"), "ref": "r"}]}, "title": "A"},
        {"to": {"tokens": [{"platform": "apns", "token": hex("cc")}]}, "title": "A"},
        {"to": {"tokens": [{"platform": "apns", "token": hex("cc")}], "except": {"users": ["u3"]}}, "title": "A"},
        {"to": {"users": ["u2"], "platforms": ["fcm"]}, "title": "A"},
    ]);
    let found = items(&service, &s, &batch).await;
    let targets: Vec<&Value> = found.iter().map(|item| &item["notification"]["targets"]).collect();
    assert_eq!(targets, [2, 0, 1, 1, 1, 1, 0]);
    assert_eq!(found[1]["notification"]["unmatched"]["devices"], json!([theirs]));
    assert_eq!(found[2]["notification"]["unmatched"]["users"], json!(["u3"]));
    let deliveries = ApiRequest::get(&format!("{SEND}/{}/deliveries", id(&found[3]))).key(&s);
    let deliveries = deliveries.of(&service).await.body;
    assert_eq!((&deliveries["items"][0]["device"], &deliveries["items"][0]["ref"]), (&json!(a), &json!("r")));
    service.stop_undecided().await;
}
