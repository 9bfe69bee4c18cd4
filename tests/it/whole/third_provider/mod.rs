//! A provider that is not built in goes through the whole service. Nothing outside this folder names it: the service
//! takes it from the list of providers that it is started with.

mod beacon;
mod origin;

use http::Method;
use pushpost::domain::LaneKey;
use pushpost::runtime::Role;
use pushpost_testkit::installation::CONFIG;
use pushpost_testkit::json::{assert_ended, assert_has, assert_problem, of, text};
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use self::beacon::{Beacon, NAMED, NUMBERED, PLATFORM, seal};
use self::origin::{Certificate, Origin, Received};

/// A service with the provider, and three origins: two of the lane `beacon-named`, one of `beacon-numbered`.
async fn start() -> (TestService, [Origin; 3]) {
    let certificate = Certificate::generate();
    let origins = [
        Origin::start("localhost", &certificate).await,
        Origin::start("localhost", &certificate).await,
        Origin::start("127.0.0.1", &certificate).await,
    ];
    let mut service = TestService::builder().provider(&Beacon).build().await;
    service.write("beacon-ca.pem", &certificate.ca_pem);
    let (config, urls) = (service.read(CONFIG), origins.each_ref().map(|origin| &origin.url));
    let section = format!("[apps.shop.beacon]\norigins = {urls:?}\nca_file = \"beacon-ca.pem\"\n");
    service.write(CONFIG, &format!("{config}\n{section}"));
    service.node(Role::All).await;
    (service, origins)
}

fn token(origin: &Origin, name: &str) -> Value {
    json!({"endpoint": format!("{}/{name}", origin.url), "key": format!("key{name}")})
}

fn device(origin: &Origin, name: &str) -> Value {
    json!({"platform": "beacon", "token": token(origin, name), "user": "u7"})
}

/// What an origin receives for a target: the message and the seal that only this target has.
fn received(name: &str, message: &str) -> Received {
    let body = json!({"message": message, "seal": seal(&format!("key{name}"), message)});
    Received { path: format!("/{name}"), body }
}

