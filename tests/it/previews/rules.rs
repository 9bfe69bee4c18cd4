//! What a preview answers, and that nothing comes of it.

use http::Method;
use pushpost::runtime::Role;
use serde_json::{Value, json};

use pushpost_testkit::json::{assert_has, assert_problem, hex};
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers, stored};
use pushpost_testkit::service::{TestService, sent};

use super::PREVIEW;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_are_those_of_now_and_nothing_is_stored_or_sent() {
    let service = TestService::start().await;
    let s = service.key("send,devices").await;
    let known = json!({"platform": "apns", "token": hex("aa"), "user": "u1", "topics": ["news"]});
    let known = ApiRequest::put(DEVICES, &known).key(&s).of(&service).await.body;
    let before = stored(&service).await;
    let token = |two: &str| json!({"platform": "apns", "token": hex(two)});
    for (to, targets) in [
        (json!({"users": ["u1", "u2"]}), json!(1)),
        (
            json!({"users": ["u1"], "devices": [known["id"], "dev_x"], "tokens": [token("aa"), token("AA")]}),
            json!(1),
        ),
        (json!({"tokens": [token("aa"), token("bb"), token("BB"), token("cc")]}), json!(3)),
        (json!({"tokens": [token("bb")], "platforms": ["fcm"]}), json!(0)),
        (json!({"tokens": [token("aa"), token("bb")], "except": {"topics": ["news"]}}), json!(1)),
        (json!({"users": []}), json!(0)),
        (json!({"all": true}), json!(null)),
        (json!({"topics": ["news"]}), json!(null)),
        (json!({"condition": "news", "users": ["u1"]}), json!(null)),
    ] {
        let body = json!({"to": to, "title": "A", "idempotency_key": "k"});
        for path in [PREVIEW, &format!("{SEND}?dry_run=true")] {
            let answer =
                ApiRequest::post(path, &body).key(&s).header("idempotency-key", "k").of(&service).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body["targets"]),
                (200, &targets),
                "{to}: {answer:?}"
            );
        }
    }
    assert_eq!(stored(&service).await, before);
    assert_eq!(service.database.count("select count(*) from idempotency_keys").await, 0);
    assert!(sent(&service.ledger()).is_empty());
    // The key is still free.
    let sends = json!({"to": {"users": ["u1"]}, "title": "A"});
    let answer =
        ApiRequest::post(&format!("{SEND}?dry_run=false"), &sends).key(&s).header("idempotency-key", "k");
    let answer = answer.of(&service).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(!answer.headers.contains_key("idempotent-replayed"));
    service.notifications().until_done(answer.body["id"].as_str().unwrap()).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_422_is_listed_and_faults_of_form_are_400() {
    let service = service_without_workers(&[("LIMITS__TARGETS", "10")]).await;
    let s = service.key("send").await;
    let before = stored(&service).await;
    let ask = async |body: Value| ApiRequest::post(PREVIEW, &body).key(&s).of(&service).await;
    let faulty = json!({
        "to": {"tokens": [{"platform": "hms", "token": "x"}, {"platform": "fcm", "token": "?? "}]},
        "title": "A", "ttl": "29d", "data": {"google.x": "1"}, "fcm": {"topic": "all"},
    });
    let answer = ask(faulty.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let refused = ApiRequest::post(SEND, &faulty).key(&s).of(&service).await;
    assert_eq!((refused.status.as_u16(), &answer.body["problems"]), (422, &refused.body["errors"]));

    let empty = ask(json!({"to": {"users": ["u"]}})).await;
    assert_has(&empty.body["problems"], &json!([{"pointer": "#", "code": "nothing_to_send"}]));
    let one_sided = ask(json!({"fcm": {"notification": {"title": "A"}}})).await;
    assert_eq!(one_sided.body["problems"], json!([]));
    assert_has(&one_sided.body["platforms"]["apns"]["problems"], &json!([{"code": "nothing_to_send"}]));
    assert_eq!(one_sided.body["platforms"]["fcm"]["problems"], json!([]));

    for (size, is_rendered) in [(4_200, true), (40_000, false)] {
        let large = ask(json!({"title": "x".repeat(size)})).await;
        assert_eq!(large.status, 200);
        match is_rendered {
            true => {
                assert_eq!(large.body["problems"], json!([]));
                for platform in ["apns", "fcm"] {
                    let one = &large.body["platforms"][platform];
                    let expected = json!([{"code": "payload_too_large", "platform": platform, "size": one["size"], "limit": 4096}]);
                    assert_has(&one["problems"], &expected);
                }
            }
            false => {
                assert_eq!(large.body["platforms"], json!({}));
                assert_eq!(large.body["problems"][0]["code"], "payload_too_large");
            }
        }
    }
    let form = json!([{"pointer": "#/titel", "code": "unknown_field", "suggestion": "title"}]);
    assert_problem(
        &ask(json!({"titel": "A", "ttl": "29d"})).await,
        400,
        "invalid_request",
        &json!([form[0], {"pointer": "#/ttl", "code": "bad_ttl"}]),
    );
    let malformed = ApiRequest::json(Method::POST, PREVIEW, "{").key(&s).of(&service).await;
    assert_problem(&malformed, 400, "invalid_request", &json!([{"pointer": "#", "code": "malformed_json"}]));
    let many = ask(json!({"to": {"users": vec!["u"; 11]}, "title": "A"})).await;
    assert_problem(&many, 413, "too_many_targets", &json!([]));
    let parameter = ApiRequest::post(&format!("{PREVIEW}?dry_run=true"), &json!({"title": "A"})).key(&s);
    let fault = json!([{"parameter": "dry_run", "code": "unknown_parameter"}]);
    assert_problem(&parameter.of(&service).await, 400, "invalid_request", &fault);
    assert_eq!(stored(&service).await, before);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_providers_that_the_notification_may_go_to_are_shown() {
    let mut service = TestService::builder().build().await;
    service.node(Role::Api).await;
    let s = service.key("send").await;
    let shown = async |service: &TestService, body: Value| -> Vec<String> {
        let answer = ApiRequest::post(PREVIEW, &body).key(&s).of(service).await;
        answer.body["platforms"].as_object().unwrap().keys().cloned().collect()
    };
    let token = json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "A"});
    assert_eq!(shown(&service, json!({"title": "A"})).await, ["apns", "fcm"]);
    assert_eq!(shown(&service, token).await, ["fcm"]);
    assert_eq!(
        shown(&service, json!({"to": {"all": true, "platforms": ["apns"]}, "title": "A"})).await,
        ["apns"]
    );
    let voip = json!({"apns": {"headers": {"apns-push-type": "voip"}, "payload": {"call": 1}}});
    let answer = ApiRequest::post(PREVIEW, &voip).key(&s).of(&service).await;
    let apns = &answer.body["platforms"]["apns"];
    assert_has(apns, &json!({"limit": 5120, "headers": {"apns-topic": "com.example.shop.voip"}}));
    service.end_nodes().await;
    service.without_fcm();
    service.node(Role::Api).await;
    assert_eq!(shown(&service, json!({"title": "A"})).await, ["apns"]);
    service.stop_undecided().await;
}
