//! `/v1/events`: pages, lines and server-sent events of the log.

mod bounds;
mod cli;
pub(crate) mod client;
mod pages;
mod places;
mod stalled;
mod streams;

use std::time::Duration;

use chrono::DateTime;
use http::Method;
use pushpost::domain::{AppId, DeviceId, FactKind, NodeFact, QuarantineCause, QuarantineFact};
use pushpost::store::events::{NewFact, append};
use pushpost_testkit::request::ApiRequest;
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::{POLL_INTERVAL, WAIT_MAX};
use serde_json::Value;
use tokio::time::{Instant, sleep};

const EVENTS: &str = "/v1/events";

/// One page of events.
async fn page(service: &TestService, key: &str, query: &str) -> Value {
    let answer = ApiRequest::new(Method::GET, &format!("{EVENTS}?{query}")).key(key).of(service).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// All events behind a place until now, with the cursor behind them.
pub(crate) async fn all_after(
    service: &TestService,
    key: &str,
    filter: &str,
    begin: &str,
) -> (Vec<Value>, String) {
    let (mut events, mut begin) = (Vec::new(), begin.to_owned());
    loop {
        let page = page(service, key, &format!("{filter}{begin}")).await;
        events.extend(page["items"].as_array().unwrap().iter().cloned());
        let cursor = page["next_cursor"].as_str().unwrap().to_owned();
        if page["has_more"] == false {
            return (events, cursor);
        }
        begin = format!("&cursor={cursor}");
    }
}

/// All events of the filter, as soon as they are as wanted.
pub(crate) async fn until_events(
    service: &TestService,
    key: &str,
    filter: &str,
    is_wanted: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let (events, _) = all_after(service, key, filter, "").await;
        if is_wanted(&events) {
            return events;
        }
        assert!(begun.elapsed() < WAIT_MAX, "in vain: {events:?}");
        sleep(POLL_INTERVAL.max(Duration::from_millis(100))).await;
    }
}

/// The events about a notification, as soon as it has ended in the log.
pub(crate) async fn until_ended(service: &TestService, key: &str, id: &str) -> Vec<Value> {
    let has_end = |events: &[Value]| types(events).iter().any(|each| each.starts_with("notification."));
    until_events(service, key, &format!("notification={id}"), has_end).await
}

/// Tells the log of `shop` a fact, as the part of the service does that finds it.
async fn tell(service: &TestService, kind: FactKind, devices: &[DeviceId], fact: impl serde::Serialize) {
    let mut conn = service.database.pool.acquire().await.unwrap();
    let app =
        sqlx::query_scalar("select app_id from apps where name = 'shop'").fetch_one(&mut conn).await.unwrap();
    append(&mut conn, NewFact { app: AppId(app), kind, devices, fact }).await.unwrap();
}

async fn tell_of_node(service: &TestService) {
    let fact = NodeFact { node: 7, name: "push-1-4711".to_owned(), version: "0.1.0".to_owned() };
    tell(service, FactKind::NodeStarted, &[], fact).await;
}

/// As the pruner tells of an APNs device that it quarantined.
async fn tell_of_quarantine(service: &TestService, token: &str) {
    let sql = "select d.device_id, lane_id from devices d join lanes l using (app_id) where token = $1 and l.platform = d.platform
               and l.environment = d.environment";
    let (device, lane): (i64, i32) =
        sqlx::query_as(sql).bind(token).fetch_one(&service.database.pool).await.unwrap();
    let fact = QuarantineFact {
        cause: QuarantineCause::Provider,
        lane: Some(lane),
        run: None,
        reasons: vec!["Unregistered".to_owned()],
        evidence_at: vec![Some(DateTime::UNIX_EPOCH)],
    };
    tell(service, FactKind::Quarantined, &[DeviceId(device)], fact).await;
}

pub(crate) fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn ids(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}
