//! `POST /v1/notifications/batch`.

mod items;
mod keys;
mod kills;
mod limits;
mod outages;

use serde_json::{Value, json};

use pushpost_testkit::answer::Answer;
use pushpost_testkit::request::ApiRequest;
use pushpost_testkit::service::TestService;

const BATCH: &str = "/v1/notifications/batch";
const NOTIFICATIONS: &str = "select count(*) from notifications";
/// Transactions that stored notifications.
const COMMITS: &str = "select count(distinct xmin::text) from notifications";

/// A notification to one token.
fn to(token: &str) -> Value {
    json!({"to": {"tokens": [{"platform": "fcm", "token": token}]}, "title": token})
}

fn keyed(token: &str, key: &str) -> Value {
    let mut item = to(token);
    item["idempotency_key"] = json!(key);
    item
}

/// The items of the answer to a batch, which must be answered 200.
async fn items(service: &TestService, secret: &str, batch: &Value) -> Vec<Value> {
    items_of(&ApiRequest::post(BATCH, batch).key(secret).of(service).await)
}

#[track_caller]
fn items_of(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json");
    answer.body["items"].as_array().unwrap().clone()
}

/// The id of an item that is stored.
#[track_caller]
fn id(item: &Value) -> &str {
    item["notification"]["id"].as_str().unwrap_or_else(|| panic!("{item}"))
}

/// Asserts the status and code of an item's problem.
#[track_caller]
fn assert_refused(item: &Value, status: u16, code: &str) {
    let problem = &item["problem"];
    assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)), "{item}");
    assert_eq!(problem["type"], format!("/docs/errors#{code}"));
    assert_eq!(item.as_object().unwrap().len(), 1, "{item}");
}
