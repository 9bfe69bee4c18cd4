//! Readers that follow the log share what they read.

use pushpost_testkit::webhook_receiver::WebhookReceiver;

use super::nodes::{cluster, hello};
use super::{done, webhooks};
use crate::event_streams::client::StreamClient;

const NOTIFICATIONS: usize = 30;
/// A receipt is looked up when its event is made, and once more to know whether it alone tells the end. Nothing else looks receipts up here.
const LOOKED_UP: &str = "select coalesce(sum(idx_scan), 0)::bigint from pg_stat_user_indexes
                         where relname like 'receipts\\_%' and indexrelname like '%\\_pkey'";
/// A session tells its statistics when it ends, at the latest.
const SESSIONS: &str = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'pushpost'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_webhooks_and_a_stream_read_what_one_reader_does() {
    let (one, two) = (WebhookReceiver::start().await, WebhookReceiver::start().await);
    let setting = webhooks(&[("one", &one.url(), ""), ("two", &two.url(), ", batch_max=7")]);
    let cluster = cluster(&setting).await;
    let mut node = cluster.node(cluster.database.url()).await;
    let url = node.url("/v1/events?follow=true&type=notification.done");
    let mut stream = StreamClient::open(url, cluster.full_key(), "application/x-ndjson", None).await;
    for number in 0..NOTIFICATIONS {
        cluster.notify(&node, &hello(number)).await;
    }
    for receiver in [&one, &two] {
        receiver.until("all ends", |all| done(all).len() == NOTIFICATIONS).await;
    }
    for _ in 0..NOTIFICATIONS {
        assert!(stream.json().await.is_some());
    }
    drop(stream);
    node.kill().await;
    cluster.database.until_count(SESSIONS, 0).await;
    let looked_up = cluster.database.count(LOOKED_UP).await;
    let receipts = cluster.database.count("select count(*) from receipts").await;
    let most = 2 * (receipts + i64::try_from(NOTIFICATIONS).unwrap());
    assert!((receipts..most).contains(&looked_up), "{looked_up} look-ups of {receipts} receipts");
}
