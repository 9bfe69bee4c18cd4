//! Several nodes on one database (docs/queue.md#node-lease).

use pushpost::provider::fcm;
use pushpost_testkit::json::{apns_targets, assert_ended, fcm_targets};
use std::collections::BTreeSet;

use pushpost::runtime::Role;
use serde_json::json;

use pushpost_testkit::service::{TestService, sent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_accepted_by_one_node_is_sent_by_another() {
    let mut service = TestService::builder().node(Role::Api).build().await;
    let early =
        service.notifications().send(json!({"to": {"tokens": apns_targets("a", 300)}, "title": "Hi"})).await;
    assert_eq!(service.database.count("select count(*) from jobs where node_id is null").await, 1);
    service.node(Role::Worker).await;
    let late =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 300)}, "title": "Hi"})).await;
    for id in [&early, &late] {
        let outcomes = service.notifications().outcomes(id).await;
        assert_eq!(outcomes.len(), 300);
        outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    }
    assert_eq!(sent(&service.ledger()).len(), 600);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_what_waits_and_send_each_once() {
    let mut service = TestService::builder().config("DELIVERY__MAX_IN_FLIGHT", "20").build().await;
    service.lanes().pause(fcm::LANE).await;
    service.node(Role::Api).await;
    service.node(Role::Worker).await;
    service.node(Role::Worker).await;
    let mut ids = Vec::new();
    for part in 0..20 {
        let targets = fcm_targets(&format!("f{part}-"), 100);
        ids.push(service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await);
    }
    service.lanes().resume(fcm::LANE).await;
    for id in &ids {
        assert_eq!(service.notifications().until_done(id).await["counts"]["accepted"], 100);
    }
    let tokens: BTreeSet<_> = sent(&service.ledger()).into_iter().filter_map(|entry| entry.token).collect();
    assert_eq!((tokens.len(), sent(&service.ledger()).len()), (2_000, 2_000));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_silent_node_are_sent_once_by_another() {
    let mut service = TestService::builder().node(Role::Api).build().await;
    let id =
        service.notifications().send(json!({"to": {"tokens": apns_targets("a", 700)}, "title": "Hi"})).await;
    let silent: i32 =
        sqlx::query_scalar("insert into nodes (name, beat) values ('silent', 7) returning node_id")
            .fetch_one(&service.database.pool)
            .await
            .unwrap();
    let leased = format!("update jobs set node_id = {silent}, version = version + 1");
    assert_eq!(service.database.execute(&leased).await, 2);
    service.node(Role::Worker).await;
    let other =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 10)}, "title": "Hi"})).await;
    service.notifications().until_done(&other).await;
    assert_eq!(sent(&service.ledger()).len(), 10, "a living node's jobs are its own");
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 700);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    assert_eq!(sent(&service.ledger()).len(), 710);
    let dead = format!("select count(*) from nodes where node_id = {silent} and dead_at is not null");
    assert_eq!(service.database.count(&dead).await, 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_unknown_to_its_living_node_is_not_stranded() {
    let mut service = TestService::builder().build().await;
    service.lanes().pause(fcm::LANE).await;
    service.node(Role::All).await;
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 3)}, "title": "Hi"})).await;
    // As after a COMMIT with a lost answer.
    let leased = "update jobs set node_id = (select max(node_id) from nodes), version = version + 1";
    assert_eq!(service.database.execute(leased).await, 1);
    service.lanes().resume(fcm::LANE).await;
    for outcome in service.notifications().outcomes(&id).await {
        assert_ended(&outcome, "accepted", 1, None);
    }
    service.stop().await;
}
