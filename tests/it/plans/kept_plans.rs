//! Plans that were made while nothing was stored still serve when much is (docs/queue.md#stable-plans).
//!
//! Every hot statement is run on one connection until Postgres keeps a plan for it; then the tables are filled, and the
//! plans of the very statements that the connection has prepared are looked at.

use bit_vec::BitVec;
use pushpost::domain::{
    AppId, Certainty, Class, CleanupCriteria, DeviceId, DeviceToken, DottedVersion, EnvironmentProof,
    FanOutPart, IdempotencyKey, JobId, Kind, LaneId, NodeId, NotificationId, Priority, Reason, ShareLimit,
    Source, SubscriptionTerm, TokenVerdict, TopicName, UserId,
};
use pushpost::provider::{apns, fcm};
use pushpost::store::fan_outs::PageDevices;
use pushpost::store::record::NewReceipt;
use pushpost::store::{
    Purpose, Session, SessionPool, accept, backlog, cancellation, cleanups, contents, deliveries, devices,
    environments, erasures, fan_outs, figures, idempotency, jobs, lanes, notification_list, notifications,
    partitions, quarantine, record, scheduled, status, tokens, topics, waiting_jobs,
};

use super::plan_judge::{PlanJudge, kept_plans};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::queue::union_of;

/// After five Postgres compares, and keeps one.
const OFTEN: usize = 7;

/// 100,000 jobs of one device in another lane and 2,000 here, 100,000 devices, 20,000 receipts, 20,000 notifications, 50,000 subscriptions
/// of devices and as many of users, 100,000 idempotency keys,
/// 20,000 changes of each of two lanes, and 100,000 notifications that are due later.
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
    insert into idempotency_keys (app_id, key_digest, request_digest, notification_id, answer)
    select 1, substr(sha256(g::text::bytea), 1, 16), '', gen_random_uuid(), '' from generate_series(1, 100000) g;
    insert into lane_changes (lane_id, began_at, ended_at, state)
    select l, now() - (20001 - g) * interval '1 minute', now() - (20000 - g) * interval '1 minute', g % 2
    from generate_series(1, 2) l, generate_series(1, 20000) g;
    insert into fan_outs (notification_id, app_id, priority, due_at, expires_at, target_count, format, is_scheduled, audience)
    select gen_random_uuid(), 1, 5, now() + g * interval '1 minute', now() + interval '1 year', 0, 2, true, ''
    from generate_series(1, 100000) g;";

/// A service that has just been set up, and one with tables that have emptied again. Without autovacuum: its analysis
/// would throw the kept plans away, sooner or later.
const SET_UP: &str = "alter table jobs set (autovacuum_enabled = off);
    alter table devices set (autovacuum_enabled = off);
    alter table subscriptions set (autovacuum_enabled = off);
    alter table user_subscriptions set (autovacuum_enabled = off);
    alter table idempotency_keys set (autovacuum_enabled = off);
    alter table lane_changes set (autovacuum_enabled = off);
    alter table fan_outs set (autovacuum_enabled = off);
    analyze";
const EMPTY: &str = "delete from jobs; delete from devices; delete from receipts; delete from notifications; delete from subscriptions;
    delete from user_subscriptions; delete from idempotency_keys; delete from lane_changes; delete from fan_outs";

