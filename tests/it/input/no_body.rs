//! Calls that take no body: what their body may be all the same.

use http::Method;
use pushpost::api::openapi;
use serde_json::{Value, json};

use pushpost_testkit::json::assert_problem;
use pushpost_testkit::request::{ApiRequest, service_without_workers};

/// Method and path of each operation of the document that takes no body. The body of a GET means nothing in HTTP.
fn operations() -> Vec<(Method, String)> {
    let document: Value = serde_json::from_str(&openapi::json()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method != "get" && operation["requestBody"].is_null() {
                let path = path.replace("{lane}", "fcm").replace("{topic}", "news").replace("{user}", "u1");
                found.push((method.to_uppercase().parse().unwrap(), path.replace("{id}", "unknown")));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_body_refuses_members_and_whatever_is_no_object() {
    let service = service_without_workers(&[]).await;
    let s = service.key("admin").await;
    let operations = operations();
    assert!(operations.len() > 9, "{operations:?}");
    for (method, path) in &operations {
        let plain = ApiRequest::new(method.clone(), path).key(&s).of(&service).await;
        assert!(matches!(plain.status.as_u16(), 200 | 404), "{method} {path}: {plain:?}");
        for harmless in ["", "{}", " {\n} "] {
            let answer = ApiRequest::json(method.clone(), path, harmless).key(&s).of(&service).await;
            assert_eq!(answer.status, plain.status, "{method} {path} with {harmless:?}: {answer:?}");
        }
        for (body, fault) in [
            (r#"{"label":"x"}"#, json!({"pointer": "#/label", "code": "unknown_field"})),
            (r#"{"a":1,"a":2}"#, json!({"pointer": "#/a", "code": "duplicate_field"})),
            ("[]", json!({"pointer": "#", "code": "wrong_type"})),
            ("null", json!({"pointer": "#", "code": "wrong_type"})),
            ("{", json!({"pointer": "#", "code": "malformed_json"})),
        ] {
            let answer = ApiRequest::json(method.clone(), path, body).key(&s).of(&service).await;
            assert_eq!(answer.body["errors"][0]["pointer"], fault["pointer"], "{method} {path}: {answer:?}");
            assert_eq!(answer.body["errors"][0]["code"], fault["code"], "{method} {path}: {answer:?}");
            assert_eq!((answer.status.as_u16(), &answer.body["code"]), (400, &json!("invalid_request")));
        }
        let text = ApiRequest::json(method.clone(), path, "x").without("content-type").key(&s);
        assert_problem(&text.of(&service).await, 415, "unsupported_media_type", &json!([]));
        let large = " ".repeat(300_000);
        let large = ApiRequest::json(method.clone(), path, large).key(&s).of(&service).await;
        assert_problem(&large, 413, "body_too_large", &json!([]));
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_parameters_come_before_those_of_a_body_that_there_should_not_be() {
    let service = service_without_workers(&[]).await;
    let s = service.key("admin").await;
    let path = "/v1/devices/dev_x/restore?force=true";
    let answer = ApiRequest::json(Method::POST, path, r#"{"force":true}"#).key(&s).of(&service).await;
    let faults = json!([
        {"parameter": "force", "code": "unknown_parameter"}, {"pointer": "#/force", "code": "unknown_field"}
    ]);
    assert_problem(&answer, 400, "invalid_request", &faults);
    service.stop_undecided().await;
}
