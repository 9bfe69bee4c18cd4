//! How long the log is kept, and what is kept because of it.

use std::time::Duration;

use chrono::{Days, NaiveDate};
use pushpost::store::partitions::{create_day, droppable_days};
use pushpost::store::{Purpose, events};

use super::{APP, log_of};
use pushpost_testkit::database::TestDatabase;

const DAY: Duration = Duration::from_secs(86_400);

async fn today(db: &TestDatabase) -> NaiveDate {
    sqlx::query_scalar("select (now() at time zone 'UTC')::date").fetch_one(&db.pool).await.unwrap()
}

/// Entries of today and of the days before it, one a day.
async fn log_of_days(db: &TestDatabase, days: u64) {
    let mut conn = db.pool.acquire().await.unwrap();
    let today = today(db).await;
    for ago in 0..days {
        create_day(&mut conn, today - Days::new(ago)).await.unwrap();
    }
    db.execute(&format!(
        "insert into event_log (position, logged_at, app_id, kind, at, notifications, receipts, devices)
         select {days} - g, now() - g * interval '1 day', 1, 2, now(), '{{}}', '{{}}', '{{}}'
         from generate_series(0, {days} - 1) g"
    ))
    .await;
}

#[tokio::test]
async fn the_log_is_dropped_by_the_day() {
    let db = TestDatabase::create().await;
    log_of_days(&db, 12).await;
    let pool = db.pool_for(Purpose::Maintenance, 1);
    let mut conn = pool.acquire().await.unwrap();
    let mut steps = 1;
    while pushpost::maintenance::drop_event_day(&mut conn, 7 * DAY).await.unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 4, "a day each");
    let log = log_of(&db.pool, APP).await;
    assert_eq!(log.len(), 8, "seven days that are over, and today");
    assert_eq!(log[0].at.day, today(&db).await - Days::new(7));
}

#[tokio::test]
async fn nothing_is_left_once_no_events_are_kept() {
    let db = TestDatabase::create().await;
    log_of_days(&db, 3).await;
    db.execute(
        "insert into event_outbox (app_id, kind) select 1, 10 from generate_series(1, 2500);
         insert into event_ending (notification_id, app_id, after_outbox) values (gen_random_uuid(), 1, 1)",
    )
    .await;
    let pool = db.pool_for(Purpose::Maintenance, 1);
    let mut conn = pool.acquire().await.unwrap();
    while pushpost::maintenance::drop_event_day(&mut conn, Duration::ZERO).await.unwrap() {}
    let left = log_of(&db.pool, APP).await;
    assert_eq!(left.len(), 1, "that of today, until tomorrow");
    assert_eq!(db.count("select count(*) from event_outbox").await, 0);
    assert_eq!(db.count("select count(*) from event_ending").await, 0);
}

/// A notification that was scheduled long ago ends today: its rows must outlive the log of its end.
#[tokio::test]
async fn a_day_of_notifications_is_kept_while_the_log_has_their_ends() {
    let db = TestDatabase::create().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let today = today(&db).await;
    let (long_ago, other) = (today - Days::new(60), today - Days::new(61));
    for day in [long_ago, other] {
        create_day(&mut conn, day).await.unwrap();
        events::drop_day(&mut conn, day).await.unwrap();
    }
    assert_eq!(droppable_days(&mut conn, 30).await.unwrap(), [other, long_ago]);
    let ends = format!(
        "insert into event_outbox (app_id, kind, notifications) values (1, 1, array[id_floor('{long_ago}T12:00Z')])"
    );
    db.execute(&ends).await;
    events::sequence(&mut conn, 500).await.unwrap();
    assert_eq!(log_of(&db.pool, APP).await.len(), 1);
    assert_eq!(droppable_days(&mut conn, 30).await.unwrap(), [other]);

    // The log of its end is over.
    events::drop_day(&mut conn, today).await.unwrap();
    db.execute("update event_days set logged_on = logged_on - 30").await;
    events::release_days(&mut conn).await.unwrap();
    assert_eq!(droppable_days(&mut conn, 30).await.unwrap(), [other, long_ago]);
}

/// Nodes that were all away for long must not drop what the log has yet to tell.
#[tokio::test]
async fn no_day_is_dropped_while_facts_wait_for_long() {
    let db = TestDatabase::create().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let day = today(&db).await - Days::new(60);
    create_day(&mut conn, day).await.unwrap();
    db.execute("insert into event_outbox (app_id, kind, at) values (1, 10, now() - interval '2 hours')")
        .await;
    assert!(droppable_days(&mut conn, 30).await.unwrap().is_empty());
    events::sequence(&mut conn, 500).await.unwrap();
    assert_eq!(droppable_days(&mut conn, 30).await.unwrap(), [day]);
}
