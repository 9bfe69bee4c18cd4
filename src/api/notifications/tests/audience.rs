//! The audience of a request: what `to` may say, and what is refused.

use serde_json::{Value, json};

use super::{assert_codes, body, faults, key, send};
use crate::api::error::ApiError;
use crate::api::notifications::idempotency::HeaderKey;
use crate::api::notifications::request::{Context, read};
use crate::api::tests::app;
use crate::audience::AudienceSelector;
use crate::domain::test_platform::{EAST, STRUCTURED};
use crate::domain::{AppLane, Condition, DeviceId, LaneId, LaneKey, TopicName, Ttl};
use crate::provider::{Providers, apns};

#[test]
fn an_audience_is_required() {
    assert_codes(r#"{"title":"A"}"#, &[("#/to", "missing_field")]);
    for nobody in [
        json!({}),
        json!({"users": null}),
        json!({"platforms": ["fcm"]}),
        json!({"except": {"users": ["a"]}}),
    ] {
        assert_codes(&body(json!({"to": nobody})), &[("#/to", "missing_field")]);
    }
    assert!(send(&body(json!({"to": {"users": []}}))).is_ok(), "nobody there is no error");
    // A misspelt way is the only fault; a misspelling of anything else replaces no way.
    assert_codes(&body(json!({"to": {"user": ["a"]}})), &[("#/to/user", "unknown_field")]);
    assert_codes(
        &body(json!({"to": {"platform": ["fcm"]}})),
        &[("#/to", "missing_field"), ("#/to/platform", "unknown_field")],
    );
}

#[test]
fn users_and_platforms_are_read() {
    let to = json!({"users": ["ok", "", "x".repeat(129), "a\0b", 7], "platforms": ["fcm", "hms"]});
    assert_codes(
        &body(json!({"to": to})),
        &[
            ("#/to/users/1", "bad_user"),
            ("#/to/users/2", "bad_user"),
            ("#/to/users/3", "bad_user"),
            ("#/to/users/4", "wrong_type"),
            ("#/to/platforms/1", "unsupported_platform"),
        ],
    );
}

#[test]
fn tokens_are_read_with_all_members() {
    let tokens = json!([
        {"platform": "apns", "token": "AABB", "environment": "sandbox", "kind": "voip", "ref": "row-1"},
        {"platform": "fcm", "token": "t:1"},
    ]);
    let request = send(&body(json!({"to": {"tokens": tokens}}))).expect("valid");
    let tokens = request.audience.selectors.iter().find_map(|selector| match selector {
        AudienceSelector::Tokens(tokens) => Some(tokens),
        _ => None,
    });
    let first = &tokens.expect("a selector of tokens")[0];
    assert_eq!((first.platform, first.token.expose()), (apns::PLATFORM, "aabb"));
    assert_eq!(first.reference.as_deref(), Some("row-1"));
    assert_codes(
        &body(
            json!({"to": {"tokens": [{"token": "aa"}, {"platform": "apns"}, "aa", {"platform": "fcm", "token": "t", "x": 1}]}}),
        ),
        &[
            ("#/to/tokens/0/platform", "missing_field"),
            ("#/to/tokens/1/token", "missing_field"),
            ("#/to/tokens/2", "wrong_type"),
            ("#/to/tokens/3/x", "unknown_field"),
        ],
    );
}

#[test]
fn a_token_of_several_parts_is_an_object_and_has_its_lane_in_it() {
    let mut app = (*app()).clone();
    app.lanes.extend(STRUCTURED.lanes().map(|key| (key, AppLane { id: LaneId(9), configured: false })));
    let east = LaneKey::new(STRUCTURED, Some(EAST));
    app.lanes.insert(east, AppLane { id: LaneId(8), configured: true });
    let context = Context {
        app: &app,
        providers: &Providers::default(),
        installation: &key(),
        targets_max: 5,
        now: super::at(super::NOW),
        default_ttl: Ttl::MAX,
        header_key: HeaderKey::Absent,
        checks_size: true,
        rejects_bad_tokens: false,
    };
    let read_token = |token: Value| {
        let to = json!({"tokens": [{"platform": "structured", "token": token}]});
        read(body(json!({"to": to})).as_bytes(), context).1
    };
    let audience = read_token(json!({"endpoint": "east.example/1", "key": "k"})).expect("valid").audience;
    let AudienceSelector::Tokens(tokens) = &audience.selectors[2] else { panic!("tokens") };
    assert_eq!((tokens[0].token.expose(), tokens[0].environment), ("east.example/1 k", None));
    for (token, code) in [
        (json!({"endpoint": "west.example/1", "key": "k"}), "platform_not_configured"),
        (json!({"endpoint": "east.example/1"}), "bad_token"),
        (json!(["east.example/1", "k"]), "wrong_type"),
    ] {
        let Err(ApiError::Invalid(faults)) = read_token(token.clone()) else { panic!("{token} is refused") };
        assert_eq!(faults.iter().map(|fault| fault.code.as_str()).collect::<Vec<_>>(), [code], "{token}");
    }
}

#[test]
fn a_fault_never_repeats_a_token() {
    let body = body(json!({"to": {"tokens": [{"platform": "apns", "token": "not-hexadecimal-secret"}]}}));
    let problem = ApiError::Invalid(faults(&body)).problem();
    assert!(!json!(problem.document(Some("r"))).to_string().contains("secret"));
}

#[test]
fn unknown_device_ids_are_kept_for_the_answer() {
    let ours = key().device_id(app().id, DeviceId(5));
    let to = json!({"devices": [ours, "dev_nonsense"], "except": {"devices": [ours], "users": ["u"]}});
    let audience = send(&body(json!({"to": to}))).expect("valid").audience;
    let devices: Vec<_> = audience.devices().map(|device| (device.public_id.as_str(), device.id)).collect();
    assert_eq!(devices, [(&*ours, Some(DeviceId(5))), ("dev_nonsense", None)]);
    assert_eq!((audience.except_devices.len(), audience.except_users.len()), (1, 1));
}

#[test]
fn topics_and_conditions_are_read() {
    let to = json!({
        "topics": ["news", "team:42"], "condition": "'news' in topics && !sport", "except": {"topics": ["quiet"]}
    });
    let audience = send(&body(json!({"to": to}))).expect("valid").audience;
    let topic = |name| TopicName::parse(name).expect("a topic");
    let condition = Condition::parse("news && !sport").expect("a condition");
    assert!(
        audience.selectors.contains(&AudienceSelector::Topics(vec![topic("news"), topic("team:42")])),
        "a backend may send to closed topics"
    );
    assert!(audience.selectors.contains(&AudienceSelector::Condition(condition)));
    assert_eq!(audience.except_topics, [topic("quiet")]);
    assert!(send(&body(json!({"to": {"topics": []}}))).is_ok(), "an empty list is no error");
}

#[test]
fn bad_topics_and_conditions_are_refused_at_their_places() {
    let to = json!({"topics": ["ok", "a b", ""], "condition": "news && (sport", "except": {"topics": ["é"]}});
    let body = body(json!({"to": to}));
    assert_codes(
        &body,
        &[
            ("#/to/topics/1", "bad_topic"),
            ("#/to/topics/2", "bad_topic"),
            ("#/to/condition", "bad_condition"),
            ("#/to/except/topics/0", "bad_topic"),
        ],
    );
    let faults = faults(&body);
    assert_eq!((&faults[0].facts["limit"], &faults[2].facts["offset"]), (&json!(100), &json!(14)));
    assert_eq!(faults[2].facts["expected"], "`&&`, `||` or `)`");
}

#[test]
fn a_service_without_credentials_takes_no_token() {
    let mut app = (*app()).clone();
    app.lanes.values_mut().for_each(|lane| lane.configured = false);
    let body = body(json!({"to": {"tokens": [{"platform": "fcm", "token": "t"}], "users": ["u"]}}));
    let context = Context {
        app: &app,
        providers: &Providers::default(),
        installation: &key(),
        targets_max: 5,
        now: super::at(super::NOW),
        default_ttl: Ttl::MAX,
        header_key: HeaderKey::Absent,
        checks_size: true,
        rejects_bad_tokens: false,
    };
    let Err(ApiError::Invalid(faults)) = read(body.as_bytes(), context).1 else { panic!("refused") };
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].code.as_str(), "platform_not_configured");
    assert_eq!(faults[0].facts["platform"], "fcm");
}

#[test]
fn too_many_targets_are_refused_by_their_sum() {
    let to = |users: usize| json!({"users": vec!["u"; users], "devices": ["dev_d", "dev_d"], "tokens": [{"platform": "fcm", "token": "t"}]});
    assert!(send(&body(json!({"to": to(2)}))).is_ok());
    assert!(matches!(send(&body(json!({"to": to(3)}))), Err(ApiError::TooManyTargets(5))));
    let topics = |own: usize, excepted: usize| json!({"topics": vec!["t"; own], "except": {"topics": vec!["t"; excepted]}});
    assert!(send(&body(json!({"to": topics(3, 2)}))).is_ok());
    assert!(matches!(send(&body(json!({"to": topics(4, 2)}))), Err(ApiError::TooManyTargets(5))));
}