#[tokio::test]
async fn plans_of_a_new_service_serve_a_full_one() {
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
    let of_other_topics: Vec<_> =
        faults(&db).await.into_iter().filter(|fault| fault.contains("to all topics")).collect();
    assert!(of_other_topics.is_empty(), "{}", of_other_topics.join("\n"));
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
    let id = {
        let day: sqlx::types::Uuid = sqlx::query_scalar("select day_floor((now() at time zone 'UTC')::date)")
            .fetch_one(&db.pool)
            .await
            .unwrap();
        NotificationId(day)
    };
    for _ in 0..OFTEN {
        let mut conn = queue.acquire().await.unwrap();
        take(&mut conn).await;
        find(&mut conn, id).await;
        keep(&mut conn, id).await;
        give(&mut conn, id).await;
        clean_up(&mut conn).await;
        let mut conn = requests.acquire().await.unwrap();
        status::read(&mut conn, AppId(1), id).await.unwrap();
        for labels in [vec![], vec!["spring".to_owned(), "summer".to_owned()]] {
            let filter = notification_list::NotificationFilter { labels, ..Default::default() };
            notification_list::candidates(&mut conn, AppId(1), &filter, Some(id), 100).await.unwrap();
        }
        backlog::waiting(&mut conn).await.unwrap();
        stop(&mut conn, id).await;
        tokens_of_devices(&mut conn).await;
        members_of_topics(&mut conn).await;
        erasure_of_a_user(&mut conn).await;
        drop(conn);
        let filter = deliveries::DeliveryFilter::default();
        deliveries::page(&requests, id, &filter, deliveries::DeliveryPosition::START, 100, true)
            .await
            .unwrap();
        deliveries::timeline(&requests, AppId(1), DeviceId(1), None, 100).await.unwrap();
        figure(&mut observe.acquire().await.unwrap()).await;
    }
    run(&db.pool, FILL).await;
    let judge = PlanJudge::new(&db.pool).await;
    let mut faults = Vec::new();
    for (pool, least) in [(queue, 28), (requests, 10), (observe, 5)] {
        let mut conn = pool.acquire().await.unwrap();
        let plans = kept_plans(&mut conn, id).await;
        assert!(plans.len() >= least, "only {} statements were found", plans.len());
        for (statement, plan) in plans {
            judge.look(&plan, &mut |fault| faults.push(format!("{fault}\n    of {statement}")));
        }
    }
    faults
}

/// What a node asks to get jobs, and to know of them.
async fn take(conn: &mut Session) {
    let claim = jobs::ClaimRequest {
        lane: LaneId(1),
        class: Class::Direct,
        priority: Priority::Normal,
        room: 2_000,
        jobs_max: 512,
        since: None,
        node: NodeId(1),
    };
    assert!(jobs::claim(conn, claim).await.unwrap().is_empty());
    jobs::read_due(conn, &[LaneId(1), LaneId(2)]).await.unwrap();
    jobs::release(conn, NodeId(1), &[(JobId(1), 0), (JobId(2), 0)]).await.unwrap();
    jobs::leased_by(conn, NodeId(1)).await.unwrap();
    jobs::sweep(conn, &[NodeId(1), NodeId(2)], 1_000).await.unwrap();
    waiting_jobs::expire(conn, 500).await.unwrap();
    partitions::droppable_days(conn, 30).await.unwrap();
    // Neighbours, and scattered ones.
    tokens::load(conn, &[DeviceId(1), DeviceId(2)]).await.unwrap();
    tokens::load(conn, &[DeviceId(1), DeviceId(1_000)]).await.unwrap();
}

/// What the leader asks about what has been kept long enough.
async fn keep(conn: &mut Session, id: NotificationId) {
    devices::delete_quarantined(conn, 86_400.0, 500).await.unwrap();
    idempotency::delete_old(conn, 86_400.0, 1_000).await.unwrap();
    lanes::delete_old_changes(conn, 1_000).await.unwrap();
    devices::send_only(conn, DeviceId(0), 30, 1_000).await.unwrap();
    devices::delete_send_only(conn, &[DeviceId(1), DeviceId(2)], 30).await.unwrap();
    topics::page(conn, 0, 1_000).await.unwrap();
    contents::due(conn, 200).await.unwrap();
    contents::next(conn, id.0, 0.0, 200).await.unwrap();
    contents::states(conn, &[id.0], 0.0).await.unwrap();
    contents::drop_all(conn, &[id.0], &[None]).await.unwrap();
    let today =
        sqlx::query_scalar("select (now() at time zone 'UTC')::date").fetch_one(&mut *conn).await.unwrap();
    partitions::day_page(conn, today, (id.0, 0), 30, 2_000).await.unwrap();
    cancellation::pending(conn, id, 500).await.unwrap();
    stop(conn, id).await;
    cancellation::settle(conn, &[id]).await.unwrap();
}

/// What those ask that cancel.
async fn stop(conn: &mut Session, id: NotificationId) {
    cancellation::lock_fan_outs(conn, &[id]).await.unwrap();
    cancellation::mark(conn, AppId(1), &[id]).await.unwrap();
    waiting_jobs::cancel(conn, &[id], 200).await.unwrap();
    cancellation::labelled(conn, AppId(1), "spring", id, 500).await.unwrap();
}

