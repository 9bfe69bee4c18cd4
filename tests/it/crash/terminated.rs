//! SIGTERM while sending: requests in flight end, waiting jobs are released, Postgres stops, and the next start goes on.

use std::sync::Arc;
use std::time::Duration;

use pushpost_embedded_postgres::{EmbeddedPostgres, Settings};
use pushpost_simulator::Ended;
use sqlx::{Connection, PgConnection};

use pushpost_testkit::processes::{Posts, duplicates, register};
use pushpost_testkit::processes::{TestMachine, providers};
use pushpost_testkit::wait::WAIT_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_in_flight_and_releases_the_rest() {
    let machine =
        Arc::new(TestMachine::new(providers(Duration::from_millis(60)), "max_in_flight = 20").await);
    let ledger = machine.ledger();
    let mut node = machine.serve().await;
    let key = machine.key("send,read,devices").await;
    register(&machine, &key).await;
    let posts = Arc::new(Posts::default());
    let posting = posts.keep_posting(&machine, &key);
    let in_mid_send = ledger
        .wait_until(WAIT_MAX, |ledger| ledger.accepted_count() >= 100 && posts.unsent(ledger) > 400)
        .await;
    assert!(in_mid_send, "nothing is under way: {:?}", posts.answers());

    node.terminate().await;
    assert_eq!(node.ended().await.code(), Some(0));
    posting.stop().await;
    assert_eq!(machine.postmaster(), None, "Postgres stopped with the service");
    machine.settled().await;
    let entries = ledger.entries();
    assert!(entries.iter().all(|entry| entry.ended == Ended::Answered), "whatever was begun was ended");
    assert!(posts.unsent(&ledger) > 0, "there is a rest");
    let (living, leased, waiting) = left_in(&machine).await;
    assert_eq!((living, leased), (0, 0), "nobody holds anything");
    assert!(waiting > 0, "the rest waits");

    let node = machine.serve().await;
    let receptions = posts.assert_kept(&machine, &key).await;
    assert_eq!(duplicates(&receptions), 0);
    drop(node);
}

/// Living nodes, leased jobs and waiting jobs, read beside a stopped service.
async fn left_in(machine: &TestMachine) -> (i64, i64, i64) {
    let settings = Settings { data_dir: machine.data_dir(), postgres_bin_dir: None, max_connections: 100 };
    let postgres = EmbeddedPostgres::start(&settings).await.unwrap();
    let mut conn = PgConnection::connect_with(&postgres.connect_options()).await.unwrap();
    let left = sqlx::query_as(
        "select (select count(*) from nodes where dead_at is null),
                (select count(*) from jobs where node_id is not null),
                (select count(*) from jobs where node_id is null)",
    );
    let left = left.fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    postgres.stop().await.unwrap();
    left
}
