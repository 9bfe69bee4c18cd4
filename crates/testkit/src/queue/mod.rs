//! The queue on a database with an app, without providers and without HTTP.

mod event_log;
mod fan_outs;
mod node;

use std::collections::BTreeMap;
use std::sync::Arc;

use pushpost::domain::{
    App, Content, DeliveryCounts, DeliveryStatus, DeviceId, LaneId, NodeId, NotificationId, References,
    SendTime, Target, Ttl,
};
use pushpost::provider::built_in_platforms;
use pushpost::provider::fcm;
use pushpost::queue::accept::NewNotification;
use pushpost::queue::cancellation;
use pushpost::store::deliveries::{self, Delivery, DeliveryFilter, DeliveryPosition};
use pushpost::store::{Purpose, SessionPool};
use pushpost::{maintenance, store};
use sqlx::postgres::PgConnectOptions;

pub use fan_outs::{all_but, nobody_later, union_of};
pub use node::{QueueNode, ROOM, TIMEOUT, accepted, again, end, end_all, rejected};

use crate::apps::shop;
use crate::database::{STATEMENT_TIME_MAX, TestDatabase};

/// Devices that have, in one snapshot, neither a job nor a final outcome, or more than one of them.
const FAULTS: &str = "
    with places as (
      select r.notification_id, d as device, 'receipt ' || receipt_id as place
      from receipts r, unnest(r.devices) with ordinality as u(d, o)
      where get_byte(r.outcomes, (o - 1)::int) & 127 <> 0
      union all
      select j.notification_id, d, 'job ' || job_id
      from jobs j, unnest(j.devices) with ordinality as u(d, o)
      where j.done is null or get_bit(j.done, (o - 1)::int) = 0)
    select notification_id || ': device ' || device || ' stands in ' || string_agg(place, ', ')
    from places group by notification_id, device having count(*) > 1
    union all
    select n.notification_id || ': ' || count(distinct device) || ' devices of ' || n.target_count
    from notifications n left join places p using (notification_id)
    group by n.notification_id, n.target_count having count(distinct device) <> n.target_count";

pub struct TestQueue {
    pub database: TestDatabase,
    /// Sessions set up as those of the service.
    pub pool: SessionPool,
    pub app: Arc<App>,
    /// The lane of notifications, unless a test says otherwise.
    pub lane: LaneId,
}

impl TestQueue {
    pub async fn create() -> Self {
        let database = TestDatabase::create().await;
        let app = Arc::new(shop(&database.pool).await);
        let lane = app.lane(fcm::LANE).id;
        let pool = queue_pool(database.url().parse().unwrap());
        Self { database, pool, app, lane }
    }

    /// A request for these devices, which need no rows: the queue knows only their numbers.
    pub fn wanted(&self, devices: impl IntoIterator<Item = i64>) -> NewNotification {
        let target = |device| Target {
            device: DeviceId(device),
            lane: self.lane,
            user: None,
            references: References::default(),
            refused: None,
        };
        let content = Content { title: Some("Hello".to_owned()), ..Content::default() };
        let new = NewNotification::without_targets(
            &self.app,
            content,
            SendTime::Now,
            Ttl::from_secs(3600).unwrap(),
        );
        NewNotification { targets: devices.into_iter().map(target).collect(), ..new }
    }

    pub async fn counts(&self, id: NotificationId) -> DeliveryCounts {
        let mut conn = self.database.pool.acquire().await.unwrap();
        store::status::read(&mut conn, self.app.id, id).await.unwrap().unwrap().counts
    }

    /// Cancels a notification as a request does; answers how many devices were stopped at once.
    pub async fn cancel(&self, id: NotificationId) -> u64 {
        cancellation::cancel(&self.pool, self.app.id, &[id]).await.unwrap().devices
    }

    /// Does the leader's duty for cancelled notifications.
    pub async fn sweep_cancelled(&self) {
        cancellation::sweep(&mut self.pool.acquire().await.unwrap()).await.unwrap();
    }

    /// Every delivery, page by page.
    pub async fn deliveries(&self, id: NotificationId) -> Vec<Delivery> {
        let (mut all, mut from) = (Vec::new(), Some(DeliveryPosition::START));
        while let Some(position) = from {
            let all_of_them = DeliveryFilter::default();
            let page =
                deliveries::page(&self.database.pool, self.app.id, id, &all_of_them, position, 100, false)
                    .await
                    .unwrap();
            all.extend(page.items);
            from = page.next;
        }
        all
    }

    /// The status of each device; fails if a device has two.
    pub async fn outcomes(&self, id: NotificationId) -> BTreeMap<i64, DeliveryStatus> {
        let mut outcomes = BTreeMap::new();
        for delivery in self.deliveries(id).await {
            let before = outcomes.insert(delivery.device.0, delivery.status);
            assert_eq!(before, None, "device {} has two outcomes", delivery.device);
        }
        outcomes
    }

    /// Declares a node dead as the leader does: its jobs wait again.
    pub async fn lose(&self, node: NodeId) {
        let mut conn = self.pool.acquire().await.unwrap();
        let nodes = store::nodes::watch(&mut conn).await.unwrap();
        let beat = nodes.iter().find(|watched| watched.node == node).unwrap().beat;
        assert!(store::nodes::mark_dead(&mut conn, node, beat).await.unwrap(), "it lived");
        maintenance::sweep(&mut conn, &[node]).await.unwrap();
    }

    /// Devices that break the invariant: every device of every notification has a final outcome or is in one job, not both.
    pub async fn faults(&self) -> Vec<String> {
        sqlx::query_scalar(FAULTS).fetch_all(&self.database.pool).await.unwrap()
    }

    pub async fn assert_sound(&self) {
        assert_eq!(self.faults().await, Vec::<String>::new());
    }
}

/// A few connections set up as the service's.
pub fn queue_pool(options: PgConnectOptions) -> SessionPool {
    small_queue_pool(options, 4)
}

pub fn small_queue_pool(options: PgConnectOptions, connections: u32) -> SessionPool {
    SessionPool::new(options, Purpose::Queue, connections)
        .with_platforms(built_in_platforms())
        .with_patience(STATEMENT_TIME_MAX)
}
