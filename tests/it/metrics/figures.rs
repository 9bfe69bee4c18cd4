//! The figures that the leader reads: right while little waits, estimated from a bounded number of rows while much waits.

use std::collections::BTreeMap;

use pushpost::domain::{LaneId, Priority};
use pushpost::provider::{apns, fcm};
use pushpost::store::figures::{self, FanOutFigures, WaitingFigures};
use pushpost::store::{Purpose, Session};
use pushpost_testkit::apps;
use pushpost_testkit::database::TestDatabase;
use sqlx::Connection;

async fn session(database: &TestDatabase) -> Session {
    database.pool_for(Purpose::Observe, 1).acquire().await.unwrap()
}

/// So many jobs of two devices each, that fall due so many seconds from now.
async fn wait(database: &TestDatabase, lane: LaneId, priority: Priority, class: i16, due_in: i32, jobs: u32) {
    let (lane, priority) = (lane.0, priority.code());
    let sql = format!(
        "insert into jobs (notification_id, lane_id, priority, class, due_at, expires_at, device_count, devices)
         select gen_random_uuid(), {lane}, {priority}, {class}, now() + interval '{due_in} s', now() + interval '1 day', 2,
                '{{1,2}}'
         from generate_series(1, {jobs})"
    );
    database.execute(&sql).await;
}

/// The figures without their ages, and whether each age is within a minute above the given one.
fn without_ages(
    waiting: BTreeMap<(LaneId, Priority), WaitingFigures>,
    ages: &[(LaneId, Priority, f64)],
) -> BTreeMap<(LaneId, Priority), WaitingFigures> {
    for (lane, priority, age) in ages {
        let found = waiting[&(*lane, *priority)].oldest_seconds.expect("an age");
        assert!((*age..age + 60.0).contains(&found), "{lane:?} {priority:?}: {found} s, not {age} s");
    }
    let aged = waiting.values().filter(|figures| figures.oldest_seconds.is_some()).count();
    assert_eq!(aged, ages.len(), "{waiting:?}");
    waiting
        .into_iter()
        .map(|(range, figures)| (range, WaitingFigures { oldest_seconds: None, ..figures }))
        .collect()
}

#[tokio::test]
async fn what_waits_is_counted_by_lane_priority_and_cause() {
    let database = TestDatabase::create().await;
    let shop = apps::shop(&database.pool).await;
    let (fcm, apns) = (shop.lane(fcm::LANE).id, shop.lane(apns::lane(apns::SANDBOX)).id);
    let mut conn = session(&database).await;
    assert_eq!(figures::waiting(&mut conn).await.unwrap(), BTreeMap::new());
    wait(&database, fcm, Priority::High, 0, -100, 3).await;
    // Of the jobs in this range one is leased, and a device of another one has its outcome.
    database.execute("update jobs set node_id = 7 where job_id = 1").await;
    database.execute("update jobs set done = b'10' where job_id = 2").await;
    wait(&database, fcm, Priority::High, 1, -5, 1).await;
    wait(&database, fcm, Priority::High, 1, 3_600, 4).await;
    wait(&database, fcm, Priority::Low, 0, 3_600, 5).await;
    wait(&database, apns, Priority::Normal, 2, -300, 6).await;
    let waiting = figures::waiting(&mut conn).await.unwrap();
    let figures = WaitingFigures::default();
    let expected = [
        ((fcm, Priority::High), WaitingFigures { due_devices: 4 * 2 - 1, backoff_devices: 8, ..figures }),
        ((fcm, Priority::Low), WaitingFigures { scheduled_devices: 10, ..figures }),
        ((apns, Priority::Normal), WaitingFigures { due_devices: 12, ..figures }),
    ];
    let ages = [(fcm, Priority::High, 100.0), (apns, Priority::Normal, 300.0)];
    assert_eq!(without_ages(waiting, &ages), BTreeMap::from(expected));
}

