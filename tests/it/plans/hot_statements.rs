//! Every hot statement, called as the service calls it. [`super::kept_plans`] looks at the plans that Postgres keeps of them.

use bit_vec::BitVec;
use pushpost::domain::{
    AppId, Certainty, Class, CleanupCriteria, DeviceDetail, DeviceId, DeviceToken, DottedVersion,
    EnvironmentProof, FanOutPart, IdempotencyKey, JobId, KeyId, Kind, LaneId, NodeId, NotificationId,
    Priority, Reason, ShareLimit, Source, SubscriptionTerm, TokenVerdict, TopicName, UserId,
};
use pushpost::provider::{apns, fcm};
use pushpost::store::fan_outs::PageDevices;
use pushpost::store::record::NewReceipt;
use pushpost::store::{
    Session, SessionPool, accept, backlog, cancellation, cleanups, contents, deliveries, devices,
    environments, erasures, events, fan_outs, figures, idempotency, jobs, keys, lanes, notification_list,
    notifications, partitions, quarantine, record, scheduled, status, tokens, topics, waiting_jobs,
};

use pushpost_testkit::queue::union_of;

/// What the sending side of a service asks.
pub(super) async fn of_the_queue(queue: &SessionPool, id: NotificationId) {
    let mut conn = queue.acquire().await.unwrap();
    take(&mut conn).await;
    find(&mut conn, id).await;
    keep(&mut conn, id).await;
    give(&mut conn, id).await;
    clean_up(&mut conn).await;
}

/// What requests ask.
pub(super) async fn of_requests(requests: &SessionPool, id: NotificationId) {
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
    deliveries::page(requests, AppId(1), id, &filter, deliveries::DeliveryPosition::START, 100, true)
        .await
        .unwrap();
    deliveries::timeline(requests, AppId(1), DeviceId(1), None, 100).await.unwrap();
}

/// What is asked to explain a notification that waits for device 2, and one that has ended. Both have an outcome for device 1.
pub(super) async fn of_explanations(
    observe: &SessionPool,
    requests: &SessionPool,
    waits: NotificationId,
    ended: NotificationId,
) {
    let (app, device) = (AppId(1), Some(DeviceId(1)));
    for (id, device) in
        [(waits, None), (waits, device), (waits, Some(DeviceId(2))), (ended, None), (ended, device)]
    {
        assert!(deliveries::course(observe, app, id, device).await.unwrap().is_some());
    }
    assert!(deliveries::exists(observe, app, ended).await.unwrap());
    let users = vec![UserId::parse("u1").unwrap()];
    for filter in
        [deliveries::DeliveryFilter::default(), deliveries::DeliveryFilter { users, ..Default::default() }]
    {
        let start = deliveries::DeliveryPosition::START;
        let page = deliveries::page(requests, app, ended, &filter, start, 100, true).await.unwrap();
        assert_eq!(page.items.len(), 1);
    }
}

/// What the leader asks for operators.
pub(super) async fn of_operators(observe: &SessionPool) {
    let mut conn = observe.acquire().await.unwrap();
    figure(&mut conn).await;
    read_events(&mut conn).await;
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
    partitions::old_key_days(conn).await.unwrap();
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

/// What readers of the event log ask.
async fn read_events(conn: &mut Session) {
    let (id, app) = (NotificationId(uuid::Uuid::from_u128(7)), AppId(1));
    let end = events::head(conn).await.unwrap();
    events::page(conn, app, end, 200).await.unwrap();
    let long_ago = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
    events::since(conn, app, long_ago).await.unwrap();
    let receipts = [(id, events::ReceiptId(1)), (id, events::ReceiptId(2))];
    let scope = deliveries::ReceiptScope { detail: DeviceDetail::All, devices_max: 500, with_ends: true };
    deliveries::listed_receipts(conn, app, &receipts, scope).await.unwrap();
    events::ended(conn, app, &[id]).await.unwrap();
    events::devices(conn, app, &[DeviceId(1), DeviceId(2)]).await.unwrap();
    keys::still_valid(conn, &[KeyId::random()]).await.unwrap();
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
    scheduled::opened(conn, AppId(1), &[scheduled::OpenedNotification::empty(id), more]).await.unwrap();
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
    let keys = accept::KeyColumns::default();
    accept::insert_keyed(conn, &accept::AcceptBatch::default(), keys).await.unwrap();
    let key = IdempotencyKey::parse("k").unwrap();
    assert!(idempotency::find(conn, &[(AppId(1), key), (AppId(2), key)]).await.unwrap().is_empty());
    accept::find(conn, &[id]).await.unwrap();
    notifications::to_send(conn, AppId(1), &[id], &[id]).await.unwrap();
    notifications::cancelled_among(conn, AppId(1), &[id]).await.unwrap();
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
    events::sequence(conn, 500).await.unwrap();
    quarantine::apply(conn, &[verdict(1), verdict(2)]).await.unwrap();
    quarantine::restore(conn, LaneId(1), "BadDeviceToken").await.unwrap();
    let (stated, proven) = (apns::PRODUCTION, apns::SANDBOX);
    let proof =
        |device| EnvironmentProof { device: DeviceId(device), digest: token.digest(), stated, proven };
    environments::prove(conn, &[proof(1), proof(2)]).await.unwrap();
}
