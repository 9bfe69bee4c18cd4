//! `POST /v1/devices/import`.

mod check;
mod ends;
mod form;
mod races;
mod rules;

use serde_json::{Value, json};

use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::ApiClient;

/// Lines of NDJSON, each with its end.
fn ndjson(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A device with nothing but a token.
fn fcm(token: &str) -> Value {
    json!({"platform": "fcm", "token": token})
}

/// A device with more members.
fn fcm_with(token: &str, members: Value) -> Value {
    let mut line = fcm(token);
    line.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    line
}

/// An answer without errors, with these counts of lines that were new and known.
#[track_caller]
fn assert_imported(answer: &Answer, created: u64, updated: u64) {
    let expected = json!({"lines": created + updated, "created": created, "updated": updated, "failed": 0,
                          "errors": [], "stopped_at": null});
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &expected));
}

/// Places and codes of faults.
type Faults = Vec<(String, String)>;

/// The line, status and code of each error, and its faults.
fn errors(answer: &Answer) -> Vec<(u64, u64, String, Faults)> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let errors = answer.body["errors"].as_array().unwrap().iter().map(|error| {
        let problem = &error["problem"];
        assert_eq!(problem["request_id"], answer.headers["request-id"].to_str().unwrap());
        let faults = problem["errors"].as_array().into_iter().flatten();
        let faults = faults.map(|fault| (text(&fault["pointer"]), text(&fault["code"])));
        let (line, status) = (error["line"].as_u64().unwrap(), problem["status"].as_u64().unwrap());
        (line, status, text(&problem["code"]), faults.collect())
    });
    errors.collect()
}

/// What the API says of the devices with these FCM tokens; null where there is none.
async fn lookup(client: &ApiClient<'_>, tokens: &[&str]) -> Vec<Value> {
    let tokens: Vec<_> = tokens.iter().map(|token| fcm(token)).collect();
    let answer = client.post("/v1/devices/lookup", json!({"tokens": tokens})).await;
    answer.body["items"].as_array().unwrap().clone()
}

/// The device with this FCM token.
async fn device(client: &ApiClient<'_>, token: &str) -> Value {
    lookup(client, &[token]).await.remove(0)
}