#[tokio::test]
async fn of_many_jobs_a_bounded_number_is_read() {
    let database = TestDatabase::create().await;
    let shop = apps::shop(&database.pool).await;
    let (fcm, apns) = (shop.lane(fcm::LANE).id, shop.lane(apns::lane(apns::SANDBOX)).id);
    wait(&database, fcm, Priority::Normal, 0, -100, 200_000).await;
    wait(&database, fcm, Priority::Normal, 1, 3_600, 100_000).await;
    // Too few for the sample. One waits and one is leased.
    wait(&database, apns, Priority::High, 0, -200, 1).await;
    wait(&database, apns, Priority::Low, 0, -400, 1).await;
    let lease = "insert into nodes (name) values ('one') returning node_id";
    let node: i32 = sqlx::query_scalar(lease).fetch_one(&database.pool).await.unwrap();
    let leased = format!("update jobs set node_id = {node} where priority = 1");
    assert_eq!(database.execute(&leased).await, 1);

    let mut conn = session(&database).await;
    let mut tx = conn.begin().await.unwrap();
    let waiting = figures::waiting(&mut tx).await.unwrap();
    let read: i64 = sqlx::query_scalar(
        "select (seq_tup_read + idx_tup_fetch)::bigint from pg_stat_xact_user_tables where relname = 'jobs'",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    drop(tx);
    // 50,001 to see that there are too many, and 1,000 pages.
    assert!((50_001..200_000).contains(&read), "{read} of 300,002 jobs were read");
    let of = |lane, priority| waiting[&(lane, priority)];
    let many = of(fcm, Priority::Normal);
    assert!((320_000..480_000).contains(&many.due_devices), "{many:?}");
    assert!((160_000..240_000).contains(&many.backoff_devices), "{many:?}");
    assert_eq!(many.scheduled_devices, 0);
    for (priority, age) in [(Priority::High, 200.0), (Priority::Low, 400.0)] {
        let few = of(apns, priority);
        assert!(few.is_estimated && few.due_devices >= 1, "{priority:?}: {few:?}");
        let found = few.oldest_seconds.expect("the age is read and not sampled");
        assert!((age..age + 60.0).contains(&found), "{priority:?}: {found} s");
    }
}

#[tokio::test]
async fn what_was_counted_is_stored_for_every_node() {
    let database = TestDatabase::create().await;
    let shop = apps::shop(&database.pool).await;
    let fcm = shop.lane(fcm::LANE).id;
    let mut conn = session(&database).await;
    wait(&database, fcm, Priority::Normal, 0, -100, 3).await;
    for (due, oldest) in [(6, true), (0, false)] {
        let lanes = figures::lanes(&mut conn).await.unwrap();
        let names: Vec<String> = lanes.iter().map(figures::FiguredLane::name).collect();
        assert_eq!(names, ["shop/apns-production", "shop/apns-sandbox", "shop/fcm"]);
        let waiting = figures::waiting(&mut conn).await.unwrap();
        figures::store(&mut conn, &lanes, &waiting).await.unwrap();
        let stored: Vec<(i32, i16, i64, bool)> = sqlx::query_as(
            "select lane_id, priority, due_devices, oldest_due_at < now() - interval '99 s' from lane_figures
             where due_devices > 0 or oldest_due_at is not null",
        )
        .fetch_all(&database.pool)
        .await
        .unwrap();
        let expected = oldest.then_some((fcm.0, Priority::Normal.code(), due, true));
        assert_eq!(stored, Vec::from_iter(expected));
        assert_eq!(
            database.count("select count(*) from lane_figures").await,
            9,
            "three lanes, three priorities"
        );
        database.execute("delete from jobs").await;
    }
}

#[tokio::test]
async fn audiences_that_are_being_found_are_counted_by_app() {
    let database = TestDatabase::create().await;
    let (shop, other) = (apps::shop(&database.pool).await, apps::app(&database.pool, "other").await);
    for (app, due_in, is_scheduled) in
        [(&shop, -50, false), (&shop, -10, true), (&shop, 3_600, true), (&other, 3_600, true)]
    {
        let app = app.id.0;
        let sql = format!(
            "insert into fan_outs (notification_id, app_id, priority, due_at, expires_at, target_count, audience, is_scheduled)
             values (gen_random_uuid(), {app}, 5, now() + interval '{due_in} s', now() + interval '1 day', 0, '', {is_scheduled})"
        );
        database.execute(&sql).await;
    }
    let mut conn = session(&database).await;
    let found = figures::fan_outs(&mut conn).await.unwrap();
    assert_eq!(found.len(), 1, "what is due later is not being found: {found:?}");
    let FanOutFigures { count, oldest_seconds } = found[&shop.id];
    assert_eq!(count, 2);
    assert!((50.0..110.0).contains(&oldest_seconds), "{oldest_seconds}");
}

#[tokio::test]
async fn the_oldest_fact_without_a_place_in_the_event_log_shows() {
    let database = TestDatabase::create().await;
    let mut conn = session(&database).await;
    assert_eq!(figures::database(&mut conn).await.unwrap().oldest_fact_seconds, 0.0);
    database
        .execute("insert into event_outbox (app_id, kind, at) values (1, 10, now() - interval '90 s'), (1, 10, now())")
        .await;
    let state = figures::database(&mut conn).await.unwrap();
    assert!(state.oldest_fact_seconds >= 90.0, "{state:?}");
    pushpost::store::events::sequence(&mut conn, 500).await.unwrap();
    assert_eq!(figures::database(&mut conn).await.unwrap().oldest_fact_seconds, 0.0);
}

#[tokio::test]
async fn an_old_transaction_a_dead_node_and_a_missing_day_show() {
    let database = TestDatabase::create().await;
    database
        .execute("insert into nodes (name, dead_at) values ('one', null), ('two', null), ('dead', now())")
        .await;
    let mut conn = session(&database).await;
    let state = figures::database(&mut conn).await.unwrap();
    assert_eq!((state.nodes, state.partitions_ahead), (2, 7));

    let mut old = database.raw_connection().await;
    let transaction = old.begin().await.unwrap();
    let day = "to_char((now() at time zone 'UTC')::date + 4, 'YYYYMMDD')";
    let drop = format!("do $$ begin execute 'drop table targets_' || {day}; end $$");
    database.execute(&drop).await;
    database.execute("select pg_sleep(0.05)").await;
    let state = figures::database(&mut conn).await.unwrap();
    assert!(state.oldest_transaction_seconds >= 0.05, "{state:?}");
    assert_eq!(state.partitions_ahead, 3, "the fourth day lacks one of its tables");
    transaction.rollback().await.unwrap();

    database.execute("create table added (day uuid) partition by range (day)").await;
    let state = figures::database(&mut conn).await.unwrap();
    assert_eq!(state.partitions_ahead, 0, "a further partitioned table has no day yet");
}

/// Of so many devices a part is read. They are stored without the indexes that the figures don't use, because that is faster.
#[tokio::test]
async fn of_more_than_a_million_devices_a_bounded_number_is_read() {
    const MANY: i64 = 1_000_001;
    let database = TestDatabase::create().await;
    let shop = apps::shop(&database.pool).await;
    database
        .execute(
            "do $$ declare unused regclass; begin
               for unused in select indexrelid from pg_index where indrelid = 'devices'::regclass and not indisprimary loop
                 execute format('drop index %s', unused);
               end loop;
             end $$",
        )
        .await;
    // A device takes more room than usual, so that the sample is smaller than the table.
    let (app, quarantined) = (shop.id.0, "case when g % 4 = 0 then now() end");
    let fill = format!(
        "insert into devices (app_id, platform, environment, token, token_digest, quarantined_at)
         select {app}, 2, 0, repeat('t', 300), decode(lpad(to_hex(g), 32, '0'), 'hex'), {quarantined}
         from generate_series(1, {MANY}) g"
    );
    database.execute(&fill).await;

    let mut conn = session(&database).await;
    let mut tx = conn.begin().await.unwrap();
    let counts = figures::devices(&mut tx).await.unwrap();
    let sampled: i64 = sqlx::query_scalar(
        "select seq_tup_read::bigint from pg_stat_xact_user_tables where relname = 'devices'",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    drop(tx);
    assert!((100_000..700_000).contains(&sampled), "{sampled} of {MANY} devices were read");
    let of =
        |is_quarantined| counts.iter().find(|count| count.is_quarantined == is_quarantined).unwrap().devices;
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!((675_000..825_000).contains(&of(false)), "{counts:?}");
    assert!((225_000..275_000).contains(&of(true)), "{counts:?}");

    database.execute("delete from devices where device_id = 1").await;
    let exact: u64 = figures::devices(&mut conn).await.unwrap().iter().map(|count| count.devices).sum();
    assert_eq!(exact, 1_000_000, "a million is counted one by one");
}

#[tokio::test]
async fn tables_and_devices_are_measured() {
    let database = TestDatabase::create().await;
    let (shop, other) = (apps::shop(&database.pool).await, apps::app(&database.pool, "other").await);
    for (app, platform, quarantined, devices) in
        [(&shop, 1, "null", 3), (&shop, 1, "now()", 2), (&shop, 2, "null", 4), (&other, 2, "null", 5)]
    {
        let app = app.id.0;
        let sql = format!(
            "insert into devices (app_id, platform, environment, token, token_digest, quarantined_at)
             select {app}, {platform}, 0, 't', substr(sha256(gen_random_uuid()::text::bytea), 1, 16), {quarantined}
             from generate_series(1, {devices})"
        );
        database.execute(&sql).await;
    }
    let mut conn = session(&database).await;
    let counts = figures::devices(&mut conn).await.unwrap();
    let mut counts: Vec<_> = counts
        .iter()
        .map(|count| (count.app == shop.id, count.platform.as_str(), count.is_quarantined, count.devices))
        .collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        [
            (false, "fcm", false, 5),
            (true, "apns", false, 3),
            (true, "apns", true, 2),
            (true, "fcm", false, 4)
        ]
    );

    let before = figures::tables(&mut conn).await.unwrap();
    let names: Vec<&str> = before.iter().map(|size| size.table.as_str()).collect();
    assert!(["devices", "jobs", "receipts"].iter().all(|name| names.contains(name)), "{names:?}");
    assert!(names.iter().all(|name| !name.contains("_20") && !name.starts_with('_')), "{names:?}");
    let append =
        "insert into receipts (notification_id, job_id, lane_id, attempt, accepted, shape, first_device,
                                        last_device, devices, outcomes)
                  select day_floor((now() at time zone 'UTC')::date), g, 1, 1, 1, '1', g, g, array[g], '\\x01'
                  from generate_series(1, 1000) g";
    database.execute(append).await;
    let after = figures::tables(&mut conn).await.unwrap();
    let grown: Vec<&str> =
        before.iter().zip(&after).filter(|(a, b)| b.bytes > a.bytes).map(|(a, _)| a.table.as_str()).collect();
    assert_eq!(grown, ["receipts"], "partitions count for their table");
}
