//! Plans that were made while nothing was stored still serve when much is (docs/queue.md#stable-plans).
//!
//! Every hot statement is run on one connection until Postgres keeps a plan for it; then the tables are filled, and the
//! plans of the very statements that the connection has prepared are looked at.

use pushpost::domain::NotificationId;
use pushpost::store::{Purpose, SessionPool};

use super::hot_statements;
use super::hot_webhooks;
use super::plan_judge::{PlanJudge, kept_plans};
use pushpost_testkit::database::TestDatabase;

/// After five Postgres compares, and keeps one.
const OFTEN: usize = 7;

/// 100,000 jobs of one device in another lane and 2,000 here, 100,000 devices, 20,000 receipts, 20,000 notifications, 50,000 subscriptions
/// of devices and as many of users, 100,000 idempotency keys,
/// 20,000 changes of each of two lanes, 100,000 notifications that are due later, 100,000 facts that wait, with as many
/// entries of the log and ends that wait, and 40 webhooks with 1,000 attempts and 500 set-aside events each.
const FILL: &str = "
    insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
    select gen_random_uuid(), 2, 5, now() - interval '1 minute', now() + interval '1 day', 1, array[g]
    from generate_series(1, 100000) g;
    insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
    select day_floor((now() at time zone 'UTC')::date), 1, 5, now() - interval '1 minute', now() + interval '1 day', 1,
           array[g]
    from generate_series(1, 2000) g;
    insert into devices (app_id, platform, environment, token, token_digest)
    select 1, 1, 1, g::text, substr(sha256(g::text::bytea), 1, 16) from generate_series(1, 100000) g;
    insert into receipts (notification_id, job_id, lane_id, attempt, accepted, shape, first_device, last_device,
                          devices, outcomes)
    select day_floor((now() at time zone 'UTC')::date), g, 1, 1, 1, '1', g, g, array[g], '\\x01'
    from generate_series(1, 20000) g;
    insert into notifications (notification_id, app_id, priority, due_at, expires_at, label)
    select (left(day_floor((now() at time zone 'UTC')::date)::text, 13) || right(gen_random_uuid()::text, 23))::uuid, 1, 5,
           now(), now(), case when g % 2 = 0 then 'spring' end
    from generate_series(1, 20000) g;
    insert into topics (app_id, name) values (1, 'all') on conflict do nothing;
    insert into subscriptions (topic_id, device_id)
    select topic_id, g from topics, generate_series(1, 50000) g where name = 'all';
    insert into user_subscriptions (topic_id, app_id, user_id)
    select topic_id, app_id, 'u' || g from topics, generate_series(1, 50000) g where name = 'all';
    insert into idempotency_keys (day, app_id, created_at, key_digest, request_digest, notification_id)
    select (now() at time zone 'UTC')::date, 1, now(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid()
    from generate_series(1, 100000) g;
    insert into lane_changes (lane_id, began_at, ended_at, state)
    select l, now() - (20001 - g) * interval '1 minute', now() - (20000 - g) * interval '1 minute', g % 2
    from generate_series(1, 2) l, generate_series(1, 20000) g;
    insert into fan_outs (notification_id, app_id, priority, due_at, expires_at, target_count, format, is_scheduled, audience)
    select gen_random_uuid(), 1, 5, now() + g * interval '1 minute', now() + interval '1 year', 0, 2, true, ''
    from generate_series(1, 100000) g;
    insert into event_outbox (app_id, kind, notifications, receipts)
    select 1, 1, array[gen_random_uuid()], array[g] from generate_series(1, 100000) g;
    insert into event_ending (notification_id, app_id, after_outbox)
    select gen_random_uuid(), 1, g from generate_series(1, 100000) g;
    insert into event_log (position, app_id, kind, at, notifications, receipts, devices)
    select 1000000 + g, 1 + g % 2, 1, now(), array[gen_random_uuid()], array[g], '{}' from generate_series(1, 100000) g;
    insert into webhooks (app_id, name, source, cursor_position, cursor_index, cursor_day)
    select 1 + g % 2, 'w' || g, 1, 1000000 + g * 1000, 4294967295, (now() at time zone 'UTC')::date from generate_series(1, 40) g;
    insert into webhook_attempts (webhook_id, succeeded, message, events, attempt, elapsed_ms, response, node_name)
    select webhook_id, g % 5 = 0, 'msg', 1, 1, 1, '', 'n' from webhooks, generate_series(1, 1000) g;
    insert into webhook_set_aside (webhook_id, position, index, day, next_attempt_at)
    select webhook_id, g, 0, (now() at time zone 'UTC')::date, now() + interval '1 hour'
    from webhooks, generate_series(1, 500) g;";

/// A service that has just been set up, and one with tables that have emptied again. Without autovacuum: its analysis
/// would throw the kept plans away, sooner or later.
const SET_UP: &str = "alter table jobs set (autovacuum_enabled = off);
    alter table devices set (autovacuum_enabled = off);
    alter table subscriptions set (autovacuum_enabled = off);
    alter table user_subscriptions set (autovacuum_enabled = off);
    alter table lane_changes set (autovacuum_enabled = off);
    alter table fan_outs set (autovacuum_enabled = off);
    alter table event_outbox set (autovacuum_enabled = off);
    alter table event_ending set (autovacuum_enabled = off);
    alter table webhooks set (autovacuum_enabled = off);
    alter table webhook_attempts set (autovacuum_enabled = off);
    alter table webhook_set_aside set (autovacuum_enabled = off);
    do $$ declare partition regclass; begin
      for partition in select inhrelid from pg_inherits join pg_class on oid = inhrelid where relkind = 'r' loop
        execute format('alter table %s set (autovacuum_enabled = off)', partition);
      end loop;
    end $$";
const EMPTY: &str = "delete from jobs; delete from devices; delete from receipts; delete from notifications; delete from subscriptions;
    delete from user_subscriptions; delete from idempotency_keys; delete from lane_changes; delete from fan_outs;
    delete from event_outbox; delete from event_ending; delete from event_log; delete from webhooks";

#[tokio::test]
async fn plans_of_a_new_service_serve_a_full_one() {
    let db = TestDatabase::create().await;
    run(&db.pool, SET_UP).await;
    run(&db.pool, "analyze").await;
    assert_plans(&db).await;
}

/// As the partitions of a day are until autovacuum analyses them, after their first thousands of rows.
#[tokio::test]
async fn plans_of_a_day_that_was_never_analyzed_serve_a_full_one() {
    let db = TestDatabase::create().await;
    run(&db.pool, SET_UP).await;
    assert_plans(&db).await;
}

#[tokio::test]
async fn plans_of_a_service_that_ran_empty_serve_a_full_one() {
    let db = TestDatabase::create().await;
    run(&db.pool, SET_UP).await;
    run(&db.pool, FILL).await;
    run(&db.pool, EMPTY).await;
    run(&db.pool, "vacuum (analyze)").await;
    assert_plans(&db).await;
}

#[tokio::test]
async fn plans_of_a_few_subscriptions_read_those_of_one_topic() {
    let db = TestDatabase::create().await;
    run(
        &db.pool,
        "insert into topics (app_id, name) values (1, 'few');
         insert into subscriptions (topic_id, device_id) select topic_id, g from topics, generate_series(1, 3) g",
    )
    .await;
    run(&db.pool, SET_UP).await;
    run(&db.pool, "analyze").await;
    let of_other_topics: Vec<_> =
        faults(&db).await.into_iter().filter(|fault| fault.contains("to all topics")).collect();
    assert!(of_other_topics.is_empty(), "{}", of_other_topics.join("\n"));
}

/// A notification that waits for a device and has an outcome for another one, and one that has ended.
const TWO_NOTIFICATIONS: &str = "
    create temporary table ids as
      select day_floor((now() at time zone 'UTC')::date) as waits,
             (left(day_floor((now() at time zone 'UTC')::date)::text, 35) || '1')::uuid as ended;
    insert into notifications (notification_id, app_id, priority, due_at, expires_at, target_count)
    select unnest(array[waits, ended]), 1, 5, now(), now() + interval '1 day', 2 from ids;
    insert into targets (notification_id, device_id, user_id) select unnest(array[waits, ended]), 1, 'u1' from ids;
    insert into receipts (notification_id, job_id, lane_id, attempt, accepted, shape, first_device, last_device, devices, outcomes)
    select unnest(array[waits, ended]), 1, 1, 1, 1, '1', 1, 1, array[1], '\\x01' from ids;
    insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
    select waits, 1, 5, now(), now() + interval '1 day', 1, array[2] from ids;
    drop table ids";

#[tokio::test]
async fn plans_of_what_explains_a_notification_serve_many() {
    let db = TestDatabase::create().await;
    run(&db.pool, SET_UP).await;
    run(&db.pool, TWO_NOTIFICATIONS).await;
    let (observe, requests) = (db.pool_for(Purpose::Observe, 1), db.pool_for(Purpose::Requests, 1));
    let waits = today(&db).await;
    let ended = NotificationId(sqlx::types::Uuid::from_u128(waits.0.as_u128() + 1));
    for _ in 0..OFTEN {
        hot_statements::of_explanations(&observe, &requests, waits, ended).await;
    }
    run(&db.pool, FILL).await;
    let mut faults = faults_of(&db, observe, waits, 6).await;
    faults.extend(faults_of(&db, requests, waits, 5).await);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

async fn assert_plans(db: &TestDatabase) {
    let faults = faults(db).await;
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is wrong with the plans that are kept of statements over the tables as they are, once the tables are full.
async fn faults(db: &TestDatabase) -> Vec<String> {
    let queue = db.pool_for(Purpose::Queue, 1);
    let requests = db.pool_for(Purpose::Requests, 1);
    let observe = db.pool_for(Purpose::Observe, 1);
    let id = today(db).await;
    for _ in 0..OFTEN {
        hot_statements::of_the_queue(&queue, id).await;
        hot_statements::of_requests(&requests, id).await;
        hot_statements::of_operators(&observe).await;
        hot_webhooks::of_webhooks(&observe, id).await;
    }
    run(&db.pool, FILL).await;
    let mut faults = Vec::new();
    for (pool, least) in [(queue, 28), (requests, 10), (observe, 30)] {
        faults.extend(faults_of(db, pool, id, least).await);
    }
    faults
}

/// The first id of today.
async fn today(db: &TestDatabase) -> NotificationId {
    let day = sqlx::query_scalar("select day_floor((now() at time zone 'UTC')::date)");
    NotificationId(day.fetch_one(&db.pool).await.unwrap())
}

/// What is wrong with the plans that the only connection of a pool has kept of its statements, which are so many at least.
async fn faults_of(db: &TestDatabase, pool: SessionPool, id: NotificationId, least: usize) -> Vec<String> {
    let judge = PlanJudge::new(&db.pool).await;
    let mut conn = pool.acquire().await.unwrap();
    let plans = kept_plans(&mut conn, id).await;
    assert!(plans.len() >= least, "only {} statements were found", plans.len());
    let mut faults = Vec::new();
    for (statement, plan) in plans {
        judge.look(&plan, &mut |fault| faults.push(format!("{fault}\n    of {statement}")));
    }
    faults
}

async fn run(pool: &SessionPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}
