//! The sender's own words for tokens, in deliveries and timelines.

use http::Method;
use serde_json::json;

use pushpost_testkit::json::{assert_has, hex, of};
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND};
use pushpost_testkit::service::{TestService, sent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_one_device_are_one_target_with_each_ref() {
    let service = TestService::start().await;
    let s = service.key("send,devices").await;
    let put = json!({"platform": "fcm", "token": "f1", "user": "u1"});
    let known = ApiRequest::put(DEVICES, &put).key(&s).of(&service).await.body;
    let apns =
        |two: &str, reference: Option<&str>| json!({"platform": "apns", "token": hex(two), "ref": reference});
    let fcm = |token: &str, reference: &str| json!({"platform": "fcm", "token": token, "ref": reference});
    let body = json!({"title": "Hi", "to": {
        "devices": [known["id"]],
        "users": ["u1"],
        "tokens": [apns("aa", Some("row-1")), fcm("f1", "row-4"), apns("AA", Some("row-2")), apns("bb", None), apns("aA", None),
                   apns("aa", Some("row-1")), fcm("F1", "")],
    }});
    let id = service.notifications().send(body).await;
    let deliveries = service.notifications().outcomes(&id).await;
    assert_eq!(deliveries.len(), 4, "{deliveries:?}");
    let twice = of(&deliveries, "ref", "row-1");
    assert_has(
        twice,
        &json!({"refs": ["row-1", "row-2"], "platform": "apns", "user": null, "status": "accepted"}),
    );
    assert_has(
        of(&deliveries, "ref", "row-4"),
        &json!({"refs": ["row-4"], "device": known["id"], "user": null}),
    );
    assert_has(of(&deliveries, "ref", ""), &json!({"refs": [""], "platform": "fcm"}));
    let unnamed = deliveries.iter().find(|delivery| delivery["ref"].is_null()).unwrap();
    assert_has(unnamed, &json!({"refs": [], "platform": "apns"}));
    assert_eq!(sent(&service.ledger()).len(), 4);

    let timeline = format!("{DEVICES}/{}/deliveries", twice["device"].as_str().unwrap());
    let timeline = ApiRequest::new(Method::GET, &timeline).key(&s).of(&service).await.body;
    assert_has(&timeline["items"][0], &json!({"ref": "row-1", "refs": ["row-1", "row-2"]}));
    let page = ApiRequest::get(&format!("{SEND}/{id}/deliveries?limit=2")).key(&s).of(&service).await.body;
    assert!(page["items"].as_array().unwrap().iter().all(|delivery| delivery["refs"].is_array()), "{page}");
    service.stop().await;
}
