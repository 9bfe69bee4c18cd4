//! Audiences by topics and conditions (docs/queue.md#pages-of-topics): the same set of targets whatever the pages look like,
//! and each device once.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pushpost::audience::PageLimits;
use pushpost::domain::{Condition, DeviceId, FanOut, FanOutPart, NotificationId, TopicName};
use pushpost::queue::accept::NewNotification;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use pushpost_testkit::apps::{topics, user};
use pushpost_testkit::queue::{QueueNode, TestQueue, union_of};
use pushpost_testkit::seeds::seeds;

const TOPICS: [&str; 6] = ["t0", "t1", "t2", "t3", "t4", "team:5"];
const USERS: usize = 12;
const DEVICES: usize = 60;

/// A device as the model knows it.
struct ModelDevice {
    id: i64,
    is_active: bool,
    user: Option<usize>,
    topics: HashSet<TopicName>,
}

/// Devices and subscriptions, in the database and here.
struct Model {
    queue: TestQueue,
    devices: Vec<ModelDevice>,
    users: Vec<HashSet<TopicName>>,
}

fn some_topics(rng: &mut StdRng, probability: f64) -> HashSet<TopicName> {
    topics(&TOPICS).into_iter().filter(|_| rng.random_bool(probability)).collect()
}

impl Model {
    /// Some topics have many subscribers and some have few. Devices of another app have the same topics. The ids are neighbours, or
    /// lie apart: pages read them in other ways.
    async fn draw(rng: &mut StdRng) -> Self {
        let queue = TestQueue::create().await;
        let share = *[0.1, 0.4, 0.8].choose(rng).unwrap();
        let users: Vec<_> = (0..USERS).map(|_| some_topics(rng, share / 2.0)).collect();
        let (mut devices, mut id) = (Vec::new(), 0);
        let gap_max = *[1, 3, 20].choose(rng).unwrap();
        for _ in 0..DEVICES {
            id += rng.random_range(1..=gap_max);
            let user = rng.random_bool(0.5).then(|| rng.random_range(0..USERS));
            let topics = some_topics(rng, share);
            devices.push(ModelDevice { id, is_active: rng.random_bool(0.9), user, topics });
        }
        let model = Self { queue, devices, users };
        model.store().await;
        model
    }

    async fn store(&self) {
        let pool = &self.queue.database.pool;
        for device in &self.devices {
            // A device that is not active is quarantined, or known from a send alone.
            sqlx::query(
                "insert into devices (device_id, app_id, platform, environment, token, token_digest, user_id, quarantined_at,
                                      source)
                 overriding system value
                 select $2, $1, 2, 0, $2::text, substr(sha256($2::text::bytea), 1, 16), $3,
                        case when not $4 and $2 % 2 = 0 then now() end, case when not $4 and $2 % 2 = 1 then 1 else 0 end",
            )
            .bind(self.queue.app.id.0)
            .bind(device.id)
            .bind(device.user.map(|user| format!("u{user}")))
            .bind(device.is_active)
            .execute(pool)
            .await
            .unwrap();
            for topic in &device.topics {
                self.subscribe("subscriptions (topic_id, device_id)", "$2::bigint", topic, device.id).await;
            }
        }
        for (user, topics) in self.users.iter().enumerate() {
            for topic in topics {
                let user = i64::try_from(user).unwrap();
                let columns = "user_subscriptions (topic_id, app_id, user_id)";
                self.subscribe(columns, "app_id, 'u' || $2::bigint", topic, user).await;
            }
        }
        self.queue
            .database
            .execute(
                "select setval(pg_get_serial_sequence('devices', 'device_id'), (select max(device_id) from devices));
                 insert into topics (app_id, name) select app_id + 1, name from topics;
                 insert into user_subscriptions (topic_id, app_id, user_id)
                 select topic_id, app_id, 'u' || g from topics, generate_series(0, 11) g where app_id <> 1;
                 insert into devices (app_id, platform, environment, token, token_digest, user_id)
                 select 2, 2, 0, g::text, substr(sha256(g::text::bytea), 1, 16), 'u1' from generate_series(1, 5) g;
                 insert into subscriptions (topic_id, device_id)
                 select topic_id, device_id from topics t join devices d using (app_id) where app_id <> 1",
            )
            .await;
    }

    async fn subscribe(&self, columns: &str, values: &str, topic: &TopicName, subscriber: i64) {
        let sql = format!(
            "with new as (insert into topics (app_id, name) values (1, $1) on conflict do nothing returning topic_id, app_id),
             topic as (select * from new union all select topic_id, app_id from topics where app_id = 1 and name = $1)
             insert into {columns} select topic_id, {values} from topic"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(topic.as_str()).bind(subscriber);
        query.execute(&self.queue.database.pool).await.unwrap();
    }

    /// The targets that the audience ought to have, each with the user that it depends on.
    fn expected(&self, audience: &FanOut) -> BTreeMap<i64, Option<String>> {
        let except: HashSet<&TopicName> = audience.except_topics.iter().collect();
        let mut targets = BTreeMap::new();
        for device in self.devices.iter().filter(|device| device.is_active) {
            let mut all = device.topics.clone();
            all.extend(device.user.into_iter().flat_map(|user| self.users[user].iter().cloned()));
            let name = device.user.map(|user| format!("u{user}"));
            let is_left_out = all.iter().any(|topic| except.contains(topic))
                || audience.except_devices.contains(&DeviceId(device.id))
                || audience.except_users.iter().any(|user| Some(user.as_str()) == name.as_deref());
            let parts: Vec<_> = audience.parts.iter().filter(|part| holds(part, &all)).collect();
            if is_left_out || parts.is_empty() {
                continue;
            }
            let is_own = parts.into_iter().any(|part| holds(part, &device.topics));
            targets.insert(device.id, name.filter(|_| !is_own));
        }
        targets
    }

    /// The targets that it has.
    async fn targets(&self, id: NotificationId) -> BTreeMap<i64, Option<String>> {
        let rows: Vec<(i64, Option<String>)> =
            sqlx::query_as("select device_id, user_id from targets where notification_id = $1")
                .bind(id.0)
                .fetch_all(&self.queue.database.pool)
                .await
                .unwrap();
        let mut users: BTreeMap<i64, Option<String>> = rows.into_iter().collect();
        let devices: Vec<i64> = self.queue.outcomes(id).await.into_keys().collect();
        let targets = devices.into_iter().map(|device| (device, users.remove(&device).flatten())).collect();
        assert!(users.is_empty(), "users of devices that are no targets: {users:?}");
        targets
    }
}

