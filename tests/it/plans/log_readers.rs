//! What readers of the event log ask is planned once, and opens no day but those that can have its rows.

use std::collections::BTreeSet;

use pushpost::domain::{AppId, DeviceDetail, LogPosition, NotificationId};
use pushpost::store::deliveries::ReceiptScope;
use pushpost::store::events::{self, ReceiptId};
use pushpost::store::{Purpose, Session, SessionPool, deliveries, notifications, webhooks};
use pushpost_testkit::database::TestDatabase;
use serde_json::Value;

use super::hot_webhooks;
use super::plan_judge::kept_plans;

/// Tables with a partition for each day.
const DAILY: [&str; 4] = ["event_log_", "receipts_", "notifications_", "targets_"];
/// A receipt of many devices, so that addressing is asked for as a whole too.
const RECEIPT: &str = "
    with id as (select day_floor((now() at time zone 'UTC')::date) as id),
    stored as (
      insert into notifications (notification_id, app_id, priority, due_at, expires_at, target_count)
      select id, 1, 5, now(), now(), 9 from id)
    insert into receipts (notification_id, job_id, lane_id, attempt, accepted, shape, first_device, last_device, devices, outcomes)
    select id, 1, 1, 1, 9, 'r', 1, 9, array[1, 2, 3, 4, 5, 6, 7, 8, 9], '\\x010101010101010101' from id
    returning receipt_id";

async fn read(conn: &mut Session, id: NotificationId, receipt: ReceiptId) {
    let (app, keys) = (AppId(1), [(id, receipt)]);
    let today: chrono::NaiveDate =
        sqlx::query_scalar("select (now() at time zone 'UTC')::date").fetch_one(&mut *conn).await.unwrap();
    events::page(conn, app, LogPosition { position: 0, day: today }, 8).await.unwrap();
    let scope = ReceiptScope { detail: DeviceDetail::All, devices_max: 500, with_ends: true };
    let found = deliveries::listed_receipts(conn, app, &keys, scope).await.unwrap();
    assert_eq!(found[0].devices.as_ref().unwrap().len(), 9);
    assert_eq!(events::ended(conn, app, &[id]).await.unwrap().len(), 1);
    notifications::traces_of(conn, app, &[id]).await.unwrap();
    webhooks::list(conn, app).await.unwrap();
    webhooks::figures(conn).await.unwrap();
    webhooks::refresh_idle(conn).await.unwrap();
}

/// The statements of the only connection of a pool that were planned for their arguments, which costs more than to run them.
async fn planned_again(pool: &SessionPool) -> Vec<String> {
    let sql = "select statement from pg_prepared_statements where custom_plans > 0";
    sqlx::query_scalar(sql).persistent(false).fetch_all(pool).await.unwrap()
}

fn tables(plan: &Value, found: &mut BTreeSet<String>) {
    match plan {
        Value::Array(parts) => parts.iter().for_each(|part| tables(part, found)),
        Value::Object(members) => {
            found.extend(members.get("Relation Name").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|part| tables(part, found));
        }
        _ => {}
    }
}

#[tokio::test]
async fn readers_of_the_log_plan_once_and_open_the_days_of_their_rows_alone() {
    let db = TestDatabase::create().await;
    let receipt: i64 = sqlx::query_scalar(RECEIPT).fetch_one(&db.pool).await.unwrap();
    let day = "select day_floor((now() at time zone 'UTC')::date), (now() at time zone 'UTC')::date";
    let (id, today): (uuid::Uuid, chrono::NaiveDate) = sqlx::query_as(day).fetch_one(&db.pool).await.unwrap();
    let id = NotificationId(id);
    let pool = db.pool_for(Purpose::Observe, 1);
    for _ in 0..7 {
        hot_webhooks::of_webhooks(&pool, id).await;
        read(&mut pool.acquire().await.unwrap(), id, ReceiptId(receipt)).await;
    }
    assert_eq!(planned_again(&pool).await, Vec::<String>::new());
    // Entries may be a day ahead, and an hour behind the entry before.
    let of_log = [-1, 0, 1].map(|ahead| today + chrono::TimeDelta::days(ahead));
    let mut judged = 0;
    let of_today = format!("{}", today.format("%Y%m%d"));
    for (statement, plan) in kept_plans(&mut pool.acquire().await.unwrap(), id).await {
        let mut opened = BTreeSet::new();
        tables(&plan, &mut opened);
        opened.retain(|table| DAILY.iter().any(|of| table.starts_with(of)));
        judged += usize::from(!opened.is_empty());
        for table in opened {
            let is_of_log = of_log.iter().any(|day| table == format!("event_log_{}", day.format("%Y%m%d")));
            assert!(is_of_log || table.ends_with(&of_today), "{table} is opened by {statement}");
        }
    }
    assert!(judged >= 9, "only {judged} statements open a day");
}
