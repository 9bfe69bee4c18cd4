//! The rules of docs/queue.md that only a real Postgres can show to hold: partitions, plans, claims, NOTIFY, and the load of
//! an idle node.

mod claims;
mod hot_statements;
mod hot_webhooks;
mod idle;
mod kept_plans;
mod key_function;
mod log_readers;
mod notify;
mod partitions;
mod plan_judge;

use std::sync::Arc;
use std::time::Duration;

use pushpost::domain::{LaneId, Priority};
use pushpost::queue::node_lease::NodeLease;
use pushpost::store::nodes::NodeDescription;
use pushpost::store::{Purpose, SessionPool};

use pushpost_testkit::database::TestDatabase;

/// Long enough for anything that nothing holds up, on a busy machine.
const GENEROUS: Duration = Duration::from_secs(60);

/// Connections set up as those of the service that work the queue.
fn queue_pool(db: &TestDatabase, sessions_max: u32) -> SessionPool {
    db.pool_for(Purpose::Queue, sessions_max)
}

/// A node that is not declared dead while a test runs.
async fn node(pool: &SessionPool) -> Arc<NodeLease> {
    Arc::new(
        NodeLease::register(pool, NodeDescription::of_this_program("test"), Duration::from_secs(60))
            .await
            .unwrap(),
    )
}

/// A waiting job of `devices` devices that fell due `age_secs` ago.
async fn waiting(pool: &SessionPool, lane: LaneId, priority: Priority, devices: i32, age_secs: f64) -> i64 {
    sqlx::query_scalar(
        "insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
         select gen_random_uuid(), $1, $2, now() - make_interval(secs => $4), now() + interval '1 day', $3,
                array(select d::bigint from generate_series(1, $3) d)
         returning job_id",
    )
    .bind(lane.0)
    .bind(priority.code())
    .bind(devices)
    .bind(age_secs)
    .fetch_one(pool)
    .await
    .unwrap()
}
