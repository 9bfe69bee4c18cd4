//! Values that Postgres refuses: they fail alone (docs/queue.md#poisoned-values).

use std::collections::HashMap;
use std::time::Duration;

use pushpost::domain::{DeliveryCounts, DeliveryStatus, NotificationId, Reason};
use pushpost::queue::accept::{AcceptedNotification, Error};
use pushpost::queue::recorder::Disposition;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use pushpost_testkit::held_time::{HeldTime, until};
use pushpost_testkit::queue::TestQueue;
use pushpost_testkit::queue::{QueueNode, accepted, end, end_all, rejected};
use pushpost_testkit::seeds::seeds;

/// Postgres has no text with a NUL in it; the API refuses it, and the queue copes even if it did not.
const POISON: &str = "row\0 1";

/// Waits until a session waits for a lock.
async fn until_a_session_waits(queue: &TestQueue) {
    until("the first commit waits for the lock", async || {
        queue
            .database
            .count(
                "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'",
            )
            .await
            == 1
    })
    .await;
}

/// docs/queue.md#poisoned-values: all of them arrive during one commit, so they share the next one.
#[tokio::test]
async fn a_poisoned_request_fails_alone() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let mut requests = JoinSet::new();
    let send = |requests: &mut JoinSet<(i64, Result<AcceptedNotification, Error>)>, device: i64| {
        let (acceptor, mut new) = (node.acceptor.clone(), queue.wanted([device]));
        match device {
            17 => new.targets[0].references = Some(POISON.to_owned()).into(),
            30 => new.label = Some(POISON.to_owned()),
            _ => new.targets[0].references = Some(format!("row {device}")).into(),
        }
        requests.spawn(async move { (device, acceptor.accept(new).await) });
    };
    let mut conn = queue.database.pool.acquire().await.unwrap();
    let mut busy = conn.begin().await.unwrap();
    sqlx::query("lock table notifications in access exclusive mode").execute(&mut *busy).await.unwrap();
    send(&mut requests, 1);
    until_a_session_waits(&queue).await;
    (2..=40).for_each(|device| send(&mut requests, device));
    // All of them are in the acceptor's hands before the first commit ends.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    busy.rollback().await.unwrap();
    let mut refused = Vec::new();
    while let Some(answer) = requests.join_next().await {
        match answer.unwrap() {
            (_, Ok(_)) => {}
            (device, Err(Error::Poisoned(state))) => {
                assert_eq!(state, "22021");
                refused.push(device);
            }
            (device, Err(error)) => panic!("{device}: {error}"),
        }
    }
    refused.sort_unstable();
    assert_eq!(refused, [17, 30]);
    assert_eq!(queue.database.count("select count(*) from notifications").await, 38);
    assert_eq!(queue.database.count("select count(*) from targets").await, 38);
    assert_eq!(queue.database.count("select count(*) from jobs").await, 38);
    let transactions = queue.database.count("select count(distinct xmin::text) from notifications").await;
    assert!(transactions < 20, "they shared commits: {transactions} for 38");
    queue.assert_sound().await;
    node.stop().await;
}

/// Strings that have broken something somewhere.
fn nasty(rng: &mut StdRng) -> String {
    const PARTS: &[&str] = &[
        "\0",
        "\n",
        "\r\n",
        "\u{7f}",
        "{}",
        "NULL",
        "\\",
        "\"",
        "'",
        ",",
        "é",
        "\u{fffe}",
        "\u{10ffff}",
        "x",
        " ",
        "😀",
    ];
    let long = if rng.random_ratio(1, 10) { 5_000 } else { 6 };
    (0..rng.random_range(0..long)).map(|_| PARTS[rng.random_range(0..PARTS.len())]).collect()
}

/// docs/queue.md#poisoned-values: whatever a provider writes, its outcome goes on record, and with the words that can
/// be kept.
#[tokio::test]
async fn whatever_a_provider_writes_is_recorded() {
    for seed in seeds(&[1, 2, 3]) {
        assert_recorded(seed).await;
    }
}

