//! `kill -9` of the embedded Postgres while sending: the service starts it again, and loses nothing that it accepted.

use std::sync::Arc;
use std::time::Duration;

use pushpost_testkit::processes::{Posts, duplicates, register};
use pushpost_testkit::processes::{TestMachine, providers, signal};
use pushpost_testkit::wait::WAIT_MAX;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_notifications_survive_a_kill_of_postgres() {
    let machine =
        Arc::new(TestMachine::new(providers(Duration::from_millis(60)), "max_in_flight = 50").await);
    let ledger = machine.ledger();
    let mut node = machine.serve().await;
    let key = machine.key("send,read,devices").await;
    register(&machine, &key).await;
    let posts = Arc::new(Posts::default());
    let posting = posts.keep_posting(&machine, &key);

    for kill in 0..2 {
        let before = ledger.accepted_count();
        let in_mid_send = ledger
            .wait_until(WAIT_MAX, |ledger| {
                ledger.accepted_count() >= before + 100 && posts.unsent(ledger) > 100
            })
            .await;
        assert!(in_mid_send, "nothing is under way after {kill} kills: {:?}", posts.answers());
        let postmaster = machine.postmaster().expect("Postgres runs");
        signal("-KILL", postmaster).await;
        let promised = posts.answers().get(&Some(202)).copied().unwrap_or_default();
        let begun = tokio::time::Instant::now();
        while posts.answers().get(&Some(202)).copied().unwrap_or_default() < promised + 20
            || machine.postmaster().is_none_or(|pid| pid == postmaster)
        {
            assert!(node.is_running(), "the service outlives Postgres");
            assert!(begun.elapsed() < WAIT_MAX, "not accepting again: {:?}", posts.answers());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    posting.stop().await;
    let receptions = posts.assert_kept(&machine, &key).await;
    let answers = posts.answers();
    eprintln!("answers: {answers:?}");
    assert!(answers.keys().all(|status| matches!(status, Some(202 | 503))), "{answers:?}");
    // What ended while Postgres was away was kept and put on record later, by the same node.
    assert_eq!(duplicates(&receptions), 0);
    assert!(node.is_running());
}