fn holds(part: &FanOutPart, topics: &HashSet<TopicName>) -> bool {
    match part {
        FanOutPart::All => true,
        FanOutPart::Topics(names) => names.iter().any(|name| topics.contains(name)),
        FanOutPart::Condition(condition) => condition.holds(&|name| topics.contains(name)),
    }
}

fn condition(rng: &mut StdRng, depth: usize) -> Condition {
    let kind = if depth == 0 { 0 } else { rng.random_range(0..6) };
    let mut parts = || (0..2).map(|_| condition(rng, depth - 1)).collect();
    match kind {
        0 | 1 => {
            let name = ["t0", "t1", "t2", "t3", "t4", "team:5", "unknown"].choose(rng).unwrap();
            Condition::Topic(TopicName::parse(name).unwrap())
        }
        2 => Condition::Not(Box::new(condition(rng, depth - 1))),
        3 | 4 => Condition::All(parts()),
        _ => Condition::Any(parts()),
    }
}

fn audience(rng: &mut StdRng, devices: &[DeviceId]) -> FanOut {
    let mut parts = Vec::new();
    if rng.random_bool(0.6) {
        let names: Vec<TopicName> = some_topics(rng, 0.3).into_iter().chain(topics(&["unknown"])).collect();
        parts.push(FanOutPart::Topics(names));
    }
    if rng.random_bool(0.7) || parts.is_empty() {
        parts.push(FanOutPart::Condition(condition(rng, 3)));
    }
    if rng.random_bool(0.1) {
        parts.push(FanOutPart::All);
    }
    let mut audience = union_of(parts);
    if rng.random_bool(0.4) {
        audience.except_topics = some_topics(rng, 0.2).into_iter().collect();
    }
    if rng.random_bool(0.3) {
        audience.except_users = vec![user("u3")];
        audience.except_devices = (0..5).map(|_| *devices.choose(rng).unwrap()).collect();
    }
    audience
}