/// What the leader asks to show operators what waits.
async fn figure(conn: &mut Session) {
    assert!(figures::count_waiting(conn).await.unwrap().is_some());
    figures::estimate_waiting(conn).await.unwrap();
    figures::fan_outs(conn).await.unwrap();
    figures::devices(conn).await.unwrap();
}

/// What the leader asks to carry out clean-up runs.
async fn clean_up(conn: &mut Session) {
    let criteria = CleanupCriteria {
        inactive_days: 30,
        platforms: Some(vec![apns::PLATFORM]),
        environments: Some(vec![apns::PRODUCTION]),
        app_version_below: DottedVersion::parse("5.0"),
        max_share: ShareLimit::default(),
    };
    let new =
        cleanups::NewCleanupRun { app: AppId(1), criteria: &criteria, is_dry_run: false, schedule: None };
    let mut transaction = conn.begin().await.unwrap();
    let run = cleanups::insert(&mut transaction, new).await.unwrap().unwrap();
    cleanups::batches::count_page(&mut transaction, &run, 5_000, 100).await.unwrap();
    cleanups::batches::quarantine_page(&mut transaction, &run, 1_000).await.unwrap();
    cleanups::batches::restore_page(&mut transaction, &run, 1_000).await.unwrap();
    transaction.rollback().await.unwrap();
}

/// What it asks to find an audience.
async fn find(conn: &mut Session, id: NotificationId) {
    assert!(fan_outs::lock_next(conn, &[AppId(1)], &[]).await.unwrap().is_none());
    let fan_out = fan_outs::LockedFanOut {
        id,
        app: AppId(1),
        priority: Priority::Normal,
        due_at: chrono::DateTime::UNIX_EPOCH,
        expires_at: chrono::DateTime::UNIX_EPOCH,
        late: false,
        last: DeviceId(1),
        reached: DeviceId(0),
        trace: None,
        page_count: 0,
        is_scheduled: false,
        audience: None,
    };
    let audience = union_of([FanOutPart::All]);
    let lanes = [(fcm::LANE, LaneId(1))];
    // Neighbours, and scattered ones.
    let (few, far) = ([DeviceId(1), DeviceId(2)], [DeviceId(2), DeviceId(1_000)]);
    let users = [(DeviceId(2), UserId::parse("u1").unwrap())];
    let found = |devices| PageDevices::Found { devices, through_users: &users };
    for devices in [PageDevices::Next(10_000), found(&few), found(&far)] {
        fan_outs::write_page(conn, &fan_out, &audience, &lanes, devices).await.unwrap();
    }
    let names = [TopicName::parse("news").unwrap()];
    topics::ids_by_name(conn, AppId(1), &names).await.unwrap();
    topics::user_counts(conn, &[1, 2], 20_000).await.unwrap();
    topics::first_subscribers(conn, &[1, 2], (DeviceId(0), DeviceId(100_000)), 10_000).await.unwrap();
    topics::first_through_users(conn, AppId(1), &[1, 2], (DeviceId(0), DeviceId(100_000)), 10_000)
        .await
        .unwrap();
    topics::topics_among(conn, &few, &[1, 2]).await.unwrap();
    topics::user_topics_among(conn, AppId(1), &[users[0].1.clone()], &[1, 2]).await.unwrap();
    devices::next_active(conn, AppId(1), (DeviceId(0), DeviceId(100_000)), 10_000).await.unwrap();
    devices::users_of(conn, &few).await.unwrap();
    devices::users_of(conn, &far).await.unwrap();
    fan_outs::advance(conn, id, DeviceId(1), DeviceId(1), 0).await.unwrap();
    fan_outs::finish(conn, id, 0).await.unwrap();
    fan_outs::expire(conn).await.unwrap();
    open_scheduled(conn, id).await;
}

/// What it asks to resolve scheduled notifications.
async fn open_scheduled(conn: &mut Session, id: NotificationId) {
    assert!(scheduled::lock_due(conn, AppId(1), Priority::Normal, &[], 500).await.unwrap().is_empty());
    let user = UserId::parse("u1").unwrap();
    assert!(erasures::erased_among(conn, AppId(1), vec![(id, user)]).await.unwrap().is_empty());
    let fan_out = union_of([FanOutPart::All]);
    let more =
        scheduled::OpenedNotification { fan_out: Some(fan_out), ..scheduled::OpenedNotification::empty(id) };
    scheduled::opened(conn, &[scheduled::OpenedNotification::empty(id), more]).await.unwrap();
    let day = sqlx::query_scalar("select current_date").fetch_one(&mut *conn).await.unwrap();
    devices::mark_sent_on(conn, &[DeviceId(1), DeviceId(2)], day).await.unwrap();
}

