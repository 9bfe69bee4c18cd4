//! The timeline of a device: what became of each of its notifications, over days, for every shape of receipt.

use http::Method;
use pushpost::domain::{DeviceId, InstallationKey, NotificationId};
use pushpost::provider::apns;
use pushpost::store;
use pushpost::store::SessionPool;
use pushpost_testkit::json::assert_has;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::types::Uuid;

use pushpost_testkit::api::TestApi;
use pushpost_testkit::apps::{apns, put_id};

/// A device, and a node that writes receipts about it.
struct Past {
    device: DeviceId,
    key: InstallationKey,
    apns: i32,
}

impl Past {
    async fn of(service: &TestApi) -> Self {
        let pool = &service.database.pool;
        let device = put_id(pool, &service.shop, &apns("aa")).await;
        let key = store::apps::installation_key(&mut pool.acquire().await.unwrap()).await.unwrap();
        let apns = service.shop.lane(apns::lane(apns::PRODUCTION)).id.0;
        Self { device, key, apns }
    }

    fn path(&self, service: &TestApi, rest: &str) -> String {
        format!("/v1/devices/{}/deliveries{rest}", self.key.device_id(service.shop.id, self.device))
    }

    /// Writes a receipt of these devices, all of which ended alike, and returns the notification's id: the `number`th of
    /// the day so many days ago.
    async fn receipt(
        &self,
        pool: &SessionPool,
        days: i32,
        number: i32,
        attempt: i16,
        outcome: u8,
        of: &[i64],
    ) -> Uuid {
        let id: Uuid = sqlx::query_scalar(
            "select (left(day_floor((now() at time zone 'UTC')::date - $1)::text, 24)
                     || lpad(to_hex($2), 12, '0'))::uuid",
        )
        .bind(days)
        .bind(number)
        .fetch_one(pool)
        .await
        .unwrap();
        let bytes = format!("{outcome:02x}").repeat(of.len());
        let (first, last, n) = (of[0], of[of.len() - 1], of.len());
        let list: Vec<String> = of.iter().map(i64::to_string).collect();
        let column = match outcome & 0x7f {
            0 => "retried",
            1 => "accepted",
            3 => "token_dead",
            other => panic!("outcome {other}"),
        };
        let script = format!(
            r"insert into receipts (notification_id, job_id, lane_id, attempt, {column}, shape, first_device, last_device,
                                    devices, outcomes, reasons, reason_indexes)
              select '{id}', 1, {lane}, {attempt}, {n}, shape_of({first}, {last}, {n}), {first}, {last},
                     '{{{list}}}', '\x{bytes}', case when {outcome} <> 1 then array['word'] end,
                     case when {outcome} <> 1 then decode(repeat('01', {n}), 'hex') end",
            lane = self.apns,
            list = list.join(","),
        );
        run(pool, script).await;
        id
    }
}

async fn run(pool: &SessionPool, script: String) {
    sqlx::raw_sql(AssertSqlSafe(script)).execute(pool).await.unwrap();
}

fn ids(items: &Value) -> Vec<Uuid> {
    let of = |item: &Value| NotificationId::parse(item["notification"].as_str().unwrap()).unwrap().0;
    items.as_array().unwrap().iter().map(of).collect()
}

