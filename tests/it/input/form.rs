//! 400: bodies that are not JSON, and JSON of the wrong form.

use http::Method;
use pushpost_testkit::json::{assert_problem, hex};
use serde_json::{Value, json};

use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers, stored};

fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", Vec::new()),
        ("spaces", b"  ".to_vec()),
        ("cut off", br#"{"title":"A""#.to_vec()),
        ("two documents", b"{} {}".to_vec()),
        ("a comma too many", br#"{"a":1,}"#.to_vec()),
        ("single quotes", b"{'title':'A'}".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec()),
        ("no UTF-8", b"{\"title\":\"\xff\xfe\"}".to_vec()),
        ("an overlong encoding", b"{\"title\":\"\xc0\xaf\"}".to_vec()),
        ("half a surrogate pair", br#"{"title":"\ud83d"}"#.to_vec()),
        ("half a pair and text", br#"{"title":"\ud83dx"}"#.to_vec()),
        ("the other half", br#"{"title":"\ude00"}"#.to_vec()),
        ("a bare control character", b"{\"title\":\"a\nb\"}".to_vec()),
        ("a bare NUL", b"{\"title\":\"a\0b\"}".to_vec()),
        ("a number beyond measure", br#"{"badge":1e999}"#.to_vec()),
        ("a negative number beyond measure", br#"{"data":{"n":[-1E+400]}}"#.to_vec()),
        (
            "digits beyond measure",
            [br#"{"data":{"n":"#.to_vec(), b"9".repeat(10_000), b"}}".to_vec()].concat(),
        ),
        ("no number", br#"{"badge":NaN}"#.to_vec()),
        ("an exponent without digits", br#"{"data":{"n":1e+}}"#.to_vec()),
        ("a number with a zero before it", br#"{"badge":01}"#.to_vec()),
        ("arrays too deep", [b"[".repeat(100_000), b"]".repeat(100_000)].concat()),
        ("objects too deep", [br#"{"a":"#.repeat(40_000), b"1".to_vec(), b"}".repeat(40_000)].concat()),
        (
            "deep within data",
            [br#"{"data":{"a":"#.to_vec(), b"[".repeat(200), b"]".repeat(200), b"}}".to_vec()].concat(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_json_is_malformed_json_everywhere() {
    let service = service_without_workers(&[]).await;
    let (s, p) = (service.key("send,devices").await, service.key("register").await);
    let made =
        ApiRequest::put(DEVICES, &json!({"platform": "fcm", "token": "f1"})).key(&s).of(&service).await;
    let device = format!("{DEVICES}/{}", made.body["id"].as_str().unwrap());
    let before = stored(&service).await;
    for (what, body) in malformed() {
        for (method, path, key) in [
            (Method::POST, SEND, &s),
            (Method::PUT, DEVICES, &p),
            (Method::POST, "/v1/devices/unregister", &s),
            (Method::POST, "/v1/devices/lookup", &s),
            (Method::PATCH, &device, &s),
        ] {
            let answer = ApiRequest::json(method, path, body.clone()).key(key).of(&service).await;
            assert_eq!(answer.body["errors"][0]["code"], "malformed_json", "{what}: {answer:?}");
            let fault = &answer.body["errors"][0];
            assert!(fault["line"].is_u64() && fault["column"].is_u64(), "{what}: {fault}");
            assert_problem(&answer, 400, "invalid_request", &json!([{"pointer": "#"}]));
        }
    }
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

/// A body, and the places and codes of its faults.
fn faulty_sends() -> Vec<(&'static str, Value)> {
    vec![
        ("null", json!([{"pointer": "#", "code": "wrong_type", "expected": "object"}])),
        ("[]", json!([{"pointer": "#", "code": "wrong_type"}])),
        ("7", json!([{"pointer": "#", "code": "wrong_type"}])),
        ("{}", json!([{"pointer": "#/to", "code": "missing_field"}])),
        (r#"{"to":null,"title":"A"}"#, json!([{"pointer": "#/to", "code": "missing_field"}])),
        (r#"{"to":{},"title":"A"}"#, json!([{"pointer": "#/to", "code": "missing_field"}])),
        (
            r#"{"to":[],"title":"A"}"#,
            json!([{"pointer": "#/to", "code": "wrong_type", "expected": "object"}]),
        ),
        (
            r#"{"to":{"users":["u"]},"title":"A","title":"B","data":{"a":{"b":[{"c":1,"c":2}]}},"to":{}}"#,
            json!([{"pointer": "#/to", "code": "duplicate_field"}, {"pointer": "#/title", "code": "duplicate_field"},
                   {"pointer": "#/data/a/b/0/c", "code": "duplicate_field"}]),
        ),
        (
            r#"{"to":{"user":["u"],"devices":[7],"tokens":[{"platfrom":"apns","token":1}]},"titel":"A","collapseKey":"k"}"#,
            json!([{"pointer": "#/to/user", "code": "unknown_field", "suggestion": "users"},
                   {"pointer": "#/to/devices/0", "code": "wrong_type", "expected": "string"},
                   {"pointer": "#/to/tokens/0/platfrom", "code": "unknown_field", "suggestion": "platform"},
                   {"pointer": "#/to/tokens/0/token", "code": "wrong_type"},
                   {"pointer": "#/to/tokens/0/platform", "code": "missing_field"},
                   {"pointer": "#/titel", "code": "unknown_field", "suggestion": "title"},
                   {"pointer": "#/collapseKey", "code": "unknown_field", "suggestion": "collapse_key"}]),
        ),
        (
            r#"{"to":{"users":["u"],"except":{"user":[]}},"title":1,"badge":1.5,"silent":"no","data":[],"ttl":{},"metadata":{"a/b":1},"apns":{"header":{}},"fcm":7}"#,
            json!([{"pointer": "#/to/except/user", "code": "unknown_field", "suggestion": "users"},
                   {"pointer": "#/title", "code": "wrong_type"}, {"pointer": "#/badge", "code": "wrong_type"},
                   {"pointer": "#/silent", "code": "wrong_type"}, {"pointer": "#/data", "code": "wrong_type"},
                   {"pointer": "#/ttl", "code": "wrong_type"}, {"pointer": "#/metadata/a~1b", "code": "wrong_type"},
                   {"pointer": "#/apns/header", "code": "unknown_field", "suggestion": "headers"},
                   {"pointer": "#/fcm", "code": "wrong_type"}]),
        ),
        (
            r#"{"to":{"users":["u"]},"title":"A","badge":123456789012345678901234567890}"#,
            json!([{"pointer": "#/badge", "code": "out_of_range", "minimum": 0, "maximum": 2_147_483_647}]),
        ),
        // How serde_json hands on a number: here it is a name like any other.
        (
            r#"{"$serde_json::private::Number":"7"}"#,
            json!([{"pointer": "#/$serde_json::private::Number", "code": "unknown_field"},
                   {"pointer": "#/to", "code": "missing_field"}]),
        ),
        (
            r#"{"to":{"users":["u"]},"title":"A","badge":{"$serde_json::private::Number":"7"}}"#,
            json!([{"pointer": "#/badge", "code": "wrong_type"}]),
        ),
        (
            r#"{"to":{"users":["u"]},"title":"A","badge":-1,"zzzzzz":1}"#,
            json!([{"pointer": "#/badge", "code": "out_of_range"}, {"pointer": "#/zzzzzz", "code": "unknown_field"}]),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_of_the_wrong_form_lists_all_its_faults() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    for (body, expected) in faulty_sends() {
        let answer = ApiRequest::json(Method::POST, SEND, body).key(&s).of(&service).await;
        assert_problem(&answer, 400, "invalid_request", &expected);
    }
    let unknown = ApiRequest::json(Method::POST, SEND, r#"{"to":{"users":["u"]},"title":"A","zzzzzz":1}"#);
    let unknown = unknown.key(&s).of(&service).await;
    assert_eq!(unknown.body["errors"][0].get("suggestion"), None, "nothing is near");
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn field_names_of_other_apis_get_a_suggestion() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send,devices").await;
    let before = stored(&service).await;
    for (path, method, body, meant) in [
        (SEND, Method::POST, r#"{"to":{"users":["u"]},"message":"A"}"#, "body"),
        (SEND, Method::POST, r#"{"to":{"users":["u"]},"alert":"A"}"#, "body"),
        (SEND, Method::POST, r#"{"to":{"users":["u"]},"title":"A","ios":{}}"#, "apns"),
        (SEND, Method::POST, r#"{"to":{"users":["u"]},"title":"A","registration_ids":[]}"#, "to.tokens"),
        (SEND, Method::POST, r#"{"to":{"users":["u"]},"title":"A","user_id":"u"}"#, "to.users"),
        (SEND, Method::POST, r#"{"to":{"users":["u"],"include_player_ids":[]},"title":"A"}"#, "devices"),
        (SEND, Method::POST, r#"{"to":{"user_id":"u"},"title":"A"}"#, "users"),
        (DEVICES, Method::PUT, r#"{"platform":"fcm","token":"f","user_id":"u"}"#, "user"),
        (DEVICES, Method::PUT, r#"{"platform":"fcm","token":"f","language":"de"}"#, "locale"),
    ] {
        let answer = ApiRequest::json(method, path, body).key(&s).of(&service).await;
        let expected = json!([{"code": "unknown_field", "suggestion": meant}]);
        assert_problem(&answer, 400, "invalid_request", &expected);
        let said = answer.body["detail"].as_str().unwrap();
        assert!(said.ends_with(&format!("; did you mean {meant:?}?")), "{said}");
    }
    let said = async |body: &str| {
        let answer = ApiRequest::json(Method::POST, SEND, body).key(&s).of(&service).await;
        (answer.status.as_u16(), answer.body["detail"].as_str().unwrap().to_owned())
    };
    let detail =
        "There is a fault in the request, at #/message: unknown field \"message\"; did you mean \"body\"?";
    assert_eq!(said(r#"{"to":{"users":["u"]},"message":"A"}"#).await, (400, detail.to_owned()));
    let detail = "There is a fault in the request, at #/badge: this must be an integer.";
    assert_eq!(said(r#"{"to":{"users":["u"]},"badge":"1"}"#).await, (400, detail.to_owned()));
    let (_, token) = said(&format!(r#"{{"to":{{"users":["u"]}},"title":"A","{}":1}}"#, hex("aa"))).await;
    assert!(!token.contains(&hex("aa")), "a name that may be a token is cut: {token}");
    assert!(said(r#"{"to":"/topics/news","title":"A"}"#).await.1.contains("such as {\"users\":[\"u42\"]}"));
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_of_the_wrong_form_list_all_their_faults() {
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
            r#"{"tokn":"a","platform":7,"topics":"news","user":1}"#,
            json!([{"pointer": "#/tokn", "code": "unknown_field", "suggestion": "token"},
                {"pointer": "#/platform", "code": "wrong_type"}, {"pointer": "#/topics", "code": "wrong_type"},
                {"pointer": "#/user", "code": "wrong_type"}, {"pointer": "#/token", "code": "missing_field"}]),
        ),
        (
            Method::PUT,
            DEVICES,
            r#"{"platform":"fcm","token":"a","token":"b"}"#,
            json!([{"pointer": "#/token", "code": "duplicate_field"}]),
        ),
        (
            Method::PUT,
            DEVICES,
            r#"{"platform":"fcm","token":"a","$serde_json::private::Number":"7"}"#,
            json!([{"pointer": "#/$serde_json::private::Number", "code": "unknown_field"}]),
        ),
        (
            Method::POST,
            "/v1/devices/unregister",
            r#"{"platform":"fcm","id":"a"}"#,
            json!([{"pointer": "#/id", "code": "unknown_field"}, {"pointer": "#/token", "code": "missing_field"}]),
        ),
        (
            Method::POST,
            "/v1/devices/lookup",
            r#"{"token":[]}"#,
            json!([{"pointer": "#/token", "code": "unknown_field", "suggestion": "tokens"},
                {"pointer": "#/tokens", "code": "missing_field"}]),
        ),
        (
            Method::POST,
            "/v1/devices/lookup",
            r#"{"tokens":[{"platform":"fcm"},7]}"#,
            json!([{"pointer": "#/tokens/0/token", "code": "missing_field"}, {"pointer": "#/tokens/1", "code": "wrong_type"}]),
        ),
        (
            Method::PATCH,
            &device,
            r#"{"token":"f2","local":"de"}"#,
            json!([{"pointer": "#/token", "code": "unknown_field"},
                {"pointer": "#/local", "code": "unknown_field", "suggestion": "locale"}]),
        ),
    ] {
        let answer = ApiRequest::json(method, path, body).key(&s).of(&service).await;
        assert_problem(&answer, 400, "invalid_request", &expected);
    }
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_and_wrong_parameters_are_refused() {
    let service = service_without_workers(&[]).await;
    let s = service.key("send,devices").await;
    let to = json!({"to": {"tokens": [{"platform": "apns", "token": hex("aa")}]}, "title": "A"});
    let sent = ApiRequest::post(SEND, &to).key(&s).of(&service).await;
    let one = format!("{SEND}/{}", sent.body["id"].as_str().unwrap());
    let before = stored(&service).await;
    for (path, expected) in [
        (format!("{one}?x=1"), json!([{"parameter": "x", "code": "unknown_parameter"}])),
        (
            format!("{one}/deliveries?limit=0&cursor=zz&status=lost&sttus=pending"),
            json!([{"parameter": "status", "code": "out_of_range"}, {"parameter": "limit", "code": "out_of_range", "minimum": 1, "maximum": 1000},
                {"parameter": "cursor", "code": "invalid_cursor"},
                {"parameter": "sttus", "code": "unknown_parameter", "suggestion": "status"}]),
        ),
        (format!("{one}/deliveries?limit=1001"), json!([{"parameter": "limit", "code": "out_of_range"}])),
        (
            format!("{one}/deliveries?limit=1&limit=2"),
            json!([{"parameter": "limit", "code": "out_of_range"}]),
        ),
        (format!("{DEVICES}?user=%ff"), json!([{"parameter": "user", "code": "wrong_type"}])),
        (
            format!("{DEVICES}?registered_before=yesterday&pltform=fcm"),
            json!([{"parameter": "registered_before", "code": "out_of_range"},
                {"parameter": "pltform", "code": "unknown_parameter", "suggestion": "platform"}]),
        ),
    ] {
        let answer = ApiRequest::get(&path).key(&s).of(&service).await;
        assert_problem(&answer, 400, "invalid_request", &expected);
    }
    let cursor =
        ApiRequest::get(&format!("{DEVICES}?limit=1")).key(&s).of(&service).await.body["next_cursor"].clone();
    assert_eq!(cursor, Value::Null, "one device is one page");

    // What might be meant as a rehearsal is never carried out.
    let misspelt = ApiRequest::post(&format!("{SEND}?dry_runn=true"), &to).key(&s).of(&service).await;
    let expected = json!([{"parameter": "dry_runn", "code": "unknown_parameter", "suggestion": "dry_run"}]);
    assert_problem(&misspelt, 400, "invalid_request", &expected);
    for unclear in ["1", "TRUE", "", "yes"] {
        let path = format!("{SEND}?dry_run={unclear}");
        let answer = ApiRequest::post(&path, &to).key(&s).of(&service).await;
        let expected =
            json!([{"parameter": "dry_run", "code": "out_of_range", "supported": ["true", "false"]}]);
        assert_problem(&answer, 400, "invalid_request", &expected);
    }
    let twice = ApiRequest::post(&format!("{SEND}?dry_run=false&dry_run=true"), &to).key(&s);
    let expected = json!([{"parameter": "dry_run", "code": "out_of_range"}]);
    assert_problem(&twice.of(&service).await, 400, "invalid_request", &expected);
    let both = ApiRequest::post(&format!("{SEND}?dry_runn=true"), &json!({"to": {}, "titel": "A"}))
        .key(&s)
        .of(&service)
        .await;
    let expected = json!([{"parameter": "dry_runn", "code": "unknown_parameter"},
                          {"pointer": "#/to", "code": "missing_field"}, {"pointer": "#/titel", "code": "unknown_field"}]);
    assert_problem(&both, 400, "invalid_request", &expected);
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}
