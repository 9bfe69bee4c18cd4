//! The live stream: figures that are read once for all views, and events of the log.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::{assert_has, hex};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until;
use serde_json::{Value, json};

use super::Browser;
use crate::event_streams::client::{Block, StreamClient};

pub(super) async fn view(browser: &Browser, last: Option<&str>) -> StreamClient {
    let answer = browser.look("shop", last).await;
    assert!(answer.headers().contains_key("content-security-policy"));
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    StreamClient::read(answer, "text/event-stream").await
}

/// The next block of this name; others are passed.
async fn next(stream: &mut StreamClient, name: &str) -> Block {
    loop {
        let block = stream.block().await.expect("the stream goes on");
        if block.event.as_deref() == Some(name) {
            return block;
        }
    }
}

/// The data of snapshots, until one is as wanted.
pub(super) async fn until_snapshot(stream: &mut StreamClient, is_wanted: impl Fn(&Value) -> bool) -> Value {
    loop {
        let block = next(stream, "snapshot").await;
        assert_eq!(block.id, None, "only events have ids");
        let data = block.data.unwrap();
        if is_wanted(&data) {
            return data;
        }
    }
}

fn lane<'a>(snapshot: &'a Value, name: &str) -> &'a Value {
    snapshot["lanes"].as_array().unwrap().iter().find(|lane| lane["lane"] == name).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_has_figures_at_once_and_events_as_they_come() {
    let service = TestService::start().await;
    let browser = Browser::with_key(&service, &service.key("admin").await).await;
    let mut stream = view(&browser, None).await;
    let running = |snapshot: &Value| lane(snapshot, "fcm")["state"] == "running";
    let snapshot = until_snapshot(&mut stream, running).await;
    assert_has(
        &snapshot["objective"],
        &json!({"percent": 99, "seconds": 5, "last_hour": null, "last_day": null, "until": "<time>"}),
    );
    assert_eq!(snapshot["needs"], json!([]));
    assert_eq!(snapshot["events_off"], false);
    assert_eq!(snapshot["nodes"].as_array().unwrap().len(), 1);
    let fcm = lane(&snapshot, "fcm");
    assert!(fcm["in_flight_max"].as_i64().is_some_and(|max| max > 0), "{fcm}");
    assert!(fcm["credential"]["id"].is_string(), "{fcm}");
    // The item is as the API has it, and more.
    let of_api = service.by_admin(Method::GET, "/v1/admin/lanes").await.body["items"][0].clone();
    let of_view = lane(&snapshot, of_api["lane"].as_str().unwrap());
    for name in of_api.as_object().unwrap().keys() {
        assert!(of_view.as_object().unwrap().contains_key(name), "{name}");
    }

    let paused = browser.post("/dashboard/api/admin/lanes/fcm/pause").await;
    assert_eq!(paused.status, 200);
    let paused = until_snapshot(&mut stream, |snapshot| lane(snapshot, "fcm")["state"] == "paused").await;
    let action =
        "Resume the lane: press Resume, or run pushpost queue resume fcm (docs/runbook.md#lane-paused)";
    assert_has(
        &paused["needs"],
        &json!([{"state": "paused", "about": "fcm", "page": "lanes/fcm", "since": "<time>", "reason": null,
                 "text": "An operator has paused the lane.", "devices": null, "action": action}]),
    );

    let to = json!({"tokens": [{"platform": "apns", "token": hex("aa")}]});
    let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
    let done = next(&mut stream, "notification.done").await;
    assert_eq!(done.data.unwrap()["data"]["notification"], id.as_str());
    drop(stream);

    // A page that connects again goes on after the last event.
    let second = service
        .notifications()
        .send(json!({"to": {"tokens": [{"platform": "apns", "token": hex("bb")}]}, "title": "Hi"}))
        .await;
    service.notifications().until_done(&second).await;
    let mut again = view(&browser, done.id.as_deref()).await;
    let event = next(&mut again, "notification.done").await.data.unwrap();
    assert_eq!(event["data"]["notification"], second.as_str());
    let after = format!("shop&after={}", done.id.as_deref().unwrap());
    let mut reopened = StreamClient::read(browser.look(&after, None).await, "text/event-stream").await;
    assert_eq!(next(&mut reopened, "notification.done").await.data.unwrap(), event);
    // A place that is none is no reason to end for ever.
    for mut lost in [
        view(&browser, Some("evt_0")).await,
        StreamClient::read(browser.look("shop&after=evt_0", None).await, "text/event-stream").await,
    ] {
        until_snapshot(&mut lost, |_| true).await;
    }
    service.post("/v1/admin/lanes/fcm/resume", json!({})).await;
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_no_credential_and_no_events_of_admins() {
    let service = TestService::start().await;
    let admin = Browser::with_key(&service, &service.key("admin").await).await;
    let reader = Browser::with_key(&service, &service.key("read").await).await;
    let mut stream = view(&reader, None).await;
    let snapshot = until_snapshot(&mut stream, |snapshot| lane(snapshot, "fcm")["state"] == "running").await;
    for lane in snapshot["lanes"].as_array().unwrap() {
        assert_eq!(lane["credential"], Value::Null);
    }
    assert_eq!(admin.post("/dashboard/api/admin/lanes/fcm/pause").await.status, 200);
    assert_eq!(admin.post("/dashboard/api/admin/lanes/fcm/resume").await.status, 200);
    let to = json!({"tokens": [{"platform": "apns", "token": hex("aa")}]});
    service.notifications().send(json!({"to": to, "title": "Hi"})).await;
    loop {
        let block = stream.block().await.unwrap();
        let name = block.event.unwrap_or_default();
        assert!(!name.starts_with("lane.") && !name.starts_with("admin."), "{name}");
        let text = block.data.unwrap_or_default().to_string();
        assert!(!text.contains(&hex("aa")), "{text}");
        if name == "notification.done" {
            break;
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_read_once_however_many_look() {
    let service = TestService::start().await;
    let mut browsers = Vec::new();
    let keys = [service.key("admin").await, service.key("read").await];
    for key in &keys {
        browsers.push(Browser::with_key(&service, key).await);
    }
    let asked = async || service.scrape(0).await.value("pushpost_postgres_seconds_count{pool=\"observe\"}");
    let mut first = view(&browsers[0], None).await;
    until_snapshot(&mut first, |_| true).await;
    let before = asked().await;
    let snapshots = 3;
    for _ in 0..snapshots {
        until_snapshot(&mut first, |_| true).await;
    }
    let of_one = asked().await - before;

    let mut views = Vec::new();
    for number in 0..18 {
        views.push(view(&browsers[number % 2], None).await);
    }
    for view in &mut views {
        until_snapshot(view, |_| true).await;
    }
    until_snapshot(&mut first, |_| true).await;
    let before = asked().await;
    let mut at = Vec::new();
    for _ in 0..snapshots {
        at.push(until_snapshot(&mut first, |_| true).await["at"].clone());
    }
    let of_many = asked().await - before;
    // The end of the log is asked for all the same, and the leader's figures may fall into either time.
    assert!(of_many <= 2.0 * of_one + 20.0, "{of_one} statements for one view, {of_many} for 19");
    // All show the same moments.
    for view in &mut views {
        until_snapshot(view, |snapshot| snapshot["at"] == at[snapshots - 1]).await;
    }
    // As many as a key may have are there; one more is refused.
    let ninth = browsers[1].look("shop", None).await;
    assert_eq!(ninth.status(), 200);
    let refused = browsers[0].look("shop", None).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (503, "5"));
    drop((views, first, ninth));
    until("the views are gone", async || service.scrape(0).await.sum("pushpost_event_streams{") == 0.0).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_ends_with_its_key_and_with_the_node() {
    let service = TestService::builder().node(Role::Api).node(Role::Api).build().await;
    let browser = Browser::with_key(&service, &service.key("read").await).await;
    let mut stream = view(&browser, None).await;
    until_snapshot(&mut stream, |_| true).await;
    service.database.execute("update api_keys set revoked_at = now() where scopes = 2").await;
    let mut last = Block::default();
    while let Some(block) = stream.block().await {
        last = block;
    }
    assert_eq!(last.comment.as_deref(), Some("the key is revoked or has expired"));
    // The key was looked up less than 10 s ago, so that calls may be answered for as long.
    until("views are refused", async || browser.look("shop", None).await.status() == 401).await;

    let browser = Browser::with_key(&service, &service.key("read").await).await;
    let mut stream = view(&browser, None).await;
    until_snapshot(&mut stream, |_| true).await;
    service.drain_node(0);
    while let Some(block) = stream.block().await {
        last = block;
    }
    assert_eq!(last.comment.as_deref(), Some("the node is shutting down"));
    let mut elsewhere = Browser::at(service.node_url(1, ""));
    elsewhere.cookie = browser.cookie.clone();
    until_snapshot(&mut view(&elsewhere, None).await, |_| true).await;
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_event_log_figures_are_shown_all_the_same() {
    let service = TestService::builder().config("RETENTION__EVENTS", "0s").node(Role::All).build().await;
    let browser = Browser::with_key(&service, &service.key("read").await).await;
    assert_eq!(browser.get("/dashboard/api/events").await.body["code"], "events_off");
    let mut stream = view(&browser, None).await;
    let snapshot = until_snapshot(&mut stream, |_| true).await;
    assert_eq!(snapshot["events_off"], true);
    service.database.execute("update api_keys set revoked_at = now() where scopes = 2").await;
    while stream.block().await.is_some() {}
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_needs_a_session_and_takes_no_other_parameters() {
    let service = TestService::start().await;
    let key = service.key("admin").await;
    let stranger = Browser::of(&service);
    assert_eq!(stranger.get("/dashboard/api/live").await.status, 401);
    let bearer = format!("Bearer {key}");
    assert_eq!(stranger.sends("authorization", &bearer).get("/dashboard/api/live").await.status, 401);
    let browser = Browser::with_key(&service, &key).await;
    assert_eq!(browser.get("/dashboard/api/live?app=other").await.status, 401);
    assert_eq!(browser.get("/dashboard/api/live?apps=shop").await.status, 400);
    assert_eq!(browser.post("/dashboard/api/live").await.status, 405);
    assert_eq!(browser.get("/v1/live").await.status, 404);
    service.stop().await;
}
