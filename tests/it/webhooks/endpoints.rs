//! Webhooks that the API makes: only for hosts of the configuration; their secrets; what belongs to the configuration.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::webhook_receiver::WebhookReceiver;
use serde_json::{Value, json};

use super::{SECRET, ask, done, is_signed, push, service, webhook, webhooks};

const PATH: &str = "/v1/admin/webhooks";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_of_the_api_is_made_changed_rotated_and_deleted() {
    let receiver = WebhookReceiver::start().await;
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::All).build().await;
    let body = json!({"name": "made", "url": receiver.url(), "types": ["notification.*"]});
    let made = ask(&service, Method::POST, PATH, body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    let path = format!("{PATH}/{}", made.body["id"].as_str().unwrap());
    assert_eq!((&made.body["source"], &made.body["batch_max"]), (&json!("api"), &json!(100)));
    assert_eq!(ask(&service, Method::POST, PATH, body).await.body["code"], "webhook_exists");
    let read = service.by_admin(Method::GET, &path).await.body;
    assert!(read["secret"].is_null() && read["secrets"][0]["expires_at"].is_null(), "{read}");

    push(&service, "a").await;
    let first = receiver.until("the first end", |all| done(all).len() == 1).await;
    assert!(is_signed(&first[0], &secret));

    let rotated = ask(&service, Method::POST, &format!("{path}/rotate"), json!({"keep_old": "1h"})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    let new = rotated.body["secret"].as_str().unwrap().to_owned();
    assert_eq!(rotated.body["secrets"].as_array().unwrap().len(), 2);
    push(&service, "b").await;
    let second = receiver.until("the second end", |all| done(all).len() == 2).await;
    let both = second.last().unwrap();
    assert!(is_signed(both, &secret) && is_signed(both, &new), "{both:?}");
    let rotated = ask(&service, Method::POST, &format!("{path}/rotate"), json!({"keep_old": "0s"})).await;
    let newest = rotated.body["secret"].as_str().unwrap().to_owned();
    push(&service, "c").await;
    let third = receiver.until("the third end", |all| done(all).len() == 3).await;
    let one = third.last().unwrap();
    assert!(is_signed(one, &newest) && !is_signed(one, &new) && !is_signed(one, &secret));

    let changed = ask(&service, Method::PATCH, &path, json!({"types": ["device.*"], "batch_max": 7})).await;
    assert_eq!((&changed.body["types"], &changed.body["batch_max"]), (&json!(["device.*"]), &json!(7)));
    assert_eq!(
        ask(&service, Method::PATCH, &path, json!({"url": "https://x.example/"})).await.body["code"],
        "host_not_allowed"
    );
    assert_eq!(service.by_admin(Method::DELETE, &path).await.status, 204);
    assert_eq!(service.by_admin(Method::GET, &path).await.status, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_configuration_names_hosts() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("declared", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    let refused = ask(&service, Method::POST, PATH, json!({"name": "x", "url": receiver.url()})).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (403, &json!("host_not_allowed")));
    let path = format!("{PATH}/{}", webhook(&service, "declared").await["id"].as_str().unwrap());
    for (method, path, body) in [
        (Method::PATCH, path.clone(), Some(json!({"batch_max": 1}))),
        (Method::DELETE, path.clone(), None),
        (Method::POST, format!("{path}/rotate"), Some(json!({}))),
    ] {
        let answer = match body {
            Some(body) => ask(&service, method, &path, body).await,
            None => service.by_admin(method, &path).await,
        };
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (409, &json!("declared_in_configuration"))
        );
    }
    let listed = service.by_admin(Method::GET, PATH).await;
    assert!(!listed.body.to_string().contains(SECRET));
    assert_eq!(listed.body["items"][0]["secrets"], json!([{"hint": "LaSw", "expires_at": null}]));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_makes_twenty_webhooks_of_an_app() {
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::Api).build().await;
    let body = |number: usize| json!({"name": format!("w{number}"), "url": "http://127.0.0.1:9/"});
    for number in 0..20 {
        assert_eq!(ask(&service, Method::POST, PATH, body(number)).await.status, 201);
    }
    let refused = ask(&service, Method::POST, PATH, body(20)).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &json!("too_many_webhooks")));
    assert_eq!(refused.body["limit"], 20);
    assert_eq!(ask(&service, Method::POST, PATH, body(0)).await.body["code"], "webhook_exists");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_body_is_told() {
    let service =
        service().config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::Api).build().await;
    let codes = |answer: &Value| -> Vec<(String, String)> {
        let errors = answer["errors"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        errors.iter().map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
    };
    let wrong = json!({"name": "A b", "url": "ftp://x", "types": ["notification.doen"], "devices": "some",
                       "batch_max": 50});
    let answer = ask(&service, Method::POST, PATH, wrong).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    let bad = |pointer: &str| (pointer.to_owned(), "bad_value".to_owned());
    assert_eq!(codes(&answer.body), [bad("#/name"), bad("#/url"), bad("#/types/0"), bad("#/devices")]);
    assert_eq!(answer.body["errors"][2]["suggestion"], "notification.done");
    let answer = ask(&service, Method::POST, PATH, json!({"batch_max": 101, "nmae": "x"})).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    service.stop().await;
}
