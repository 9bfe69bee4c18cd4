//! 422: well-formed requests that can't be sent or stored.

use http::Method;
use pushpost_testkit::json::{assert_problem, hex};
use serde_json::{Value, json};

use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers, stored};

/// What is added to a request that is fine, and the faults that come of it.
fn meaningless() -> Vec<(Value, Value)> {
    let user = |name: &str| json!({"to": {"users": [name]}});
    let token =
        |platform: &str, token: &str| json!({"to": {"tokens": [{"platform": platform, "token": token}]}});
    let at = |pointer: &str, code: &str| json!([{"pointer": pointer, "code": code}]);
    vec![
        (json!({"ttl": "29d"}), at("#/ttl", "bad_ttl")),
        (json!({"ttl": -1}), at("#/ttl", "bad_ttl")),
        (
            json!({"data": {"aps": 1, "from": 2, "gcm.x": 3, "fine": 4}}),
            json!([{"pointer": "#/data/aps", "code": "reserved_key"}, {"pointer": "#/data/from", "code": "reserved_key"},
                {"pointer": "#/data/gcm.x", "code": "reserved_key"}]),
        ),
        (json!({"url": "a:b", "data": {"url": "c"}}), at("#/data/url", "reserved_key")),
        (json!({"title": null}), at("#", "nothing_to_send")),
        (json!({"silent": true}), at("#/silent", "silent_with_content")),
        (
            json!({"title": null, "silent": true, "apns": {"payload": {"aps": {"alert": "A"}}}}),
            at("#/silent", "silent_with_content"),
        ),
        (
            json!({"collapse_key": "a\r\napns-topic: x"}),
            json!([{"pointer": "#/collapse_key", "code": "bad_header", "limit": 64, "size": 16}]),
        ),
        (
            json!({"apns": {"headers": {"apns-priority": "7", "apns-collapse-id": "a\nb", "apns-push-type": "mdm"}}}),
            json!([{"pointer": "#/apns/headers/apns-priority", "code": "bad_header"},
                {"pointer": "#/apns/headers/apns-collapse-id", "code": "bad_header"},
                {"pointer": "#/apns/headers/apns-push-type", "code": "bad_header"}]),
        ),
        (
            json!({"apns": {"headers": {"apns-expiration": "0", "apns-topic": "com.example.other", "authorization": "x"}}}),
            json!([{"pointer": "#/apns/headers/apns-expiration", "code": "not_overridable"},
                {"pointer": "#/apns/headers/apns-topic", "code": "not_overridable"},
                {"pointer": "#/apns/headers/authorization", "code": "not_overridable"}]),
        ),
        (
            json!({"fcm": {"token": "t", "android": {"ttl": "0s", "colour": "red"}}}),
            json!([{"pointer": "#/fcm/token", "code": "not_overridable"},
                {"pointer": "#/fcm/android/ttl", "code": "not_overridable"},
                {"pointer": "#/fcm/android/colour", "code": "unknown_fcm_field"}]),
        ),
        (user(""), at("#/to/users/0", "bad_user")),
        (user(&"x".repeat(129)), json!([{"pointer": "#/to/users/0", "code": "bad_user", "limit": 128}])),
        (
            json!({"metadata": {"m": "x".repeat(2048)}}),
            json!([{"pointer": "#/metadata", "code": "bad_value", "limit": 2048, "size": 2049}]),
        ),
        (user("a\0b"), at("#/to/users/0", "bad_user")),
        (
            json!({"to": {"devices": ["dev_unknown", hex("aa"), "c:APA91b", "ntf_1"], "except": {"devices": ["f1"]}}}),
            json!([{"pointer": "#/to/devices/1", "code": "bad_device_id"}, {"pointer": "#/to/devices/2", "code": "bad_device_id"},
                {"pointer": "#/to/devices/3", "code": "bad_device_id"}, {"pointer": "#/to/except/devices/0", "code": "bad_device_id"}]),
        ),
        (
            token("hms", "x"),
            json!([{"pointer": "#/to/tokens/0/platform", "code": "unsupported_platform", "supported": ["apns", "fcm"]}]),
        ),
        (
            json!({"to": {"users": ["u"], "platforms": ["adm"]}}),
            at("#/to/platforms/0", "unsupported_platform"),
        ),
        (token("apns", "abc"), at("#/to/tokens/0/token", "bad_token")),
        (token("apns", &"a".repeat(402)), at("#/to/tokens/0/token", "bad_token")),
        (token("fcm", "a b"), at("#/to/tokens/0/token", "bad_token")),
        (token("fcm", &"a".repeat(4097)), at("#/to/tokens/0/token", "bad_token")),
        (
            json!({"to": {"condition": "news &"}}),
            json!([{"pointer": "#/to/condition", "code": "bad_condition", "offset": 5, "expected": "`&&`, `||` or the end"}]),
        ),
        (
            json!({"to": {"condition": "news && (sport"}}),
            json!([{"pointer": "#/to/condition", "code": "bad_condition", "offset": 14, "expected": "`&&`, `||` or `)`"}]),
        ),
        (
            json!({"to": {"topics": ["news", "a b"], "except": {"topics": ["x".repeat(101)]}}}),
            json!([{"pointer": "#/to/topics/1", "code": "bad_topic", "limit": 100},
                {"pointer": "#/to/except/topics/0", "code": "bad_topic", "limit": 100}]),
        ),
        (
            json!({"priority": "HIGH"}),
            json!([{"pointer": "#/priority", "code": "bad_value", "suggestion": "high"}]),
        ),
        (
            json!({"priority": "urgent"}),
            json!([{"pointer": "#/priority", "code": "bad_value", "supported": ["high", "normal", "low"]}]),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impossible_send_says_why() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    for (more, expected) in meaningless() {
        let mut body = json!({"to": {"users": ["u7"]}, "title": "A"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = ApiRequest::post(SEND, &body).key(&s).of(&service).await;
        assert_problem(&answer, 422, "unprocessable", &expected);
    }
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_too_large_payload_names_its_platform_and_the_excess() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    let to_all = || json!({"users": ["u"], "tokens": [{"platform": "apns", "token": hex("aa")}]});
    let answer =
        ApiRequest::post(SEND, &json!({"to": to_all(), "body": "x".repeat(4096)})).key(&s).of(&service).await;
    let expected = json!([
        {"pointer": "#", "code": "payload_too_large", "platform": "apns", "limit": 4096},
        {"pointer": "#", "code": "payload_too_large", "platform": "fcm", "limit": 4096}]);
    assert_problem(&answer, 422, "unprocessable", &expected);
    let sizes: Vec<_> = (0..2).map(|n| answer.body["errors"][n]["size"].as_u64().unwrap()).collect();
    assert!(sizes.iter().all(|size| (4097..5000).contains(size)), "{sizes:?}");
    // Never built as a tree, and told all the same.
    let many = json!({"to": to_all(), "title": "A", "data": {"k": vec![json!([]); 20_000]}});
    let answer = ApiRequest::post(SEND, &many).key(&s).of(&service).await;
    let expected = json!([
        {"pointer": "#", "code": "payload_too_large", "platform": "apns", "limit": 4096},
        {"pointer": "#", "code": "payload_too_large", "platform": "fcm", "limit": 4096}]);
    assert_problem(&answer, 422, "unprocessable", &expected);
    assert!(answer.body["errors"][0]["size"].as_u64().is_some_and(|size| size > 60_000), "{answer:?}");
    let voip = json!({"to": {"tokens": [{"platform": "apns", "token": hex("aa")}]}, "data": {"a": "x".repeat(5200)},
                      "apns": {"headers": {"apns-push-type": "voip"}}, "title": "A"});
    let answer = ApiRequest::post(SEND, &voip).key(&s).of(&service).await;
    let expected = json!([{"code": "payload_too_large", "platform": "apns", "limit": 5120}]);
    assert_problem(&answer, 422, "unprocessable", &expected);
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_id_is_neither_stored_nor_repeated() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send,read").await;
    let before = stored(&service).await;
    let token = hex("5ecre7");
    let raw = json!({"to": {"devices": [token]}, "title": "A"});
    let answer = ApiRequest::post(SEND, &raw).key(&s).of(&service).await;
    assert_problem(
        &answer,
        422,
        "unprocessable",
        &json!([{"pointer": "#/to/devices/0", "code": "bad_device_id"}]),
    );
    assert!(!answer.body.to_string().contains("5ecre7"), "{}", answer.body);
    assert_eq!(stored(&service).await, before);
    let unknown = json!({"to": {"devices": ["dev_doesnotexist"]}, "title": "A"});
    let sent = ApiRequest::post(SEND, &unknown).key(&s).of(&service).await;
    assert_eq!(
        (sent.status.as_u16(), &sent.body["unmatched"]["devices"]),
        (202, &json!(["dev_doesnotexist"]))
    );
    let deliveries = format!("{SEND}/{}/deliveries?device=", sent.body["id"].as_str().unwrap());
    let answer = ApiRequest::get(&format!("{deliveries}{token}")).key(&s).of(&service).await;
    assert_problem(&answer, 422, "unprocessable", &json!([{"parameter": "device", "code": "bad_device_id"}]));
    assert!(!answer.body.to_string().contains("5ecre7"), "{}", answer.body);
    let answer = ApiRequest::get(&format!("{deliveries}dev_doesnotexist")).key(&s).of(&service).await;
    assert_eq!((answer.status.as_u16(), &answer.body["items"]), (200, &json!([])));
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impossible_device_says_why() {
    let service = service_without_workers(&[]).await;
    let s = service.key("devices").await;
    let made =
        ApiRequest::put(DEVICES, &json!({"platform": "fcm", "token": "f1"})).key(&s).of(&service).await;
    let device = format!("{DEVICES}/{}", made.body["id"].as_str().unwrap());
    let before = stored(&service).await;
    for (method, path, body, expected) in [
        (
            Method::PUT,
            DEVICES,
            json!({"platform": "apns", "token": "xyz", "user": "", "topics": ["a b", "ok"],
                   "kind": "fax", "environment": "moon"}),
            json!([{"pointer": "#/token", "code": "bad_token"}, {"pointer": "#/user", "code": "bad_user"},
                {"pointer": "#/topics/0", "code": "bad_topic"}, {"pointer": "#/kind", "code": "bad_value"},
                {"pointer": "#/environment", "code": "bad_value"}]),
        ),
        (
            Method::PUT,
            DEVICES,
            json!({"platform": "hms", "token": "x"}),
            json!([{"pointer": "#/platform", "code": "unsupported_platform", "supported": ["apns", "fcm"]}]),
        ),
        (
            Method::PUT,
            DEVICES,
            json!({"platform": "fcm", "token": "f2", "environment": "sandbox", "kind": "voip"}),
            json!([{"pointer": "#/environment", "code": "bad_value"}, {"pointer": "#/kind", "code": "bad_value"}]),
        ),
        (
            Method::PUT,
            DEVICES,
            json!({"platform": "fcm", "token": "f2", "registered_at": "now"}),
            json!([{"pointer": "#/registered_at", "code": "bad_value"}]),
        ),
        (
            Method::PUT,
            DEVICES,
            json!({"platform": "fcm", "token": "f2", "topics": ["x".repeat(101)]}),
            json!([{"pointer": "#/topics/0", "code": "bad_topic", "limit": 100}]),
        ),
        (
            Method::POST,
            "/v1/devices/unregister",
            json!({"platform": "apns", "token": "f"}),
            json!([{"pointer": "#/token", "code": "bad_token"}]),
        ),
        (
            Method::POST,
            "/v1/devices/lookup",
            json!({"tokens": [{"platform": "fcm", "token": "ok"}, {"platform": "adm", "token": "x"}]}),
            json!([{"pointer": "#/tokens/1/platform", "code": "unsupported_platform"}]),
        ),
        (
            Method::PATCH,
            &device,
            json!({"environment": "sandbox"}),
            json!([{"pointer": "#/environment", "code": "bad_value"}]),
        ),
    ] {
        let answer = ApiRequest::json(method, path, body.to_string()).key(&s).of(&service).await;
        assert_problem(&answer, 422, "unprocessable", &expected);
    }
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}
