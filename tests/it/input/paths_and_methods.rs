//! Faults that are found before a body is read: path, method, media types; and request ids.

use http::Method;
use pushpost_testkit::json::assert_problem;
use serde_json::json;

use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers, stored};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_paths_and_ids_are_not_found() {
    let service = service_without_workers(&[]).await;
    let s = service.key("admin").await;
    for path in [
        "/",
        "/v1",
        "/v2/notifications",
        "/v1/notifications/",
        "/v1/Notifications",
        "/v1/notifications/ntf_x",
        "/v1/notifications/x",
        "/v1/notifications/%zz",
        "/v1/notifications/%ff",
        "/v1/notifications/%00",
        "/v1/notifications/ntf_00000000000000000000000000000000",
        "/v1/notifications/ntf_x/deliveries",
        "/v1/devices/dev_x",
        "/v1/devices/%ff%fe",
        "/v1/devices/..%2f..%2fetc",
        "/v1/devices/dev_x/nothing",
        "/v1/topics/",
        "/v1/users",
        "/v1/users/u1",
        "/v1/users/%ff",
    ] {
        assert_problem(&ApiRequest::get(path).key(&s).of(&service).await, 404, "not_found", &json!([]));
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_a_path_does_not_take_names_those_that_it_does() {
    let service = service_without_workers(&[]).await;
    let s = service.key("admin").await;
    for (method, path, allow) in [
        (Method::DELETE, SEND, "GET,HEAD,POST"),
        (Method::OPTIONS, SEND, "GET,HEAD,POST"),
        (Method::PUT, "/v1/notifications/ntf_x", "DELETE,GET,HEAD"),
        (Method::GET, "/v1/notifications/cancel", "POST"),
        (Method::POST, "/v1/notifications/ntf_x/deliveries", "GET,HEAD"),
        (Method::POST, DEVICES, "GET,HEAD,PUT"),
        (Method::POST, "/v1/devices/dev_x", "DELETE,GET,HEAD,PATCH"),
        (Method::GET, "/v1/devices/dev_x/restore", "POST"),
        (Method::TRACE, "/v1/devices/unregister", "POST"),
        (Method::POST, "/v1/topics", "GET,HEAD"),
        (Method::GET, "/v1/topics/news", "DELETE"),
        (Method::DELETE, "/v1/topics/news/subscribe", "POST"),
        (Method::PUT, "/v1/users/u1", "DELETE,GET,HEAD"),
        (Method::POST, "/healthz", "GET,HEAD"),
    ] {
        let answer = ApiRequest::new(method.clone(), path).key(&s).of(&service).await;
        assert_problem(&answer, 405, "method_not_allowed", &json!([]));
        let mut allowed: Vec<_> = answer.headers["allow"].to_str().unwrap().split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
    }
    let odd = Method::from_bytes(b"PURGE").unwrap();
    assert_problem(
        &ApiRequest::new(odd, DEVICES).key(&s).of(&service).await,
        405,
        "method_not_allowed",
        &json!([]),
    );
    for (path, status) in [("/healthz", 200), (DEVICES, 200), ("/v1/devices/dev_x", 404)] {
        let answer = ApiRequest::new(Method::HEAD, path).key(&s).of(&service).await;
        assert_eq!((answer.status.as_u16(), answer.body), (status, json!(null)), "HEAD {path}");
        assert!(answer.headers.contains_key("request-id"));
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_json_is_read_and_json_is_answered_whatever_is_accepted() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send,devices,read").await;
    let before = stored(&service).await;
    let body = json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "A"});
    let ask = || ApiRequest::post(SEND, &body).key(&s).without("content-type");
    for wrong in [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "multipart/form-data; boundary=x",
        "json",
    ] {
        let answer = ask().header("content-type", wrong).of(&service).await;
        assert_eq!(answer.status, 415, "{wrong}");
        assert_problem(&answer, 415, "unsupported_media_type", &json!([]));
    }
    assert_problem(&ask().of(&service).await, 415, "unsupported_media_type", &json!([]));
    let compressed =
        ApiRequest::post(SEND, &body).key(&s).header("content-encoding", "gzip").of(&service).await;
    assert_problem(&compressed, 415, "unsupported_media_type", &json!([]));
    assert_eq!(stored(&service).await, before);
    for right in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/vnd.shop+json",
    ] {
        assert_eq!(ask().header("content-type", right).of(&service).await.status, 202, "{right}");
    }
    for accept in ["text/html", "application/xml", "image/*;q=0.1", ";;", "*/*"] {
        let answer = ApiRequest::get(DEVICES).key(&s).header("accept", accept).of(&service).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        let refused = ApiRequest::get("/v1/nothing").key(&s).header("accept", accept).of(&service).await;
        assert_problem(&refused, 404, "not_found", &json!([]));
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_a_request_id() {
    let service = service_without_workers(&[]).await;
    let longest = "x".repeat(64);
    for (given, kept) in
        [("abc-1", true), (&longest, true), (&"x".repeat(65), false), ("a b", false), ("", false)]
    {
        for path in ["/healthz", "/v1/nothing", DEVICES] {
            let answer = ApiRequest::get(path).header("request-id", given).of(&service).await;
            let id = answer.headers["request-id"].to_str().unwrap();
            assert_eq!(id == given, kept, "{path} {given}");
            assert!((1..=64).contains(&id.len()));
            if answer.status.as_u16() >= 400 {
                assert_eq!(answer.body["request_id"], id);
            }
        }
    }
    service.stop_undecided().await;
}
