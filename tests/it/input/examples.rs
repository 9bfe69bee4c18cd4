//! Whole exchanges with the API: each request with its whole answer.

use http::Method;
use pushpost_testkit::json::assert_problem;
use serde_json::json;

use pushpost_testkit::request::{ApiRequest, SEND, service_without_workers, stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_bad_input_all_faults_at_once() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send,read,devices").await;
    let to = json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "A"});
    let sent = ApiRequest::post(SEND, &to).key(&s).of(&service).await;
    let n = sent.body["id"].as_str().unwrap();
    let before = stored(&service).await;

    let form = r#"{"to":{"users":"u7"},"titel":"A","badge":"1"}"#;
    let answer = ApiRequest::json(Method::POST, SEND, form).key(&s).of(&service).await;
    let expected = json!([
        {"pointer": "#/to/users", "code": "wrong_type"},
        {"pointer": "#/titel", "code": "unknown_field", "suggestion": "title"},
        {"pointer": "#/badge", "code": "wrong_type"}]);
    assert_problem(&answer, 400, "invalid_request", &expected);

    let meaning = r#"{"to":{"tokens":[{"platform":"hms","token":"x"},{"platform":"apns","token":"abc"}],"condition":"news && (sport"},"silent":true,"title":"A",
   "ttl":"29d","data":{"google.x":"1"},"fcm":{"topic":"all"},"apns":{"headers":{"apns-expiration":"0"}}}"#;
    let answer = ApiRequest::json(Method::POST, SEND, meaning).key(&s).of(&service).await;
    let expected = json!([
        {"pointer": "#/to/tokens/0/platform", "code": "unsupported_platform", "supported": ["apns", "fcm"]},
        {"pointer": "#/to/tokens/1/token", "code": "bad_token"},
        {"pointer": "#/to/condition", "code": "bad_condition", "offset": 14},
        {"pointer": "#/silent", "code": "silent_with_content"},
        {"pointer": "#/ttl", "code": "bad_ttl"},
        {"pointer": "#/data/google.x", "code": "reserved_key"},
        {"pointer": "#/fcm/topic", "code": "not_overridable"},
        {"pointer": "#/apns/headers/apns-expiration", "code": "not_overridable"}]);
    assert_problem(&answer, 422, "unprocessable", &expected);

    let misspelt =
        ApiRequest::get(&format!("{SEND}/{n}/deliveries?statsu=accepted")).key(&s).of(&service).await;
    let expected = json!([{"parameter": "statsu", "code": "unknown_parameter", "suggestion": "status"}]);
    assert_problem(&misspelt, 400, "invalid_request", &expected);

    let deleted = ApiRequest::new(Method::DELETE, SEND).key(&s).of(&service).await;
    assert_problem(&deleted, 405, "method_not_allowed", &json!([]));
    let allowed = deleted.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST") && !allowed.contains("DELETE"), "{allowed}");

    let nobody = ApiRequest::json(Method::POST, SEND, form).of(&service).await;
    assert_problem(&nobody, 401, "unauthenticated", &json!([]));
    assert_eq!(nobody.headers["www-authenticate"], "Bearer");
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}