#[tokio::test]
async fn every_receipt_of_a_device_is_found_newest_first_whatever_its_shape_and_day() {
    let service = TestApi::start().await;
    let (pool, past) = (&service.database.pool, Past::of(&service).await);
    let client = service.client("devices").await;
    for days in [3, 20] {
        run(pool, format!("call create_day((now() at time zone 'UTC')::date - {days})")).await;
    }
    let me = past.device.0;
    let neighbours: Vec<i64> = (me..me + 500).collect();
    let scattered: Vec<i64> = (0..100).map(|n| me + 100_000 * n).collect();
    let mut wanted = Vec::new();
    for (days, number, of) in [
        (20, 1, vec![me]),
        (3, 1, vec![me]),
        (3, 2, neighbours.clone()),
        (1, 1, scattered.clone()),
        (0, 1, neighbours.clone()),
        (0, 2, scattered.clone()),
        (0, 3, vec![me]),
    ] {
        wanted.insert(0, past.receipt(pool, days, number, 1, 1, &of).await);
        // What others were sent is not its own.
        past.receipt(pool, days, 100 + number, 1, 1, &[me + 1]).await;
        past.receipt(pool, days, 200 + number, 1, 1, &[me - 1, me + 1]).await;
        past.receipt(pool, days, 300 + number, 1, 1, &[me - 1, me + 1, me + 1_000_000]).await;
    }
    run(pool, format!("insert into targets values ('{}', {me}, 'u7', 'row-1')", wanted[0])).await;

    let all = client.get(&past.path(&service, "")).await;
    assert_eq!(all.status, 200);
    assert_eq!((ids(&all.body["items"]), &all.body["next_cursor"]), (wanted.clone(), &Value::Null));
    assert_has(
        &all.body["items"][0],
        &json!({"device": past.key.device_id(service.shop.id, past.device), "user": "u7", "ref": "row-1",
                "platform": "apns", "environment": "production", "status": "accepted", "attempts": 1,
                "reason": null, "next_attempt_at": null}),
    );
    for item in all.body["items"].as_array().unwrap() {
        assert!(item["at"].is_string() && item["provider_id"].is_string(), "{item}");
    }

    let (mut paged, mut rest) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = client.get(&past.path(&service, &rest)).await;
        paged.extend(ids(&page.body["items"]));
        let Some(cursor) = page.body["next_cursor"].as_str() else { break };
        rest = format!("?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, wanted);
}

#[tokio::test]
async fn a_timeline_has_each_notification_once_with_its_present_status() {
    let service = TestApi::start().await;
    let (pool, past) = (&service.database.pool, Past::of(&service).await);
    let client = service.client("read").await;
    let me = past.device.0;
    let again = past.receipt(pool, 0, 1, 1, 0, &[me]).await;
    past.receipt(pool, 0, 1, 2, 1, &[me]).await;
    let waiting = past.receipt(pool, 0, 2, 1, 0, &[me - 1, me]).await;
    run(
        pool,
        format!(
            "insert into jobs (notification_id, lane_id, priority, class, due_at, expires_at, attempt, device_count, devices)
             values ('{waiting}', {}, 5, 1, now() + interval '1 minute', now() + interval '1 hour', 2, 2, '{{{},{me}}}')",
            past.apns,
            me - 1
        ),
    )
    .await;
    let dead = past.receipt(pool, 0, 3, 1, 0x83, &[me]).await;

    let items = client.get(&past.path(&service, "")).await.body["items"].clone();
    assert_eq!(ids(&items), [dead, waiting, again]);
    assert_has(
        &items[0],
        &json!({"status": "token_dead", "attempts": 0, "reason": "word", "provider_id": null}),
    );
    assert_has(&items[1], &json!({"status": "pending", "attempts": 1, "reason": "word", "at": null}));
    assert!(items[1]["next_attempt_at"].is_string());
    assert_has(
        &items[2],
        &json!({"status": "accepted", "attempts": 2, "reason": null, "next_attempt_at": null}),
    );
}

#[tokio::test]
async fn another_app_does_not_see_the_timeline() {
    let service = TestApi::start().await;
    let past = Past::of(&service).await;
    past.receipt(&service.database.pool, 0, 1, 1, 1, &[past.device.0]).await;
    let path = past.path(&service, "");
    let other = service.client_of(&service.other, "devices").await;
    assert_eq!(other.get(&path).await.status, 404);
    let sender = service.client("send").await;
    assert_eq!(sender.get(&path).await.status, 403);
    let client = service.client("devices").await;
    assert_eq!(client.get("/v1/devices/dev_00000000000000000000000000000000/deliveries").await.status, 404);
    let mistyped = client.get(&past.path(&service, "?limt=1")).await;
    assert_eq!((mistyped.status.as_u16(), &mistyped.body["errors"][0]["suggestion"]), (400, &json!("limit")));
    assert_eq!(client.ask(Method::POST, &path).await.status, 405);
}
