//! What reaches the phone, where the request leaves Pushpost a choice.

use pushpost::provider::fcm;
use pushpost_testkit::json::{assert_ended, hex};
use serde_json::{Value, json};

use pushpost_testkit::service::{PRODUCTION, TestService};

/// Sends a notification to one FCM token; answers the message that FCM accepted.
async fn message_to(service: &TestService, token: &str, mut body: Value) -> Value {
    body["to"] = json!({"tokens": [{"platform": "fcm", "token": token}]});
    let id = service.notifications().send(body).await;
    assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    service.received(token)[0].body.clone().unwrap()["message"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_title_and_body_an_android_phone_gets_data_only() {
    let service = TestService::start().await;
    let counted = message_to(&service, "f1", json!({"badge": 3, "data": {"k": "v"}})).await;
    assert!(counted.get("notification").is_none(), "{counted}");
    assert!(counted["android"].get("notification").is_none(), "{counted}");
    assert_eq!(counted["apns"]["payload"]["aps"], json!({"badge": 3}));
    assert_eq!(counted["data"]["k"], "v");

    let fcm = json!({"android": {"notification": {"title_loc_key": "NEWS"}}});
    let set = message_to(&service, "f2", json!({"sound": "default", "fcm": fcm})).await;
    assert_eq!(set["android"]["notification"]["title_loc_key"], "NEWS");
    assert_eq!(set["android"]["notification"]["sound"], "default");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_only_wakes_the_app_is_sent_as_a_background_push() {
    let service = TestService::start().await;
    let wakes = json!({"payload": {"aps": {"content-available": 1}}});
    let to = json!({"tokens": [{"platform": "apns", "token": hex("a1")}]});
    let id = service.notifications().send(json!({"to": to, "data": {"sync": true}, "apns": wakes})).await;
    assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    let request = &service.received(&hex("a1"))[0];
    let headers = ["apns-push-type", "apns-priority", "apns-collapse-id"].map(|name| request.header(name));
    assert_eq!(headers, [Some("background"), Some("5"), None]);

    for (token, body) in [("f1", json!({"apns": wakes})), ("f2", json!({"fcm": {"apns": wakes}}))] {
        let message = message_to(&service, token, body).await;
        let headers = &message["apns"]["headers"];
        assert_eq!(
            (&headers["apns-push-type"], &headers["apns-priority"]),
            (&json!("background"), &json!("5"))
        );
        assert_eq!(message["android"]["priority"], "NORMAL");
    }

    let urgent = json!({"headers": {"apns-priority": "10"}, "payload": {"aps": {"content-available": 1}}});
    let to = json!({"tokens": [{"platform": "apns", "token": hex("a1")}]});
    let refused = service.post("/v1/notifications", json!({"to": to, "apns": urgent})).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.body["errors"][0]["pointer"], "#/apns/headers/apns-priority");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_activity_of_an_fcm_token_is_sent_as_one() {
    let service = TestService::start().await;
    let payload =
        json!({"aps": {"timestamp": 1_700_000_000, "event": "update", "content-state": {"eta": 5}}});
    let fcm = json!({"apns": {"live_activity_token": "la-token", "payload": payload,
        "headers": {"apns-topic": "com.example.shop.push-type.liveactivity"}}});
    let message = message_to(&service, "f1", json!({"fcm": fcm})).await;
    let headers = &message["apns"]["headers"];
    assert_eq!(
        (&headers["apns-push-type"], &headers["apns-priority"]),
        (&json!("liveactivity"), &json!("10"))
    );
    assert!(headers.get("apns-collapse-id").is_none(), "{headers}");
    assert_eq!((&message["apns"]["payload"], message.get("android")), (&payload, None));

    // A token without anything to show.
    let to = json!({"tokens": [{"platform": "fcm", "token": "f1"}]});
    let empty = json!({"to": to, "fcm": {"apns": {"live_activity_token": "la-token"}}});
    let refused = service.post("/v1/notifications", empty).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["errors"][0]["code"]),
        (422, &json!("nothing_to_send"))
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_a_notification_has_nothing_for_is_sent_nothing() {
    let service = TestService::start().await;
    let wakes = json!({"aps": {"content-available": 1}});
    let activity =
        json!({"aps": {"timestamp": 1_700_000_000, "event": "update", "content-state": {"eta": 5}}});
    let voip = json!({"headers": {"apns-push-type": "voip"}, "payload": {"call": "7"}});
    for (number, (sent_by, kind, content)) in [
        ("fcm", "alert", json!({"fcm": {"apns": {"live_activity_token": "la-token", "payload": activity}}})),
        ("fcm", "alert", json!({"fcm": {"apns": {"payload": wakes}}})),
        ("apns", "voip", json!({"apns": voip})),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("u{number}");
        for (platform, token) in [("apns", hex(&format!("a{number}"))), ("fcm", format!("f{number}"))] {
            let kind = if platform == "apns" { kind } else { "alert" };
            let device = json!({"platform": platform, "token": token, "kind": kind, "user": user});
            service.devices().register(device).await;
        }
        let mut body = content.clone();
        body["to"] = json!({"users": [user]});
        let id = service.notifications().send(body).await;
        let outcomes = service.notifications().outcomes(&id).await;
        assert_eq!(outcomes.len(), 2, "{content}");
        for outcome in &outcomes {
            match outcome["platform"] == sent_by {
                true => assert_ended(outcome, "accepted", 1, None),
                false => assert_ended(outcome, "rejected", 0, Some("nothing_to_send")),
            }
        }
        let unsent = if sent_by == "fcm" { hex(&format!("a{number}")) } else { format!("f{number}") };
        assert!(service.received(&unsent).is_empty(), "{content}");
        let counts = service.get(&format!("/v1/notifications/{id}")).await.body["counts"].take();
        assert_eq!((&counts["accepted"], &counts["rejected"]), (&json!(1), &json!(1)), "{counts}");
    }
    service.stop().await;
}

const NUMBERS: [&str; 7] =
    ["18446744073709551616", "-9223372036854775809", "1.10", "0.30000000000000000001", "1e+15", "-0.0", "-0"];
/// How serde_json hands on a number: of a client it is an object like any other.
const MEMBER: &str = r#"{"$serde_json::private::Number":"7"}"#;

fn with_number(number: &str) -> String {
    format!(r#"{{"n":{number},"in":[{number}],"as":{MEMBER}}}"#)
}

/// Sends a number wherever a phone may find one; answers the notification's id.
async fn send_number(service: &TestService, number: &str, apns: &str, fcm: &str) -> String {
    let written = with_number(number);
    let text = format!(
        r#"{{"to":{{"tokens":[{{"platform":"apns","token":"{apns}"}},{{"platform":"fcm","token":"{fcm}"}}]}},
            "title":"Hi","metadata":{MEMBER},"data":{{"d":{written}}},"apns":{{"payload":{{"a":{written}}}}},
            "fcm":{{"apns":{{"payload":{{"f":{written}}}}},"webpush":{{"notification":{{"w":{written}}}}}}}}}"#
    );
    let answer = service.post_text("/v1/notifications", text).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn assert_number_arrived(service: &TestService, id: &str, number: &str, apns: &str, fcm: &str) {
    for outcome in service.notifications().outcomes(id).await {
        assert_ended(&outcome, "accepted", 1, None);
    }
    let received = |token: &str| service.received(token)[0].body.clone().unwrap();
    let (apns, fcm) = (received(apns), received(fcm)["message"].take());
    let of_apns = [&apns["d"], &apns["a"]];
    let of_fcm = ["/apns/payload/a", "/apns/payload/f", "/webpush/notification/w"];
    for place in of_apns.into_iter().chain(of_fcm.iter().filter_map(|place| fcm.pointer(place))) {
        assert_eq!(
            (place["n"].to_string(), place["in"].to_string()),
            (number.to_owned(), format!("[{number}]"))
        );
    }
    assert!(of_fcm.iter().all(|place| fcm.pointer(place).is_some()), "{fcm}");
    // The test reads JSON by serde_json too, which takes the object for a number: only texts tell.
    assert_eq!(fcm["data"]["d"], with_number(number));
    let status = service.get_as(&format!("/v1/notifications/{id}"), "application/json").await;
    assert!(status.contains(&format!(r#""metadata":{MEMBER}"#)), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_and_names_reach_the_phone_as_they_were_written() {
    let service = TestService::start().await;
    // From memory; and from the database, because a paused lane gives back its jobs.
    for (way, lanes) in [("a", &[][..]), ("b", &[PRODUCTION, fcm::LANE])] {
        for lane in lanes {
            service.lanes().pause(*lane).await;
        }
        let mut sent = Vec::new();
        for (count, number) in NUMBERS.into_iter().enumerate() {
            let (apns, fcm) = (hex(&format!("{way}{count}")), format!("{way}{count}"));
            let id = send_number(&service, number, &apns, &fcm).await;
            sent.push((id, number, apns, fcm));
        }
        for lane in lanes {
            service.lanes().resume(*lane).await;
        }
        for (id, number, apns, fcm) in sent {
            assert_number_arrived(&service, &id, number, &apns, &fcm).await;
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn null_in_data_reaches_no_android_phone_and_every_message_has_its_part_for_browsers() {
    let service = TestService::start().await;
    let body = json!({"title": "Hi", "ttl": "1h", "priority": "high", "url": "https://example.com/orders",
        "data": {"gone": null, "kept": [null]}});
    let message = message_to(&service, "f1", body).await;
    assert!(message["data"].get("gone").is_none(), "{message}");
    assert_eq!(message["data"]["kept"], "[null]");
    let ttl = message["android"]["ttl"].as_str().unwrap().strip_suffix('s').unwrap();
    let expected = json!({"headers": {"TTL": ttl, "Urgency": "high"},
        "notification": {"tag": message["data"]["pushpost"]}, "fcm_options": {"link": "https://example.com/orders"}});
    assert_eq!(message["webpush"], expected);
    let silent = message_to(&service, "f2", json!({"silent": true})).await;
    assert!(
        silent["webpush"]["headers"]["TTL"].is_string() && silent["webpush"].get("notification").is_none()
    );
    service.stop().await;
}
