//! What a registration may say, and which caller may say it.

use serde_json::{Value, json};

use super::*;
use crate::api::tests::app;
use crate::domain::test_platform::STRUCTURED;

fn platforms() -> Platforms {
    app().platforms()
}

fn faults(body: &Value, who: Registrar) -> Vec<(String, &'static str)> {
    let faults = registration(body.to_string().as_bytes(), who, &platforms()).expect_err("faults");
    let place = |fault: &ValidationError| match &fault.place {
        crate::domain::ErrorLocation::Pointer(pointer) => pointer.clone(),
        other => panic!("{other:?}"),
    };
    faults.iter().map(|fault| (place(fault), fault.code.as_str())).collect()
}

fn pairs(expected: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    expected.iter().map(|(place, code)| ((*place).to_owned(), *code)).collect()
}

#[test]
fn absent_null_and_value_differ() {
    let body = json!({"platform": "apns", "token": "AA", "locale": "pt_BR", "user": null, "topics": null});
    let read =
        registration(body.to_string().as_bytes(), Registrar::Backend, &platforms()).expect("well formed");
    assert_eq!(read.token.expose(), "aa");
    assert_eq!(read.details.locale, FieldChange::Set(Locale::parse("pt-BR").expect("a tag")));
    assert_eq!((read.details.user, read.details.timezone), (FieldChange::Clear, FieldChange::Keep));
    assert_eq!(read.details.topics, Some(vec![]));
}

#[test]
fn all_faults_come_at_once_in_the_bodys_order() {
    let body = json!({"platform": "apns", "token": "abc", "kind": "x", "environment": "staging", "user": "",
        "topics": ["ok", "not ok", 7],
        "registered_at": "yesterday", "usr": "u"});
    let expected = [
        ("#/token", "bad_token"),
        ("#/kind", "bad_value"),
        ("#/environment", "bad_value"),
        ("#/user", "bad_user"),
        ("#/topics/1", "bad_topic"),
        ("#/topics/2", "wrong_type"),
        ("#/registered_at", "bad_value"),
        ("#/usr", "unknown_field"),
    ];
    assert_eq!(faults(&body, Registrar::Backend), pairs(&expected));
    assert_eq!(
        faults(&json!({"user": "u1"}), Registrar::Backend),
        pairs(&[("#/platform", "missing_field"), ("#/token", "missing_field")])
    );
    assert_eq!(
        faults(&json!({"platform": "hms", "token": "x"}), Registrar::Backend),
        pairs(&[("#/platform", "unsupported_platform")])
    );
}

#[test]
fn an_unreadable_hint_is_ignored_and_reported() {
    let unreadable = json!({"platform": "apns", "token": "aa", "locale": "C", "timezone": "PST", "app_version": "",
        "replaces": "zz"});
    let of_another_type = json!({"platform": "apns", "token": "aa", "locale": 7, "timezone": ["x"], "app_version": 7.1,
        "replaces": {}});
    let callers = [Registrar::App, Registrar::Backend, Registrar::Import];
    for (who, body) in callers.into_iter().flat_map(|who| [(who, &unreadable), (who, &of_another_type)]) {
        let Registration { details, replaces, .. } =
            registration(body.to_string().as_bytes(), who, &platforms()).expect("well formed");
        assert_eq!((details.locale, details.timezone), (FieldChange::Keep, FieldChange::Keep));
        assert_eq!((details.app_version, replaces), (FieldChange::Keep, None));
        let told = details.ignored.iter().map(|part| (part.pointer.as_str(), part.reason.as_str()));
        let expected = [
            ("#/locale", "bad_value"),
            ("#/timezone", "bad_value"),
            ("#/app_version", "bad_value"),
            ("#/replaces", "bad_token"),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn fcm_has_neither_environment_nor_kind() {
    let body = json!({"platform": "fcm", "token": "x", "kind": "voip", "environment": "sandbox"});
    let expected = [("#/kind", "bad_value"), ("#/environment", "bad_value")];
    assert_eq!(faults(&body, Registrar::Backend), pairs(&expected));
    let plain = json!({"platform": "fcm", "token": "x", "kind": "alert", "environment": null});
    assert!(registration(plain.to_string().as_bytes(), Registrar::App, &platforms()).is_ok());
}

#[test]
fn an_app_may_log_out_but_name_no_user_no_time_and_no_closed_topic() {
    let body = json!({"platform": "fcm", "token": "x", "user": "u7", "topics": ["team:42", "news"],
        "registered_at": "2026-01-01T00:00:00Z"});
    let expected = [
        ("#/user", "forbidden_field"),
        ("#/topics/0", "topic_closed"),
        ("#/registered_at", "forbidden_field"),
    ];
    assert_eq!(faults(&body, Registrar::App), pairs(&expected));
    assert!(registration(body.to_string().as_bytes(), Registrar::Backend, &platforms()).is_ok());
    let log_out = json!({"platform": "fcm", "token": "x", "user": null, "registered_at": null});
    assert!(registration(log_out.to_string().as_bytes(), Registrar::App, &platforms()).is_ok());
}

#[test]
fn a_token_of_several_parts_is_an_object_also_in_replaces() {
    let platforms = Platforms::new(platforms().iter().chain([STRUCTURED]));
    let read = |token: Value, replaces: Value| {
        let body = json!({"platform": "structured", "token": token, "replaces": replaces});
        registration(body.to_string().as_bytes(), Registrar::Backend, &platforms)
    };
    let parts = |key: &str| json!({"endpoint": "east.example/1", "key": key});
    for token in [parts("k1"), json!("east.example/1 k1")] {
        let read = read(token, parts("k0")).expect("well formed");
        assert_eq!(read.token.expose(), "east.example/1 k1");
        assert_eq!(read.replaces.as_ref().map(DeviceToken::expose), Some("east.example/1 k0"));
        assert_eq!(read.details.ignored, []);
    }
    let ignored = read(parts("k1"), json!({"endpoint": 7})).expect("well formed").details.ignored;
    let told: Vec<_> = ignored.iter().map(|part| (part.pointer.as_str(), part.reason.as_str())).collect();
    assert_eq!(told, [("#/replaces", "bad_token")]);
    let code = |token: Value| read(token, Value::Null).expect_err("a fault")[0].code.as_str();
    assert_eq!((code(json!({"key": "k"})), code(json!(7))), ("bad_token", "wrong_type"));
    let of_a_plain_platform = json!({"platform": "fcm", "token": {"endpoint": "x", "key": "k"}});
    assert_eq!(faults(&of_a_plain_platform, Registrar::Backend), pairs(&[("#/token", "wrong_type")]));
}

#[test]
fn topics_are_limited_in_number() {
    let body = json!({"platform": "fcm", "token": "x", "topics": vec!["a"; TOPICS_MAX + 1]});
    assert_eq!(faults(&body, Registrar::Backend), pairs(&[("#/topics", "too_many_topics")]));
    let names =
        |number: usize| (0..number).map(|n| format!("t{n}")).chain(["t0".to_owned()]).collect::<Vec<_>>();
    let body = |number| json!({"platform": "fcm", "token": "x", "topics": names(number)});
    assert_eq!(faults(&body(101), Registrar::App), pairs(&[("#/topics", "too_many_topics")]));
    for (number, who) in [(100, Registrar::App), (101, Registrar::Backend), (101, Registrar::Import)] {
        assert!(registration(body(number).to_string().as_bytes(), who, &platforms()).is_ok());
    }
}
