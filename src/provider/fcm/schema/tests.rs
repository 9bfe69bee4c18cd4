//! The overrides that pass, their spelling afterwards, and the places of faults.

use serde_json::json;

use super::*;

fn object(json: Value) -> Map<String, Value> {
    let Value::Object(object) = json else { panic!("an object") };
    object
}

fn faults(json: Value) -> Vec<(String, &'static str)> {
    let faults = check(&object(json)).into_iter().map(|fault| {
        let ErrorLocation::Pointer(pointer) = fault.place else { panic!("a pointer") };
        (pointer, fault.code.as_str())
    });
    faults.collect()
}

#[test]
fn every_documented_member_passes_in_both_spellings() {
    let snake = json!({
        "data": {"k": "v"}, "notification": {"title": "a", "body": "b", "image": "https://x"},
        "android": {"collapse_key": "c", "priority": "high", "restricted_package_name": "p", "data": {},
            "direct_boot_ok": true, "bandwidth_constrained_ok": true, "restricted_satellite_ok": false,
            "fcm_options": {"analytics_label": "l"},
            "notification": {"channel_id": "c", "body_loc_args": ["x"], "sticky": false, "visibility": "PUBLIC",
                "event_time": "2026-01-01T00:00:00Z", "notification_priority": "PRIORITY_MAX",
                "vibrate_timings": ["0.5s", "1s"], "notification_count": 3, "proxy": "DENY",
                "light_settings": {"color": {"red": 0.5, "green": 1, "blue": 0, "alpha": 1},
                    "light_on_duration": "1s", "light_off_duration": "1.5s"}}},
        "webpush": {"headers": {"TTL": "5"}, "data": {}, "notification": {"any": [1]}, "fcm_options": {"link": "l"}},
        "apns": {"headers": {}, "payload": {"aps": {}}, "fcm_options": {"image": "i"}, "live_activity_token": "t"},
        "fcm_options": {"analytics_label": "l"}
    });
    assert_eq!(faults(snake), []);
    let camel = json!({"fcmOptions": {"analyticsLabel": "l"}, "android": {"collapseKey": "c", "directBootOk": true,
        "notification": {"bodyLocArgs": [], "defaultVibrateTimings": true}}, "apns": {"liveActivityToken": "t"},
        "androidV2": {"remoteNotification": {"useAsV1DataMessage": true}, "backgroundSync": {}}});
    assert_eq!(faults(camel.clone()), []);
    let snake = json!({"fcm_options": {"analytics_label": "l"}, "android": {"collapse_key": "c",
        "direct_boot_ok": true, "notification": {"body_loc_args": [], "default_vibrate_timings": true}},
        "apns": {"live_activity_token": "t"},
        "android_v2": {"remote_notification": {"use_as_v1_data_message": true}, "background_sync": {}}});
    assert_eq!(canonical(&object(camel)), object(snake));
}

#[test]
fn a_whole_number_with_a_fraction_of_zeros_is_sent_without_it() {
    let count = |text: &str| {
        let text = format!(r#"{{"android":{{"notification":{{"notification_count":{text}}}}}}}"#);
        object(serde_json::from_str(&text).expect("JSON"))
    };
    for text in ["3.0", "30e-1", "3"] {
        assert_eq!(faults(Value::Object(count(text))), []);
        assert_eq!(Value::Object(canonical(&count(text))).to_string(), Value::Object(count("3")).to_string());
    }
}

#[test]
fn the_senders_own_names_keep_their_spelling() {
    let own =
        object(json!({"data": {"collapseKey": "v"}, "apns": {"payload": {"fcmOptions": 1}}, "x": {"y": 1}}));
    assert_eq!(canonical(&own), own);
}

#[test]
fn unknown_members_are_named_with_the_nearest_known_one() {
    let found =
        check(&object(json!({"androyd": {}, "zzz": 1, "android": {"notification": {"channelID": "x"}}})));
    let told: Vec<_> = found.iter().map(|f| (f.code.as_str(), f.facts.get("suggestion").cloned())).collect();
    let code = "unknown_fcm_field";
    assert_eq!(told, [(code, Some("android".into())), (code, None), (code, Some("channel_id".into()))]);
    assert_eq!(found[2].place, ErrorLocation::Pointer("#/fcm/android/notification/channelID".to_owned()));
}

#[test]
fn reserved_members_are_not_overridable() {
    for (json, pointer) in [
        (json!({"name": "x"}), "#/fcm/name"),
        (json!({"token": null}), "#/fcm/token"),
        (json!({"fid": "x"}), "#/fcm/fid"),
        (json!({"topic": "all"}), "#/fcm/topic"),
        (json!({"condition": "x"}), "#/fcm/condition"),
        (json!({"validate_only": true}), "#/fcm/validate_only"),
        (json!({"validateOnly": true}), "#/fcm/validateOnly"),
        (json!({"android": {"ttl": "5s"}}), "#/fcm/android/ttl"),
        (json!({"androidV2": {"ttl": "5s"}}), "#/fcm/androidV2/ttl"),
    ] {
        assert_eq!(faults(json), [(pointer.to_owned(), "not_overridable")]);
    }
}

#[test]
fn wrong_types_and_values_are_reported_at_their_place() {
    for (json, pointer, code) in [
        (json!({"data": {"a/b": 1}}), "#/fcm/data/a~1b", "wrong_type"),
        (json!({"android": []}), "#/fcm/android", "wrong_type"),
        (json!({"apns": {"payload": "x"}}), "#/fcm/apns/payload", "wrong_type"),
        (json!({"android": {"priority": "URGENT"}}), "#/fcm/android/priority", "bad_value"),
        (json!({"android": {"direct_boot_ok": "true"}}), "#/fcm/android/direct_boot_ok", "wrong_type"),
        (
            json!({"android": {"notification": {"notification_count": 1.5}}}),
            "#/fcm/android/notification/notification_count",
            "bad_value",
        ),
        (
            json!({"android": {"notification": {"vibrate_timings": ["1s", "1"]}}}),
            "#/fcm/android/notification/vibrate_timings/1",
            "bad_value",
        ),
        (
            json!({"android": {"notification": {"event_time": "now"}}}),
            "#/fcm/android/notification/event_time",
            "bad_value",
        ),
        (
            json!({"android": {"notification": {"title_loc_args": [1]}}}),
            "#/fcm/android/notification/title_loc_args/0",
            "wrong_type",
        ),
    ] {
        assert_eq!(faults(json.clone()), [(pointer.to_owned(), code)], "{json}");
    }
    assert_eq!(faults(json!({"android": null, "data": {"k": null}})), []);
}
