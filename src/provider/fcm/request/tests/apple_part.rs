//! The part of an FCM message for Apple devices.

use super::*;

#[test]
fn a_subtitle_makes_the_payload_contain_the_whole_alert() {
    let aps = |json| message_of(json)["apns"]["payload"]["aps"].take();
    let whole = json!({"alert": {"title": "T", "subtitle": "S", "body": "B"}});
    assert_eq!(aps(json!({"title": "T", "body": "B", "subtitle": "S"})), whole);
    let partial = json!({"alert": {"title": "T", "body": "B", "launch-image": "L"}});
    let own = json!({"payload": {"aps": {"alert": {"launch-image": "L"}}}});
    assert_eq!(aps(json!({"title": "T", "body": "B", "apns": own})), partial);
    assert_eq!(aps(json!({"title": "T", "body": "B", "fcm": {"apns": own}})), partial);
}

#[test]
fn faults_of_the_fcm_part_include_its_apns_headers() {
    let faulty = content(json!({"title": "Hi", "fcm": {"topic": "all", "apns": {"headers": {
        "apns-expiration": "0", "apns-priority": "10", "apns-push-type": "background"}}}}));
    let codes: Vec<_> = check_overrides(&faulty, &[]).into_iter().map(|fault| fault.code.as_str()).collect();
    assert_eq!(codes, ["not_overridable", "not_overridable", "bad_header"]);
}

#[test]
fn content_that_apple_devices_can_not_show_is_a_background_push() {
    let headers = |json: Value| message_of(json)["apns"]["headers"].take();
    let background =
        json!({"apns-push-type": "background", "apns-priority": "5", "apns-expiration": "1000003601"});
    let wakes = json!({"aps": {"content-available": 1}});
    let only_android = json!({"fcm": {"android": {"notification": {"title": "T"}}}});
    for json in [
        json!({"apns": {"payload": wakes}}),
        json!({"fcm": {"apns": {"payload": wakes}}}),
        json!({"badge": 1, "fcm": {"apns": {"payload": {"aps": {"badge": null, "content-available": 1}}}}}),
        only_android.clone(),
    ] {
        assert_eq!(headers(json.clone()), background, "{json}");
    }
    for json in [
        json!({"title": "T", "apns": {"payload": wakes}}),
        json!({"badge": 0, "fcm": {"apns": {"payload": wakes}}}),
        json!({"fcm": {"notification": {"title": "T"}, "apns": {"payload": wakes}}}),
        json!({"fcm": {"apns": {"payload": {"aps": {"content-available": 1, "alert": "T"}}}}}),
    ] {
        assert_eq!(headers(json.clone())["apns-push-type"], "alert", "{json}");
    }
    let quiet = message_of(json!({"apns": {"payload": wakes}}));
    assert_eq!(quiet["android"], json!({"priority": "NORMAL", "ttl": "3600s"}));

    let mut urgent = only_android;
    urgent["apns"] = json!({"headers": {"apns-priority": "10"}});
    let faults = check_overrides(&content(urgent), &[]);
    let codes: Vec<_> = faults.iter().map(|fault| (&fault.place, fault.code.as_str())).collect();
    let place = crate::domain::ErrorLocation::Pointer("#/apns/headers/apns-priority".to_owned());
    assert_eq!(codes, [(&place, "bad_header")]);
}

#[test]
fn a_live_activity_is_for_apple_devices_only() {
    let update = json!({"aps": {"timestamp": 1_700_000_000, "event": "update", "content-state": {"eta": 5}}});
    let activity = |more: Value| {
        let mut json = json!({"fcm": {"apns": {"liveActivityToken": "la", "payload": update}}});
        json.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json
    };
    let headers = |push_type: &str, priority: &str| json!({"apns-push-type": push_type, "apns-priority": priority, "apns-expiration": "1000003601"});
    let message = message_of(activity(json!({"collapse_key": "k"})));
    let expected = json!({
        "token": "t", "data": {"pushpost": id().to_string()},
        "webpush": {"headers": {"TTL": "3600", "Urgency": "normal"}},
        "apns": {"headers": headers("liveactivity", "10"), "live_activity_token": "la", "payload": update},
    });
    assert_eq!(message, expected);
    let low = message_of(activity(json!({"priority": "low"})));
    assert_eq!(low["apns"]["headers"], headers("liveactivity", "5"));
    let own =
        message_of(activity(json!({"apns": {"headers": {"apns-collapse-id": "c", "apns-priority": "5"}}})));
    assert_eq!(own["apns"]["headers"]["apns-collapse-id"], "c");
    assert_eq!(own["apns"]["headers"]["apns-priority"], "5");
    let written = message_of(activity(json!({"title": "T", "body": "B"})));
    assert_eq!(written["apns"]["payload"]["aps"]["alert"], json!({"title": "T", "body": "B"}));
    assert!(written.get("notification").is_none() && written.get("android").is_none());
    let asked =
        message_of(json!({"fcm": {"android": {"priority": "HIGH"}, "apns": {"live_activity_token": "la"}}}));
    assert_eq!(asked["android"], json!({"ttl": "3600s", "priority": "HIGH"}));

    // The topic must have the suffix of the push type.
    let topic = |name: &str| {
        let mut json = activity(json!({}));
        json["fcm"]["apns"]["headers"] = json!({"apns-topic": name});
        check_overrides(&content(json), &["com.example.shop".to_owned()]).len()
    };
    assert_eq!(topic("com.example.shop.push-type.liveactivity"), 0);
    assert_eq!(topic("com.example.shop.voip"), 1);

    // The measured size is the size of the data that is sent.
    let prepared = prepare(id(), &content(activity(json!({}))), None);
    let data = json!({"data": {"pushpost": id().to_string()}}).to_string();
    assert_eq!(prepared.size_and_limit().0, data.len());
}
