//! How many streams there may be, and what clients cost that read nothing.

use pushpost_testkit::json::hex;
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::EVENTS;
use super::client::{StreamClient, ask};
use super::until_ended;

const PER_NODE: usize = 200;
const PER_KEY: usize = 10;

async fn open_streams(service: &TestService) -> f64 {
    service.scrape(0).await.sum("pushpost_event_streams{")
}

/// Opens streams that nothing is read from; answers those that were served, and the problems of the others.
async fn open(service: &TestService, keys: &[String], each: usize) -> (Vec<Response>, Vec<Value>) {
    let mut asking = JoinSet::new();
    for key in keys {
        for number in 0..each {
            let accept = if number % 2 == 0 { "text/event-stream" } else { "application/x-ndjson" };
            let (url, key) =
                (service.url(&format!("{EVENTS}?follow=true&since=2026-01-01T00:00:00Z")), key.clone());
            asking.spawn(async move { ask(url, &key, accept, None).await });
        }
    }
    let (mut served, mut refused) = (Vec::new(), Vec::new());
    while let Some(answer) = asking.join_next().await {
        let answer = answer.unwrap();
        if answer.status() == 200 {
            served.push(answer);
            continue;
        }
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "5");
        refused.push(answer.json().await.unwrap());
    }
    (served, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_that_read_nothing_get_so_many_streams_and_harm_none() {
    let service = TestService::start().await;
    let reader = service.key("read").await;
    let mut keys = Vec::new();
    for _ in 0..PER_NODE / PER_KEY + 5 {
        keys.push(service.key("read").await);
    }
    let (of_one, refused) = open(&service, &keys[..1], PER_KEY + 5).await;
    assert_eq!((of_one.len(), refused.len()), (PER_KEY, 5));
    assert!(
        refused.iter().all(|problem| problem["code"] == "too_many_streams" && problem["per"] == "key"),
        "{refused:?}"
    );
    assert_eq!(open_streams(&service).await, PER_KEY as f64);
    drop(of_one);
    until("the streams are gone", async || open_streams(&service).await == 0.0).await;

    let mut stream = StreamClient::sse(service.url(EVENTS), &reader, None).await;
    let (served, refused) = open(&service, &keys, 40).await;
    assert_eq!((served.len() + refused.len(), served.len()), (keys.len() * 40, PER_NODE - 1));
    assert!(
        refused.iter().any(|problem| problem["per"] == "node" && problem["limit"] == PER_NODE),
        "{refused:?}"
    );
    let mut last = String::new();
    for number in 0..20 {
        let tokens: Vec<_> =
            (0..50).map(|two| json!({"platform": "fcm", "token": format!("t-{number}-{two}"), "ref": "x".repeat(100)})).collect();
        last = service.notifications().send(json!({"to": {"tokens": tokens}, "title": "Hi"})).await;
    }
    until_ended(&service, &reader, &last).await;
    let mut ends = 0;
    while ends < 20 {
        let event = stream.event().await.expect("the reader is served");
        ends += usize::from(event["type"] == "notification.done");
    }
    assert_eq!(open_streams(&service).await, PER_NODE as f64);
    drop((served, stream));
    until("the streams are gone", async || open_streams(&service).await == 0.0).await;
    assert_eq!(
        service.get(&format!("/v1/devices?limit=1&platform=apns&user={}", hex("a"))).await.status,
        200
    );
    service.stop().await;
}