async fn assert_recorded(seed: u64) {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let mut rng = StdRng::seed_from_u64(seed);
    let id = node.accept(queue.wanted(1..=400)).await;
    let mut wrote = HashMap::new();
    for ticket in node.take(queue.lane).await {
        let reason = rng.random_ratio(1, 2).then(|| Reason::new(&nasty(&mut rng)));
        let provider_id =
            rng.random_ratio(1, 2).then(|| format!("message-{}{}", ticket.device(), nasty(&mut rng)));
        wrote.insert(ticket.device(), (reason.clone(), provider_id.is_some()));
        let ending = if rng.random_ratio(1, 5) {
            let delay = Duration::from_secs(60);
            Disposition::Retry { lane: None, delay, attempted: true, unanswered: false, reason }
        } else {
            Disposition::Final { status: DeliveryStatus::Accepted, attempted: true, reason, provider_id }
        };
        end(ticket, ending);
    }
    node.idle().await;
    assert_eq!(queue.database.count("select count(*) from jobs where class = 0").await, 0, "seed {seed}");
    for delivery in queue.deliveries(id).await {
        let (reason, has_id) = wrote.remove(&delivery.device).unwrap();
        assert_eq!(delivery.reason.as_deref(), reason.as_ref().map(Reason::as_str), "seed {seed}");
        if delivery.status == DeliveryStatus::Accepted {
            let name = format!("message-{}", delivery.device);
            let kept = delivery.provider_id.as_deref().map(|id| id.starts_with(&name) && id.is_ascii());
            assert_eq!(kept, has_id.then_some(true), "seed {seed}: {:?}", delivery.provider_id);
        }
    }
    queue.assert_sound().await;
    node.stop().await;
}

/// Makes Postgres refuse receipts as it refuses bad bytes, where `condition` holds.
async fn refuse_receipts(queue: &TestQueue, condition: &str) {
    let sql = format!(
        "create function refuse() returns trigger language plpgsql as $$
         begin
           if {condition} then raise exception 'refused' using errcode = '22021'; end if;
           return new;
         end $$;
         create trigger refuse before insert on receipts for each row execute function refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&queue.database.pool).await.unwrap();
}

const NO_POISONED_WORDS: &str = "'poison' = any(new.reasons)";

async fn words(queue: &TestQueue, id: NotificationId) -> Vec<Option<String>> {
    queue.deliveries(id).await.into_iter().map(|delivery| delivery.reason).collect()
}

/// docs/queue.md#poisoned-values: should a word be refused all the same, its outcome is recorded without it and the
/// others with theirs.
#[tokio::test]
async fn an_outcome_with_refused_reason_is_recorded_without_it() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    refuse_receipts(&queue, NO_POISONED_WORDS).await;
    let mut ids = Vec::new();
    for device in 1..=20 {
        ids.push(node.accept(queue.wanted([device])).await);
    }
    for ticket in node.take(queue.lane).await {
        let word = if ticket.device().0 % 7 == 0 { "poison" } else { "BadRequest" };
        end(ticket, rejected(word));
    }
    node.idle().await;
    for (id, device) in ids.into_iter().zip(1..) {
        let word = (device % 7 != 0).then(|| "BadRequest".to_owned());
        assert_eq!(words(&queue, id).await, [word], "device {device}");
    }
    node.stop().await;
}

/// The same on the slow path: a late outcome that is refused must not hold up what shares its flush.
#[tokio::test]
async fn a_late_outcome_with_refused_reason_delays_no_other() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    refuse_receipts(&queue, NO_POISONED_WORDS).await;
    let mut ids = Vec::new();
    for device in 1..=6 {
        ids.push(node.accept(queue.wanted([device])).await);
    }
    let tickets = node.take(queue.lane).await;
    queue.lose(node.id()).await;
    for ticket in tickets {
        let word = if ticket.device().0 == 1 { "poison" } else { "BadRequest" };
        end(ticket, rejected(word));
    }
    node.idle().await;
    assert_eq!(words(&queue, ids[0]).await, [None]);
    assert_eq!(words(&queue, ids[5]).await, [Some("BadRequest".to_owned())]);
    queue.assert_sound().await;
    node.stop().await;
}

/// An outcome that can't be stored is kept, and holds no other up. Its job stays leased, so it is not sent again.
#[tokio::test]
async fn an_outcome_that_cannot_be_stored_is_kept_and_tried_again() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    refuse_receipts(&queue, "new.devices[1] = 3").await;
    let mut ids = Vec::new();
    for device in 1..=5 {
        ids.push(node.accept(queue.wanted([device])).await);
    }
    let tickets = node.take(queue.lane).await;
    let time = HeldTime::hold();
    end_all(tickets, &accepted());
    until("the others are on record", async || {
        time.pass(Duration::from_millis(1)).await;
        queue.database.count("select count(*) from receipts").await == 4
    })
    .await;
    assert_eq!(queue.counts(ids[2]).await, DeliveryCounts { pending: 1, ..DeliveryCounts::default() });
    queue.database.execute("drop trigger refuse on receipts").await;
    assert!(!node.leases.is_empty());
    // Again after ten seconds.
    until("it is on record as well", async || {
        time.pass(Duration::from_secs(1)).await;
        node.leases.is_empty()
    })
    .await;
    assert_eq!(queue.counts(ids[2]).await, DeliveryCounts { accepted: 1, ..DeliveryCounts::default() });
}
