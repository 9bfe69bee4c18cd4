//! Several nodes on one database (docs/queue.md#node-lease).

use std::collections::BTreeSet;

use pushpost::domain::LaneKey;
use pushpost::runtime::Role;
use pushpost_simulator::Settings;
use serde_json::json;

use super::stage::{Stage, apns_targets, assert_ended, fcm_targets, sent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_takes_another_sends() {
    let mut stage = Stage::set(Settings::default()).await;
    stage.node(Role::Api).await;
    let early = stage.notify(json!({"to": {"tokens": apns_targets("a", 300)}, "title": "Hi"})).await;
    assert_eq!(stage.count("select count(*) from jobs where node_id is null").await, 1);
    stage.node(Role::Worker).await;
    let late = stage.notify(json!({"to": {"tokens": fcm_targets("f", 300)}, "title": "Hi"})).await;
    for id in [&early, &late] {
        let outcomes = stage.outcomes(id).await;
        assert_eq!(outcomes.len(), 300);
        outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    }
    assert_eq!(sent(&stage.ledger()).len(), 600);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_what_waits_and_send_each_once() {
    let mut stage = Stage::set(Settings::default()).await;
    stage.configure("DELIVERY__MAX_IN_FLIGHT", "20");
    stage.pause(LaneKey::Fcm).await;
    stage.node(Role::Api).await;
    stage.node(Role::Worker).await;
    stage.node(Role::Worker).await;
    let mut ids = Vec::new();
    for part in 0..20 {
        let targets = fcm_targets(&format!("f{part}-"), 100);
        ids.push(stage.notify(json!({"to": {"tokens": targets}, "title": "Hi"})).await);
    }
    stage.resume(LaneKey::Fcm).await;
    for id in &ids {
        assert_eq!(stage.done(id).await["counts"]["accepted"], 100);
    }
    let tokens: BTreeSet<_> = sent(&stage.ledger()).into_iter().filter_map(|entry| entry.token).collect();
    assert_eq!((tokens.len(), sent(&stage.ledger()).len()), (2_000, 2_000));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_node_that_fell_silent_are_sent_by_another_once() {
    let mut stage = Stage::set(Settings::default()).await;
    stage.node(Role::Api).await;
    let id = stage.notify(json!({"to": {"tokens": apns_targets("a", 700)}, "title": "Hi"})).await;
    let silent: i32 =
        sqlx::query_scalar("insert into nodes (name, beat) values ('silent', 7) returning node_id")
            .fetch_one(&stage.database.pool)
            .await
            .unwrap();
    let leased = format!("update jobs set node_id = {silent}, ver = ver + 1");
    assert_eq!(stage.execute(&leased).await, 2);
    stage.node(Role::Worker).await;
    let other = stage.notify(json!({"to": {"tokens": fcm_targets("f", 10)}, "title": "Hi"})).await;
    stage.done(&other).await;
    assert_eq!(sent(&stage.ledger()).len(), 10, "a living node's jobs are its own");
    let outcomes = stage.outcomes(&id).await;
    assert_eq!(outcomes.len(), 700);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    assert_eq!(sent(&stage.ledger()).len(), 710);
    let dead = format!("select count(*) from nodes where node_id = {silent} and dead_at is not null");
    assert_eq!(stage.count(&dead).await, 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_leased_to_a_living_node_without_its_knowledge_is_not_stranded() {
    let mut stage = Stage::set(Settings::default()).await;
    stage.pause(LaneKey::Fcm).await;
    stage.node(Role::All).await;
    let id = stage.notify(json!({"to": {"tokens": fcm_targets("f", 3)}, "title": "Hi"})).await;
    // As after a COMMIT whose answer was lost.
    let leased = "update jobs set node_id = (select max(node_id) from nodes), ver = ver + 1";
    assert_eq!(stage.execute(leased).await, 1);
    stage.resume(LaneKey::Fcm).await;
    for outcome in stage.outcomes(&id).await {
        assert_ended(&outcome, "accepted", 1, None);
    }
    stage.stop().await;
}
