//! What phones report about themselves never fails a registration: a hint that can't be read is left out and reported.

use http::Method;
use pushpost_testkit::json::assert_has;
use serde_json::{Value, json};

use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::{ApiClient, TestApi};

/// Locales as phones report them, and what is stored of each; null: nothing.
const LOCALES: [(&str, Option<&str>); 12] = [
    ("pt_BR", Some("pt-BR")),
    ("en_US@rg=gbzzzz", Some("en-US")),
    ("zh_CN_#Hans", Some("zh-Hans-CN")),
    ("zh-Hans_CN", Some("zh-Hans-CN")),
    ("sr__#Latn", Some("sr-Latn")),
    ("en_US.UTF-8", Some("en-US")),
    ("iw_IL", Some("he-IL")),
    ("", None),
    ("C", None),
    ("POSIX", None),
    ("\0", None),
    ("?", None),
];

/// The same of time zones.
const TIME_ZONES: [(&str, Option<&str>); 8] = [
    ("Europe/Berlin", Some("Europe/Berlin")),
    ("US/Pacific", Some("US/Pacific")),
    ("UTC+2", Some("Etc/GMT-2")),
    ("GMT-03:00", Some("Etc/GMT+3")),
    ("GMT+05:30", None),
    ("Asia/Hanoi", None),
    ("PST", None),
    ("", None),
];

fn phone(token: &str, more: Value) -> Value {
    let mut body = json!({"platform": "fcm", "token": token});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn shown(backend: &ApiClient<'_>, answer: &Answer) -> Value {
    backend.get(&format!("/v1/devices/{}", answer.body["id"].as_str().unwrap())).await.body
}

fn ignored(parts: &[(&str, &str)]) -> Value {
    parts.iter().map(|(pointer, reason)| json!({"pointer": pointer, "reason": reason})).collect()
}

#[tokio::test]
async fn a_phone_is_registered_whatever_it_reports_about_itself() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let locales = LOCALES.iter().map(|(text, read)| ("locale", *text, *read));
    let zones = TIME_ZONES.iter().map(|(text, read)| ("timezone", *text, *read));
    let long = "1".repeat(65);
    let versions = [
        ("app_version", "", None),
        ("app_version", long.as_str(), None),
        ("app_version", "5.2 (β)", Some("5.2 (β)")),
    ];
    for (number, (name, text, read)) in locales.chain(zones).chain(versions).enumerate() {
        for (client, who) in [(&app, "app"), (&backend, "backend")] {
            let answer =
                client.put("/v1/devices", phone(&format!("{who}{number}"), json!({name: text}))).await;
            assert_eq!(answer.status, 201, "{name} {text:?}: {answer:?}");
            assert_eq!(shown(&backend, &answer).await[name], json!(read), "{text:?}");
            let told = read.is_none().then(|| ignored(&[(&format!("#/{name}"), "bad_value")]));
            assert_eq!(answer.body.get("ignored"), told.as_ref(), "{text:?}");
        }
    }
}

#[tokio::test]
async fn unreadable_hints_do_not_change_a_known_device() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let known = json!({"locale": "de", "timezone": "Europe/Berlin", "app_version": "1"});
    let device = backend.put("/v1/devices", phone("f1", known.clone())).await;
    let unreadable = json!({"locale": "C", "timezone": "PST", "app_version": "", "kind": "alert"});
    let told =
        ignored(&[("#/locale", "bad_value"), ("#/timezone", "bad_value"), ("#/app_version", "bad_value")]);
    let again = app.put("/v1/devices", phone("f1", unreadable.clone())).await;
    assert_eq!((again.status.as_u16(), &again.body["ignored"]), (200, &told));
    let path = format!("/v1/devices/{}", device.body["id"].as_str().unwrap());
    let described = backend.json(Method::PATCH, &path, unreadable).await;
    assert_eq!((described.status.as_u16(), &described.body["ignored"]), (200, &told));
    assert_has(&shown(&backend, &device).await, &known);
    let cleared = app.put("/v1/devices", phone("f1", json!({"locale": null, "timezone": "PST"}))).await;
    assert_eq!(cleared.body["ignored"], ignored(&[("#/timezone", "bad_value")]));
    assert_has(&shown(&backend, &device).await, &json!({"locale": null, "timezone": "Europe/Berlin"}));
}

#[tokio::test]
async fn a_hint_of_another_json_type_is_left_out_and_reported() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    let odd = json!({"app_version": 7.1, "locale": 5, "timezone": ["x"], "replaces": {"token": "f2"}});
    let hints = [("#/locale", "bad_value"), ("#/timezone", "bad_value"), ("#/app_version", "bad_value")];
    let told = ignored(&[&hints[..], &[("#/replaces", "bad_token")]].concat());
    for (client, token) in [(&app, "f1"), (&backend, "f2")] {
        let answer = client.put("/v1/devices", phone(token, odd.clone())).await;
        assert_eq!((answer.status.as_u16(), &answer.body["ignored"]), (201, &told), "{answer:?}");
        let nothing = json!({"app_version": null, "locale": null, "timezone": null});
        assert_has(&shown(&backend, &answer).await, &nothing);
    }

    let known = backend.put("/v1/devices", phone("f3", json!({"locale": "de"}))).await;
    let path = format!("/v1/devices/{}", known.body["id"].as_str().unwrap());
    let patch = json!({"app_version": 7.1, "locale": 5, "timezone": ["x"]});
    let described = backend.json(Method::PATCH, &path, patch).await;
    assert_eq!((described.status.as_u16(), &described.body["ignored"]), (200, &ignored(&hints)));
    assert_has(&shown(&backend, &known).await, &json!({"locale": "de"}));
}

#[tokio::test]
async fn a_replaced_token_that_names_no_other_device_is_left_out() {
    let service = TestApi::start().await;
    let (app, backend) = (service.client("register").await, service.client("devices").await);
    for (client, who) in [(&app, "app"), (&backend, "backend")] {
        for (replaces, reason) in
            [("not one", "bad_token"), ("unknown", "unknown_token"), (who, "same_token")]
        {
            let answer = client.put("/v1/devices", phone(who, json!({"replaces": replaces}))).await;
            assert!(answer.status.is_success(), "{answer:?}");
            assert_eq!(answer.body["ignored"], ignored(&[("#/replaces", reason)]));
            assert_eq!(answer.body["status"], "active");
        }
    }
    let heir = backend.put("/v1/devices", phone("heir", json!({"replaces": "backend"}))).await;
    assert_eq!((heir.status.as_u16(), heir.body.get("ignored")), (201, None));
}

#[tokio::test]
async fn an_import_counts_what_it_leaves_out() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let lines = [
        phone("f1", json!({"locale": "C", "timezone": "PST"})),
        phone("f2", json!({"replaces": "nobody's", "locale": "pt_BR"})),
        phone("f3", json!({"timezone": "UTC"})),
        phone("f4", json!({"locale": "C", "user": ""})),
        phone("f5", json!({"app_version": 7.1})),
    ];
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let answer = backend.import("", body).await;
    assert_has(&answer.body, &json!({"lines": 5, "created": 4, "failed": 1, "ignored": 4}));
    let without = backend.import("", format!("{}\n", phone("f3", json!({})))).await;
    assert_eq!(without.body.get("ignored"), None);
}