#[tokio::test]
async fn random_audiences_have_the_targets_of_a_simple_model() {
    for seed in seeds(&[1, 2, 3, 6]) {
        let mut rng = StdRng::seed_from_u64(seed);
        let model = Model::draw(&mut rng).await;
        let node = QueueNode::enter(&model.queue).await;
        let devices: Vec<DeviceId> = model.devices.iter().map(|device| DeviceId(device.id)).collect();
        let mut through_users = 0;
        for round in 0..60 {
            let audience = audience(&mut rng, &devices);
            let new = NewNotification { fan_out: Some(audience.clone()), ..model.queue.wanted([]) };
            let id = node.accept(new).await;
            let limits = PageLimits {
                devices: *[3, 10, 60, 10_000].choose(&mut rng).unwrap(),
                users: *[0, 4, 20_000].choose(&mut rng).unwrap(),
            };
            while model.queue.page_within(limits).await.is_some() {}
            let (found, expected) = (model.targets(id).await, model.expected(&audience));
            assert_eq!(found, expected, "seed {seed}, round {round}, {limits:?}: {audience:?}");
            through_users += found.values().flatten().count();
        }
        assert!(through_users > 0, "seed {seed}: no device was found through its user");
        model.queue.assert_sound().await;
    }
}

#[tokio::test]
async fn a_page_of_a_topic_that_a_node_died_in_is_found_again() {
    let mut rng = StdRng::seed_from_u64(4);
    let model = Model::draw(&mut rng).await;
    let queue = &model.queue;
    let node = QueueNode::enter(queue).await;
    let audience = union_of([FanOutPart::Topics(topics(&["t0", "t1"]))]);
    let new = NewNotification { fan_out: Some(audience.clone()), ..queue.wanted([]) };
    let id = node.accept(new).await;
    let limits = PageLimits { devices: 3, ..PageLimits::DEFAULT };
    assert_eq!(queue.page_within(limits).await.map(|(id, _)| id), Some(id));
    let before = model.targets(id).await;
    {
        let mut conn = queue.pool.acquire().await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        let apps = [queue.app.id];
        let locked = pushpost::store::fan_outs::lock_next(&mut tx, &apps, &[]).await.unwrap().unwrap();
        queue.write(&mut tx, &locked, limits).await;
        assert_eq!(queue.page_within(limits).await, None, "no page is shared");
        tx.rollback().await.unwrap();
    }
    assert_eq!(model.targets(id).await, before, "nothing of the page is left");
    while queue.page_within(limits).await.is_some() {}
    assert_eq!(model.targets(id).await, model.expected(&audience));
    queue.assert_sound().await;
}

#[tokio::test]
async fn a_device_that_comes_after_the_first_page_is_no_target() {
    let mut rng = StdRng::seed_from_u64(7);
    let model = Model::draw(&mut rng).await;
    let queue = &model.queue;
    let node = QueueNode::enter(queue).await;
    let audience = union_of([FanOutPart::Topics(topics(&TOPICS))]);
    let new = NewNotification { fan_out: Some(audience.clone()), ..queue.wanted([]) };
    let id = node.accept(new).await;
    let limits = PageLimits { devices: 10, ..PageLimits::DEFAULT };
    assert!(queue.page_within(limits).await.is_some());
    queue
        .database
        .execute(
            "insert into devices (app_id, platform, environment, token, token_digest, user_id)
             select 1, 2, 0, 'late' || user_id, substr(sha256(user_id::bytea), 1, 16), user_id
             from (select distinct user_id from user_subscriptions where app_id = 1) users;
             insert into subscriptions (topic_id, device_id)
             select topic_id, device_id from topics join devices using (app_id) where app_id = 1 and starts_with(token, 'late')",
        )
        .await;
    while queue.page_within(limits).await.is_some() {}
    assert_eq!(model.targets(id).await, model.expected(&audience));
    queue.assert_sound().await;
}

#[tokio::test]
async fn devices_that_are_named_too_are_targets_once() {
    let mut rng = StdRng::seed_from_u64(5);
    let model = Model::draw(&mut rng).await;
    let queue = &model.queue;
    let node = QueueNode::enter(queue).await;
    let mut audience = union_of([FanOutPart::Topics(topics(&TOPICS))]);
    let named: BTreeSet<i64> = model.expected(&audience).into_keys().take(4).collect();
    audience.except_devices = named.iter().copied().map(DeviceId).collect();
    let new = NewNotification { fan_out: Some(audience.clone()), ..queue.wanted(named.clone()) };
    let id = node.accept(new).await;
    while queue.page(10).await.is_some() {}
    let mut expected: BTreeSet<i64> = model.expected(&audience).into_keys().collect();
    expected.extend(named);
    assert_eq!(model.targets(id).await.into_keys().collect::<BTreeSet<_>>(), expected);
    queue.assert_sound().await;
}