async fn assert_accepted(service: &TestService, id: &str, devices: usize) -> Vec<Value> {
    let outcomes = service.notifications().outcomes(id).await;
    assert_eq!(outcomes.len(), devices, "{outcomes:?}");
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_target_gets_a_message_of_its_own_at_its_own_origin() {
    let (service, origins) = start().await;
    for (origin, name) in origins.iter().zip(["a", "b", "c"]) {
        service.devices().register(device(origin, name)).await;
    }
    let one = json!({"to": {"users": ["u7"]}, "title": "One", "beacon": {"color": "red"}});
    let outcomes = assert_accepted(&service, &service.notifications().send(one).await, 3).await;
    let in_lane = |name: &str| outcomes.iter().filter(|one| one["environment"] == name).count();
    assert_eq!((in_lane("named"), in_lane("numbered")), (2, 1));

    let all = json!({"to": {"all": true, "platforms": ["beacon"]}, "title": "Two"});
    assert_accepted(&service, &service.notifications().send(all).await, 3).await;

    let addressed = |origin: usize, name: &str| json!({"platform": "beacon", "token": token(&origins[origin], name), "ref": name});
    let tokens = json!({"tokens": [addressed(0, "new"), addressed(2, "c")]});
    let three = service.notifications().send(json!({"to": tokens, "title": "Three"})).await;
    let outcomes = assert_accepted(&service, &three, 2).await;
    assert_eq!(of(&outcomes, "ref", "new")["environment"], "named");

    let (one, two, three) =
        (r#"{"title":"One","color":"red"}"#, r#"{"title":"Two"}"#, r#"{"title":"Three"}"#);
    assert_eq!(origins[0].received(), [received("a", one), received("a", two), received("new", three)]);
    assert_eq!(origins[1].received(), [received("b", one), received("b", two)]);
    assert_eq!(origins[2].received(), [received("c", one), received("c", two), received("c", three)]);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_part_of_a_request_is_checked_and_stored_until_its_lane_sends() {
    let (service, origins) = start().await;
    let named = LaneKey::new(PLATFORM, Some(NAMED));
    service.lanes().pause(named).await;
    let to = json!({"tokens": [{"platform": "beacon", "token": token(&origins[1], "b")}]});
    let id =
        service.notifications().send(json!({"to": to, "title": "Hi", "beacon": {"color": "blue"}})).await;
    service.lanes().resume(named).await;
    assert_accepted(&service, &id, 1).await;
    assert_eq!(origins[1].received(), [received("b", r#"{"title":"Hi","color":"blue"}"#)]);

    let loud = json!({"to": to, "title": "Hi", "beacon": {"volume": 11}});
    let expected = json!([{"pointer": "#/beacon/volume", "code": "not_overridable"}]);
    assert_problem(&service.post("/v1/notifications", loud).await, 422, "unprocessable", &expected);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_gone_is_pruned_and_its_lane_goes_on() {
    let (service, origins) = start().await;
    let gone = service.devices().register(device(&origins[0], "a")).await;
    service.devices().register(device(&origins[1], "b")).await;
    origins[0].remove("/a");
    let hi = json!({"to": {"users": ["u7"]}, "title": "Hi"});
    let outcomes = service.notifications().outcomes(&service.notifications().send(hi.clone()).await).await;
    assert_ended(of(&outcomes, "device", &gone), "token_dead", 1, Some("Gone"));
    service.database.until_count("select count(*) from devices where quarantined_at is not null", 1).await;
    let shown = service.get(&format!("/v1/devices/{gone}")).await.body;
    assert_has(&shown, &json!({"status": "quarantined", "quarantine": {"reason": "Gone"}}));
    assert_accepted(&service, &service.notifications().send(hi).await, 1).await;
    assert_eq!((origins[0].received().len(), origins[1].received().len()), (0, 2));
    let lane = service.lanes().get(LaneKey::new(PLATFORM, Some(NAMED))).await;
    assert_has(&lane, &json!({"lane": "beacon-named", "platform": "beacon", "environment": "named"}));
    service.lanes().until_state(LaneKey::new(PLATFORM, Some(NUMBERED)), "running").await;
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_replaces_another_is_sent_to_at_its_own_origin() {
    let (service, origins) = start().await;
    service.devices().register(device(&origins[0], "a")).await;
    let mut moved = json!({"platform": "beacon", "token": token(&origins[2], "c")});
    moved["replaces"] = token(&origins[0], "a");
    let answer = service.put("/v1/devices", moved).await;
    assert_has(&answer.body, &json!({"environment": "numbered", "user": "u7"}));
    assert_eq!(answer.body.get("ignored"), None);
    let shown = json!({"tokens": [{"platform": "beacon", "token": answer.body["token"]}]});
    let found = service.post("/v1/devices/lookup", shown).await.body;
    assert_eq!(found["items"][0]["id"], answer.body["id"], "the token as an answer shows it");
    let id = service.notifications().send(json!({"to": {"users": ["u7"]}, "title": "Hi"})).await;
    assert_accepted(&service, &id, 1).await;
    assert_eq!(origins[0].received(), []);
    assert_eq!(origins[2].received(), [received("c", r#"{"title":"Hi"}"#)]);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_in_no_document_and_a_service_without_it_knows_nothing_of_it() {
    let (service, _origins) = start().await;
    let document = service.by_admin(Method::GET, "/openapi.json").await;
    assert!(document.body["paths"].is_object() && !document.body.to_string().contains("beacon"));
    let example = include_str!("../../../../config.example.toml");
    assert!(example.contains("[apps.shop.fcm]") && !example.contains("beacon"));
    service.stop_undecided().await;

    let without = TestService::start().await;
    let supported = json!(["apns", "fcm"]);
    let expected = json!([{"pointer": "#/platform", "code": "unsupported_platform", "supported": supported}]);
    let refused = without.put("/v1/devices", json!({"platform": "beacon", "token": "b"})).await;
    assert_problem(&refused, 422, "unprocessable", &expected);
    let with_part = json!({"to": {"users": ["u7"]}, "title": "Hi", "beacon": {"color": "red"}});
    let expected = json!([{"pointer": "#/beacon", "code": "unknown_field"}]);
    assert_problem(&without.post("/v1/notifications", with_part).await, 400, "invalid_request", &expected);
    let lanes = without.by_admin(Method::GET, "/v1/admin/lanes").await.body;
    let names = lanes["items"].as_array().unwrap().iter().map(|lane| text(&lane["lane"]));
    assert_eq!(names.collect::<Vec<_>>(), ["apns-production", "apns-sandbox", "fcm"]);
    without.stop().await;
}
