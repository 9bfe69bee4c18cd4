//! Facts that are written with their transactions, and read in the order of the log.

use chrono::TimeDelta;
use pushpost::domain::{AppId, CleanupFact, DeviceId, FactKind, LogPosition};
use pushpost::store::events::{self, NewFact};
use pushpost::store::{Purpose, Session};

use super::{APP, log_of, sequence_all};
use pushpost_testkit::database::TestDatabase;

async fn append(conn: &mut Session, app: AppId, run: i64) {
    let fact = NewFact {
        app,
        kind: FactKind::CleanupDone,
        devices: &[DeviceId(run), DeviceId(run + 1)],
        fact: CleanupFact { run },
    };
    events::append(conn, fact).await.unwrap();
}

#[tokio::test]
async fn a_fact_is_in_the_log_if_and_only_if_its_transaction_was_committed() {
    let db = TestDatabase::create().await;
    let pool = db.pool_for(Purpose::Queue, 3);
    let mut conn = pool.acquire().await.unwrap();
    let mut first = pushpost::store::begin(&pool).await.unwrap();
    append(&mut first, APP, 10).await;
    append(&mut conn, APP, 20).await;
    append(&mut conn, AppId(2), 30).await;
    let mut lost = pushpost::store::begin(&pool).await.unwrap();
    append(&mut lost, APP, 40).await;
    lost.rollback().await.unwrap();
    sequence_all(&mut conn, 500).await;
    first.commit().await.unwrap();
    sequence_all(&mut conn, 500).await;

    let log = log_of(&pool, APP).await;
    let told: Vec<_> = log.iter().map(|entry| (entry.at.position, entry.devices[0].0)).collect();
    assert_eq!(told, [(1, 20), (3, 10)], "in the order of the commits; 2 is another app's");
    assert!(log.iter().all(|entry| entry.kind == FactKind::CleanupDone));
    let fact: CleanupFact = serde_json::from_slice(log[1].fact.as_deref().unwrap()).unwrap();
    assert_eq!(fact, CleanupFact { run: 10 });
    assert_eq!(db.count("select count(*) from event_outbox").await, 0);

    let oldest = events::oldest(&mut conn, APP).await.unwrap();
    assert_eq!(oldest, Some(log[0].at));
    assert_eq!(events::oldest(&mut conn, AppId(9)).await.unwrap(), None);
    assert_eq!(events::page(&mut conn, APP, log[0].at, 1).await.unwrap(), log[1..]);
    assert_eq!(events::head(&mut conn).await.unwrap().position, 3);
}

#[tokio::test]
async fn nothing_is_written_if_no_events_are_kept() {
    let db = TestDatabase::create().await;
    db.pool.log_no_events();
    let pool = db.pool_for(Purpose::Queue, 1);
    let mut conn = pool.acquire().await.unwrap();
    append(&mut conn, APP, 10).await;
    assert_eq!(db.count("select count(*) from event_outbox").await, 0);
}

/// A time leads to the entry that was logged then, however many there are.
#[tokio::test]
async fn a_reader_can_begin_at_a_time() {
    let db = TestDatabase::create().await;
    let pool = db.pool_for(Purpose::Observe, 1);
    // Entries of two apps by turns, a second apart, up to now; positions have a gap, as after a failover.
    db.execute(
        "insert into event_log (position, logged_at, app_id, kind, at, notifications, receipts, devices)
         select g + case when g > 500 then 1000000 else 0 end, now() - (1000 - g) * interval '1 second', 1 + g % 2, 10, now(),
                '{}', '{}', '{}'
         from generate_series(1, 1000) g;
         update event_head set position = 1001000",
    )
    .await;
    let log = log_of(&pool, APP).await;
    let logged_at: Vec<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("select logged_at from event_log where app_id = 1 order by position")
            .fetch_all(&pool)
            .await
            .unwrap();
    let mut conn = pool.acquire().await.unwrap();
    for place in [0, 1, 249, 250, 251, 498, 499] {
        let at = events::since(&mut conn, APP, logged_at[place]).await.unwrap();
        let next = events::page(&mut conn, APP, at, 1).await.unwrap();
        assert_eq!(next, [log[place].clone()], "entry {place}");
        let at = events::since(&mut conn, APP, logged_at[place] + TimeDelta::milliseconds(1)).await.unwrap();
        let next = events::page(&mut conn, APP, at, 1).await.unwrap();
        assert_eq!(next.first(), log.get(place + 1), "after entry {place}");
    }
    let end = events::since(&mut conn, APP, logged_at[499] + TimeDelta::days(1)).await.unwrap();
    let head = events::head(&mut conn).await.unwrap();
    assert_eq!(end, LogPosition { position: 1_001_000, ..head });
}