/// What those ask that have tokens: an import, a look-up, a send.
async fn tokens_of_devices(conn: &mut Session) {
    let token = |platform| DeviceToken::parse(platform, "abcd").unwrap();
    let keys = [apns::PLATFORM, fcm::PLATFORM].map(|platform| (platform, token(platform).digest()));
    let mut transaction = conn.begin().await.unwrap();
    assert!(devices::lock_tokens(&mut transaction, AppId(1), &keys).await.unwrap().is_empty());
    assert!(devices::by_tokens(&mut transaction, AppId(1), &keys).await.unwrap().is_empty());
    assert!(devices::addressed_tokens(&mut transaction, AppId(1), &keys).await.unwrap().is_empty());
    let device = devices::Device {
        id: DeviceId(1),
        app: AppId(1),
        platform: fcm::PLATFORM,
        environment: None,
        environment_proven: false,
        kind: Kind::Alert,
        source: Source::Import,
        token: token(fcm::PLATFORM),
        user: None,
        locale: None,
        timezone: None,
        app_version: None,
        created_at: chrono::DateTime::UNIX_EPOCH,
        registered_at: None,
        quarantine: None,
        replaces: None,
    };
    let new = [((fcm::PLATFORM, device.token.digest()), &device)];
    assert_eq!(devices::insert_all(&mut transaction, AppId(1), &new).await.unwrap().len(), 1);
    devices::save_all(&mut transaction, &[&device]).await.unwrap();
    topics::of_devices(&mut transaction, &[device.id]).await.unwrap();
    let news = TopicName::parse("news").unwrap();
    let names = std::slice::from_ref(&news);
    let topic = topics::create(&mut transaction, AppId(1), names).await.unwrap()[&news];
    assert_eq!(topics::hold(&mut transaction, AppId(1), names).await.unwrap()[&news], topic);
    topics::subscribe_all(&mut transaction, &[(topic, device.id, SubscriptionTerm::Binding)]).await.unwrap();
    topics::unsubscribe_all(&mut transaction, AppId(1), &[(device.id, &news)]).await.unwrap();
    assert_eq!(topics::without_subscribers(&mut transaction, &[topic]).await.unwrap(), [topic]);
    assert_eq!(topics::purge(&mut transaction, AppId(1), &[topic]).await.unwrap(), 1);
    devices::find(&mut transaction, AppId(1), device.id).await.unwrap();
    devices::lock(&mut transaction, AppId(1), device.id).await.unwrap();
    devices::is_any(&mut transaction, AppId(1), &[device.id]).await.unwrap();
    devices::delete(&mut transaction, device.id).await.unwrap();
    transaction.rollback().await.unwrap();
}

/// What those ask that manage topics and users.
async fn members_of_topics(conn: &mut Session) {
    let mut transaction = conn.begin().await.unwrap();
    let news = TopicName::parse("news").unwrap();
    let names = std::slice::from_ref(&news);
    let topic = topics::create(&mut transaction, AppId(1), names).await.unwrap()[&news];
    let users = ["u1", "u2"].map(|user| UserId::parse(user).unwrap());
    devices::lock_ids(&mut transaction, AppId(1), &[DeviceId(1), DeviceId(2)]).await.unwrap();
    topics::subscribe_users(&mut transaction, AppId(1), topic, &users).await.unwrap();
    topics::of_users(&mut transaction, AppId(1), &users).await.unwrap();
    topics::subscribers(&mut transaction, AppId(1), &[topic], DeviceId(0), 5_000).await.unwrap();
    topics::sizes(&mut transaction, AppId(1), "", 101).await.unwrap();
    topics::unsubscribe_users(&mut transaction, topic, &users).await.unwrap();
    topics::unsubscribe_devices(&mut transaction, topic, &[DeviceId(1)]).await.unwrap();
    topics::end_devices(&mut transaction, topic, DeviceId(0), 5_000).await.unwrap();
    topics::end_users(&mut transaction, topic, "", 5_000).await.unwrap();
    let of_user = devices::DeviceFilter {
        users: Some(users.to_vec()),
        topics: Some(vec![news.clone()]),
        ..devices::DeviceFilter::default()
    };
    let page = devices::DevicePage { after: DeviceId(0), limit: 101 };
    let of_platform =
        devices::DeviceFilter { platforms: Some(vec![fcm::PLATFORM]), ..devices::DeviceFilter::default() };
    let of_topic = devices::DeviceFilter { topics: Some(vec![news]), ..devices::DeviceFilter::default() };
    for filter in [of_user, of_platform, of_topic, devices::DeviceFilter::default()] {
        devices::list(&mut transaction, AppId(1), &filter, page).await.unwrap();
    }
    transaction.rollback().await.unwrap();
}

