//! `kill -9` of the service in mid-send, ten times: nothing accepted is lost, and at most what was in flight is sent
//! again, recognisably the same (README, the first two promises).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pushpost_simulator::{Ended, Provider};

use pushpost_testkit::processes::{Posts, duplicates, register};
use pushpost_testkit::processes::{TestMachine, providers};
use pushpost_testkit::wait::WAIT_MAX;

const KILLS: usize = 10;
const IN_FLIGHT: usize = 50;
const LANES: usize = 2;
/// Answered but not on record yet: a job's outcomes go on record when 100 of them wait or one is 250 ms old
/// (docs/queue.md#receipt-flush), and meanwhile as many again may come in.
const UNRECORDED: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_notifications_survive_ten_kills_of_the_service() {
    let machine =
        TestMachine::new(providers(Duration::from_millis(100)), &format!("max_in_flight = {IN_FLIGHT}"))
            .await;
    let machine = Arc::new(machine);
    let ledger = machine.ledger();
    let mut node = machine.serve().await;
    let key = machine.key("send,read,devices").await;
    register(&machine, &key).await;
    let posts = Arc::new(Posts::default());
    let posting = posts.keep_posting(&machine, &key);

    // What each life of the service was the last to have asked, and how much of it was left without an answer.
    let mut lives = Vec::new();
    for kill in 0..KILLS {
        let (before, more) = (ledger.accepted_count(), 30 + 17 * u64::try_from(kill).unwrap());
        let in_mid_send = ledger
            .wait_until(WAIT_MAX, |ledger| {
                ledger.accepted_count() >= before + more && posts.unsent(ledger) > 2 * IN_FLIGHT
            })
            .await;
        assert!(in_mid_send, "nothing is under way after {kill} kills: {:?}", posts.answers());
        node.kill().await;
        machine.settled().await;
        lives.push(ledger.entries().last().unwrap().seq);
        node = machine.serve().await;
    }
    posting.stop().await;
    let receptions = posts.assert_kept(&machine, &key).await;

    let entries = ledger.entries();
    let mut life_of = BTreeMap::new();
    for entry in &entries {
        life_of.entry(entry.connection).or_insert_with(|| lives.partition_point(|last| *last < entry.seq));
    }
    for ((number, _), reception) in &receptions {
        reception.assert_alike();
        let sent_in: Vec<usize> = reception.entries.iter().map(|entry| life_of[&entry.connection]).collect();
        let once_each: BTreeSet<usize> = sent_in.iter().copied().collect();
        assert_eq!(once_each.len(), sent_in.len(), "notification {number} was sent in lives {sent_in:?}");
    }
    let pushes = entries.iter().filter(|entry| entry.provider != Provider::Oauth);
    let cut_off = pushes.filter(|entry| entry.accepted && entry.ended == Ended::Closed).count();
    let twice = duplicates(&receptions);
    eprintln!("{} sent, {cut_off} cut off, {twice} again; answers: {:?}", receptions.len(), posts.answers());
    assert!(cut_off >= KILLS, "the kills came in mid-send: {cut_off}");
    assert!(twice >= cut_off, "who was never answered is asked again: {twice} of {cut_off}");
    assert!(twice <= KILLS * LANES * (IN_FLIGHT + UNRECORDED), "{twice}");
    drop(node);
}
