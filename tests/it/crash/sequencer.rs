//! A node is killed while the statement of its sequencer is at work. The statement leaves all of its run or nothing, and other nodes
//! go on (docs/queue.md#event-log).

use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::processes::TestCluster;
use serde_json::json;
use sqlx::{Connection, Executor};

/// What a transaction of the test does to hold the statement up, in the order of its steps: where it deletes from the outbox, where it
/// writes to the log, and where it notes the days of ends.
const HOLDS: [&str; 3] = [
    "select outbox_id from event_outbox order by outbox_id limit 1 for update",
    "do $$ begin
       execute 'lock table event_log_' || to_char(now() at time zone 'UTC', 'YYYYMMDD') || ' in share mode';
     end $$",
    "insert into event_days (day, logged_on) values ((now() at time zone 'UTC')::date, '2026-01-01')",
];
/// Sequencers that wait for a lock.
const HELD_UP: &str =
    "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
                       and query like '%event_head for update skip locked%' and pid <> pg_backend_pid()";
const DEVICES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequencer_that_is_killed_at_any_step_leaves_no_event_out_and_none_twice() {
    let cluster = TestCluster::create(&[("node_timeout", "3s")]).await;
    let database = &cluster.database;
    let mut node = cluster.node(database.url()).await;
    for (step, hold) in HOLDS.into_iter().enumerate() {
        // While the test has the head, sequencers pass.
        let mut head = database.raw_connection().await;
        let mut head = head.begin().await.unwrap();
        head.execute("select position from event_head for update").await.unwrap();
        let targets = fcm_targets(&format!("step{step}-"), DEVICES);
        cluster.notify(&node, &json!({"to": {"tokens": targets}, "title": "Hi"})).await;
        database.until_count("select count(*) from jobs", 0).await;
        database.execute("delete from event_days").await;
        let mut holder = database.raw_connection().await;
        let mut holder = holder.begin().await.unwrap();
        holder.execute(hold).await.unwrap();
        head.rollback().await.unwrap();
        database.until_count(HELD_UP, 1).await;
        node.kill().await;
        holder.rollback().await.unwrap();
        node = cluster.node(database.url()).await;
        let waiting = "select (select count(*) from event_outbox) + (select count(*) from event_ending)";
        database.until_count(waiting, 0).await;
    }
    let gaps = "select max(position) - min(position) + 1 - count(*) from event_log";
    assert_eq!(database.count(gaps).await, 0, "positions without an entry");
    let told = |of: &str, kind: u8| {
        format!(
            "select count(distinct n) * 1000 + count(*) from (select unnest({of}) n from event_log where kind = {kind}) e"
        )
    };
    let once = i64::try_from(HOLDS.len()).unwrap();
    assert_eq!(database.count(&told("notifications", 2)).await, once * 1000 + once, "each end once");
    let receipts = database.count("select count(*) from receipts where accepted > 0").await;
    assert_eq!(database.count(&told("receipts", 1)).await, receipts * 1000 + receipts, "each receipt once");
}
