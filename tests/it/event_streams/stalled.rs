//! A client that keeps its connection and takes nothing loses its stream, so that a place becomes free.

use std::time::Duration;

use pushpost::events::streams::StreamLimits;
use pushpost_testkit::api::TestApi;
use pushpost_testkit::wait::until;

use super::EVENTS;
use super::client::ask;

/// More than the buffers of both ends of a socket hold.
const LOG: &str = "
    insert into event_log (position, app_id, kind, at, notifications, receipts, devices, fact)
    select g, (select app_id from apps where name = 'shop'), 11, now(), '{}', '{}', '{}',
           convert_to(json_build_object('node', g, 'name', repeat('x', 4000), 'version', '0.1.0')::text, 'UTF8')
    from generate_series(1, 10000) g;
    update event_head set position = 10000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_takes_nothing_is_cut_and_its_place_is_free() {
    let limits = StreamLimits { per_node: 1, per_key: 1, stall_max: Duration::from_millis(500) };
    let (service, address) = TestApi::listen(limits).await;
    service.database.execute(LOG).await;
    let key = service.database.create_key("shop", "admin").await;
    let url = format!("http://{address}{EVENTS}?since=2026-01-01T00:00:00Z");
    let mut stalled = ask(url.clone(), &key, "application/x-ndjson", None).await;
    assert_eq!(stalled.status(), 200);
    assert_eq!(
        ask(url.clone(), &key, "application/x-ndjson", None).await.status(),
        503,
        "the only place is taken"
    );
    until("the place of the stalled stream is free", async || {
        ask(url.clone(), &key, "application/x-ndjson", None).await.status() == 200
    })
    .await;
    let mut bytes = 0;
    let ended = loop {
        match stalled.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => break "as if it were whole",
            Err(_) => break "cut off",
        }
    };
    assert_eq!(ended, "cut off", "after {bytes} bytes");
    assert!(bytes < 10_000 * 4_000, "the client got all of it");
}
