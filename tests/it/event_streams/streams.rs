//! Clients that stay connected.

use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_testkit::json::hex;
use pushpost_testkit::processes::TestCluster;
use pushpost_testkit::request::ApiRequest;
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use super::client::StreamClient;
use super::{EVENTS, all_after, ids, until_ended};

/// Sends a notification and answers the ids of its events.
async fn told(service: &TestService, key: &str, two: &str) -> Vec<String> {
    let to = json!({"tokens": [{"platform": "apns", "token": hex(two)}]});
    let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
    ids(&until_ended(service, key, &id).await)
}

async fn next_ids(stream: &mut StreamClient, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(stream.event().await.expect("an event"));
    }
    ids(&events)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_sent_events_begin_now_and_go_on_after_the_last_one() {
    let service = TestService::start().await;
    let key = service.key("read").await;
    let before = told(&service, &key, "aa").await;
    let mut stream = StreamClient::sse(service.url(EVENTS), &key, None).await;
    let first = stream.block().await.unwrap();
    assert!((1_000..=5_000).contains(&first.retry.expect("the first line")), "{first:?}");
    let second = told(&service, &key, "bb").await;
    assert_eq!(next_ids(&mut stream, second.len()).await, second, "without those before: {before:?}");
    drop(stream);
    let third = told(&service, &key, "cc").await;
    let mut again = StreamClient::sse(service.url(EVENTS), &key, Some(&second[0])).await;
    let rest = [&second[1..], &third[..]].concat();
    assert_eq!(next_ids(&mut again, rest.len()).await, rest);
    let from_begin = format!("{EVENTS}?after={}", before[0]);
    let mut all = StreamClient::sse(service.url(&from_begin), &key, None).await;
    let rest = [&before[1..], &second[..], &third[..]].concat();
    assert_eq!(next_ids(&mut all, rest.len()).await, rest);
    let fourth = told(&service, &key, "dd").await;
    for stream in [&mut again, &mut all] {
        assert_eq!(next_ids(stream, fourth.len()).await, fourth, "both are at the head now");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_end_at_the_present_or_follow() {
    let service = TestService::start().await;
    let key = service.key("read").await;
    let first = told(&service, &key, "aa").await;
    let lines = |query: &str| {
        StreamClient::open(service.url(&format!("{EVENTS}{query}")), &key, "application/x-ndjson", None)
    };
    let mut ends = lines("").await;
    let mut seen = Vec::new();
    while let Some(event) = ends.json().await {
        seen.push(event);
    }
    assert_eq!(seen, all_after(&service, &key, "", "").await.0);
    let mut follows = lines(&format!("?follow=true&after={}", first.last().unwrap())).await;
    let second = told(&service, &key, "bb").await;
    let mut new = Vec::new();
    for _ in 0..second.len() {
        new.push(follows.json().await.expect("an event"));
    }
    assert_eq!(ids(&new), second);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stream_shows_what_its_filter_lets_pass() {
    let service = TestService::start().await;
    let key = service.key("read").await;
    let url = |query: &str| service.url(&format!("{EVENTS}?{query}"));
    let mut ends = StreamClient::sse(url("type=notification.*"), &key, None).await;
    let mut counts = StreamClient::sse(url("type=delivery.recorded&devices=none"), &key, None).await;
    let all = told(&service, &key, "aa").await;
    let end = ends.event().await.unwrap();
    assert_eq!(
        (end["id"].as_str(), &end["type"]),
        (all.last().map(String::as_str), &json!("notification.done"))
    );
    let recorded = counts.event().await.unwrap();
    assert_eq!((&recorded["data"]["devices"], &recorded["data"]["devices_omitted"]), (&json!([]), &json!(1)));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_ends_its_streams_and_no_other() {
    let service = TestService::start().await;
    let (kept, revoked) = (service.key("read").await, service.key("read").await);
    let mut of_kept = StreamClient::sse(service.url(EVENTS), &kept, None).await;
    let mut of_revoked = StreamClient::sse(service.url(EVENTS), &revoked, None).await;
    let sql = "update api_keys set revoked_at = now() where secret_digest = sha256(convert_to($1, 'UTF8'))";
    let changed = sqlx::query(sql).bind(&revoked).execute(&service.database.pool).await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
    let mut comment = None;
    while let Some(block) = of_revoked.block().await {
        comment = block.comment.or(comment);
    }
    assert_eq!(comment.as_deref(), Some("the key is revoked or has expired"));
    let events = told(&service, &kept, "aa").await;
    assert_eq!(next_ids(&mut of_kept, events.len()).await, events);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_streams_with_a_comment_and_the_client_goes_on_at_another_node() {
    let cluster = TestCluster::create(&[("drain_timeout", "60s")]).await;
    let (mut first, second) =
        (cluster.node(cluster.database.url()).await, cluster.node(cluster.database.url()).await);
    let key = cluster.full_key();
    cluster
        .notify(
            &second,
            &json!({"to": {"tokens": [{"platform": "apns", "token": hex("aa")}]}, "title": "Hi"}),
        )
        .await;
    let url = format!("{EVENTS}?type=notification.*&since=2026-01-01T00:00:00Z");
    let mut stream = StreamClient::sse(first.url(&url), key, None).await;
    let seen = stream.event().await.unwrap();
    // It is never read.
    let unread = super::client::ask(first.url(EVENTS), key, "text/event-stream", None).await;
    let begun = tokio::time::Instant::now();
    first.terminate().await;
    let mut comment = None;
    while let Some(block) = stream.block().await {
        comment = block.comment.or(comment);
    }
    assert_eq!(comment.as_deref(), Some("the node is shutting down"));
    assert!(first.ended().await.success(), "{}", first.end_of_log());
    assert!(begun.elapsed() < Duration::from_secs(50), "the drain waits for no stream");
    drop(unread);
    let id = cluster
        .notify(
            &second,
            &json!({"to": {"tokens": [{"platform": "apns", "token": hex("bb")}]}, "title": "Hi"}),
        )
        .await;
    let mut again = StreamClient::sse(second.url(&url), key, seen["id"].as_str()).await;
    assert_eq!(again.event().await.unwrap()["data"]["notification"], id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_another_node_reach_a_stream() {
    let service = TestService::builder().node(Role::All).node(Role::Api).build().await;
    let key = service.key("read").await;
    let mut stream = StreamClient::sse(service.node_url(1, EVENTS), &key, None).await;
    let events = told(&service, &key, "aa").await;
    assert_eq!(next_ids(&mut stream, events.len()).await, events);
    let pages = ApiRequest::get(EVENTS).key(&key).of_node(&service, 1).await;
    let items: Vec<Value> = pages.body["items"].as_array().unwrap().clone();
    assert_eq!(ids(&items), events);
    service.stop().await;
}