/// What the erasure of a user asks.
async fn erasure_of_a_user(conn: &mut Session) {
    let (app, user) = (AppId(1), UserId::parse("u1").unwrap());
    let ids = [DeviceId(1), DeviceId(2)];
    let mut transaction = conn.begin().await.unwrap();
    erasures::hide_user(&mut transaction, app, &user).await.unwrap();
    erasures::devices_of(&mut transaction, app, &user, 10_000).await.unwrap();
    erasures::lock_devices(&mut transaction, app, &user, &ids).await.unwrap();
    erasures::delete_devices(&mut transaction, app, &user, &ids).await.unwrap();
    erasures::end_subscriptions(&mut transaction, app, &user, 1_000).await.unwrap();
    erasures::deleted_devices(&mut transaction, app, &user, DeviceId(0), 10_000).await.unwrap();
    erasures::last_job(&mut transaction).await.unwrap();
    erasures::with_devices(&mut transaction, app, &ids, JobId(0), 500).await.unwrap();
    erasures::cancel(&mut transaction, &[JobId(1), JobId(2)], &ids).await.unwrap();
    erasures::delete_old(&mut transaction, 1_000).await.unwrap();
    transaction.rollback().await.unwrap();
}

/// What it asks to store them, and what came of them.
async fn give(conn: &mut Session, id: NotificationId) {
    accept::insert(conn, &accept::AcceptBatch::default()).await.unwrap();
    let keys = accept::KeyRows::default();
    accept::insert_keyed(conn, &accept::AcceptBatch::default(), &keys).await.unwrap();
    let key = IdempotencyKey::parse("k").unwrap();
    assert!(idempotency::find(conn, &[(AppId(1), key), (AppId(2), key)]).await.unwrap().is_empty());
    accept::find(conn, &[id]).await.unwrap();
    notifications::to_send(conn, &[id], &[id]).await.unwrap();
    notifications::cancelled_among(conn, &[id]).await.unwrap();
    notifications::users_of(conn, AppId(1), &[id], &[DeviceId(1), DeviceId(2)]).await.unwrap();
    record::lock(conn, &[JobId(1), JobId(2)]).await.unwrap();
    let mut batch = record::RecordBatch::default();
    batch.receipt(NewReceipt {
        job: JobId(1),
        notification: id,
        node: Some(NodeId(1)),
        version: 1,
        finished: true,
        done: BitVec::from_elem(1, true),
        counts: [1, 0, 0, 0, 0, 0, 0],
        devices: &[DeviceId(1)],
        outcomes: vec![1],
        reasons: Vec::new(),
        reason_indexes: Vec::new(),
        provider_ids: Vec::new(),
        began_ms: 0,
        progress: true,
    });
    assert!(record::record(conn, &batch).await.unwrap().is_empty());
    let token = DeviceToken::parse(apns::PLATFORM, &"ab".repeat(32)).unwrap();
    let verdict = |device| TokenVerdict {
        device: DeviceId(device),
        lane: LaneId(1),
        digest: token.digest(),
        since: chrono::DateTime::UNIX_EPOCH,
        reason: Reason::new("Unregistered"),
        certainty: Certainty::Certain,
    };
    quarantine::apply(conn, &[verdict(1), verdict(2)]).await.unwrap();
    quarantine::restore(conn, LaneId(1), "BadDeviceToken").await.unwrap();
    let (stated, proven) = (apns::PRODUCTION, apns::SANDBOX);
    let proof =
        |device| EnvironmentProof { device: DeviceId(device), digest: token.digest(), stated, proven };
    environments::prove(conn, &[proof(1), proof(2)]).await.unwrap();
}

async fn run(pool: &SessionPool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}
