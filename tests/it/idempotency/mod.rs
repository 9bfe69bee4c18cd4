//! Idempotency keys of `POST /v1/notifications` (docs/queue.md#idempotency-keys).

mod commits;
mod days;
mod former_keys;
mod keys;
mod replays;
mod twins;

use serde_json::{Value, json};

use pushpost_testkit::answer::Answer;
use pushpost_testkit::request::{ApiRequest, SEND};
use pushpost_testkit::service::TestService;

const HEADER: &str = "idempotency-key";
const NOTIFICATIONS: &str = "select count(*) from notifications";
const KEYS: &str = "select count(*) from idempotency_keys";

/// A request to one device.
fn body(token: &str) -> Value {
    json!({"to": {"tokens": [{"platform": "fcm", "token": token}], "users": ["u1"]}, "title": "A"})
}

fn post(secret: &str, key: &str, body: &Value) -> ApiRequest {
    ApiRequest::post(SEND, body).key(secret).header(HEADER, key)
}

fn is_replay(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

/// Asserts that an answer repeats an earlier one, byte for byte.
#[track_caller]
fn assert_replays(answer: &Answer, first: &Answer) {
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(is_replay(answer), "{answer:?}");
    assert_eq!(answer.bytes, first.bytes);
    for header in ["location", "content-type", "content-length"] {
        assert_eq!(answer.headers[header], first.headers[header], "{header}");
    }
}

/// Sends a notification with a key, which must be new.
async fn send_first(service: &TestService, secret: &str, key: &str, body: &Value) -> Answer {
    let answer = post(secret, key, body).of(service).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(!is_replay(&answer), "{answer:?}");
    answer
}
