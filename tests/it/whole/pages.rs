//! Reading deliveries in pages and as a stream.

use pushpost::provider::fcm;
use pushpost_testkit::json::{apns_targets, fcm_targets, text};
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, Rule};
use serde_json::{Value, json};

use pushpost_testkit::service::{PRODUCTION, TestService};
use pushpost_testkit::wait::until;

const EACH: usize = 150;

fn message() -> Value {
    let mut targets = apns_targets("a", EACH);
    targets.extend(fcm_targets("f", EACH));
    for (number, target) in targets.iter_mut().enumerate() {
        target["ref"] = json!(format!("row-{number}"));
    }
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

/// A page, and where the next one begins.
async fn page(service: &TestService, id: &str, query: &str, cursor: &Value) -> (Vec<Value>, Value) {
    let cursor = cursor.as_str().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let answer = service.get(&format!("/v1/notifications/{id}/deliveries?{query}{cursor}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    (answer.body["items"].as_array().unwrap().clone(), answer.body["next_cursor"].clone())
}

async fn all_pages(service: &TestService, id: &str, query: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let (items, next) = page(service, id, &format!("limit={limit}{query}"), &cursor).await;
        assert!(items.len() <= limit);
        found.extend(items);
        if next.is_null() {
            return found;
        }
        cursor = next;
    }
}

fn refs(items: &[Value]) -> BTreeSet<String> {
    items.iter().map(|item| text(&item["ref"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_any_size_and_the_stream_have_each_device_once() {
    let service = TestService::start().await;
    let fault = Action::fcm(FcmFault::Unavailable);
    service.rule(
        Rule { share: Some(0.3), action: fault, ..Rule::prefix("f", Action::Accept) }.times_per_token(1),
    );
    service.rule(Rule::prefix("f1", Action::fcm(FcmFault::InvalidArgument)));
    let id = service.notifications().send(message()).await;
    service.notifications().until_done(&id).await;
    for limit in [1, 37, 100, 299, 300, 1000] {
        let found = all_pages(&service, &id, "", limit).await;
        assert_eq!((found.len(), refs(&found).len()), (2 * EACH, 2 * EACH), "limit {limit}");
    }
    let stream = service.notifications().deliveries(&id).await;
    assert_eq!((stream.len(), refs(&stream).len()), (2 * EACH, 2 * EACH));
    assert_eq!(stream, all_pages(&service, &id, "", 37).await);

    let rejected = all_pages(&service, &id, "&status=rejected", 10).await;
    let expected = (0..EACH).filter(|i| i.to_string().starts_with('1')).count();
    assert!(rejected.iter().all(|item| item["status"] == "rejected"));
    assert_eq!(refs(&rejected).len(), expected);
    let accepted = all_pages(&service, &id, "&status=accepted", 10).await;
    assert_eq!(refs(&accepted).len(), 2 * EACH - expected);
    assert!(refs(&accepted).is_disjoint(&refs(&rejected)));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paging_while_sending_misses_no_device() {
    let mut service = TestService::builder().build().await;
    service.lanes().pause(PRODUCTION).await;
    service.lanes().pause(fcm::LANE).await;
    service.node(Role::All).await;
    let id = service.notifications().send(message()).await;
    let (first, cursor) = page(&service, &id, "limit=70", &Value::Null).await;
    assert!(first.iter().all(|item| item["status"] == "pending"));
    service.lanes().resume(PRODUCTION).await;
    service.lanes().resume(fcm::LANE).await;
    service.notifications().until_done(&id).await;
    let (mut seen, mut cursor) = (first, cursor);
    while !cursor.is_null() {
        let (items, next) = page(&service, &id, "limit=70", &cursor).await;
        seen.extend(items);
        cursor = next;
    }
    let last: BTreeMap<_, _> = seen.iter().map(|item| (text(&item["ref"]), text(&item["status"]))).collect();
    assert_eq!(last.len(), 2 * EACH);
    assert!(last.values().all(|status| status == "accepted"), "{last:?}");
    service.stop().await;
}

/// Streams with pages that take long: a lock on the receipts stands for large notifications.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_requests_are_answered_beside_many_streams() {
    let service = TestService::start().await;
    let id = service.notifications().send(message()).await;
    service.notifications().until_done(&id).await;
    let path = format!("/v1/notifications/{id}/deliveries");
    let streams = join_all((0..60).map(|_| service.get_as(&path, "application/x-ndjson")));
    let mut holder = service.database.pool.acquire().await.unwrap();
    let mut transaction = holder.begin().await.unwrap();
    sqlx::query("lock table receipts in access exclusive mode").execute(&mut *transaction).await.unwrap();
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%from receipts%'";
    let others = async {
        until("streams wait", async || service.database.count(waiting).await >= 2).await;
        let answer = service.get("/v1/devices?limit=1").await;
        transaction.rollback().await.unwrap();
        answer
    };
    let (streams, answer) = tokio::join!(streams, others);
    assert_eq!(answer.status, 200, "{answer:?}");
    for stream in streams {
        assert_eq!(stream.lines().count(), 2 * EACH);
    }
    service.stop().await;
}
