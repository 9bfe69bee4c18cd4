//! Lists of devices where many must be looked at for few that match: a call reads a bounded number, and the next one goes on.

use pushpost::domain::{AppId, DeviceId};
use pushpost::provider::{apns, fcm};
use pushpost::registry::device_list;
use pushpost::store::devices::{DeviceFilter, DevicePage, list};
use pushpost::store::{Purpose, SessionPool};
use pushpost_testkit::apps::{shop, topics};
use pushpost_testkit::database::TestDatabase;

/// More than a call looks at.
const DEVICES: i64 = 45_000;
/// Every second device has a user with the topic `users`, which 2,500 users have. Every hundredth device has the topic `few` itself. The
/// last device alone is of APNs.
const FILL: &str = "
    insert into devices (app_id, platform, environment, token, token_digest, user_id)
    select 1, case g when 45000 then 1 else 2 end, case g when 45000 then 1 else 0 end, g::text,
           substr(sha256(g::text::bytea), 1, 16), 'u' || g % 5000
    from generate_series(1, 45000) g;
    insert into topics (app_id, name) values (1, 'users'), (1, 'few');
    insert into user_subscriptions (topic_id, app_id, user_id)
    select topic_id, 1, 'u' || g from topics, generate_series(0, 4999, 2) g where name = 'users';
    insert into subscriptions (topic_id, device_id)
    select topic_id, device_id from topics, devices where name = 'few' and device_id % 100 = 7";

async fn database() -> TestDatabase {
    let database = TestDatabase::create().await;
    assert_eq!(shop(&database.pool).await.id.0, 1);
    database.execute(FILL).await;
    database
}

/// The devices that the list has, page by page.
async fn all(pool: &SessionPool, filter: &DeviceFilter, limit: usize) -> Vec<i64> {
    let (mut found, mut after) = (Vec::new(), DeviceId(0));
    loop {
        let page = device_list::list(pool, AppId(1), filter, after, limit).await.unwrap();
        assert!(page.devices.len() <= limit);
        found.extend(page.devices.iter().map(|known| known.device.id.0));
        let Some(next) = page.next else { return found };
        assert!(next > after, "the list goes on");
        after = next;
    }
}

#[tokio::test]
async fn a_call_looks_at_a_bounded_number_of_devices() {
    let database = database().await;
    let pool = database.pool_for(Purpose::Requests, 1);
    let filter = DeviceFilter { platforms: Some(vec![apns::PLATFORM]), ..DeviceFilter::default() };
    let (mut calls, mut after, mut found) = (0, DeviceId(0), Vec::new());
    loop {
        let mut conn = pool.acquire().await.unwrap();
        let page = DevicePage { after, limit: 10 };
        let part = list(&mut conn, AppId(1), &filter, page).await.unwrap();
        calls += 1;
        found.extend(part.devices.iter().map(|device| device.id.0));
        let Some(reached) = part.reached else { break };
        assert!(reached > after);
        after = reached;
    }
    assert_eq!((calls, found), (3, vec![DEVICES]), "20,000 devices a call");
    assert_eq!(all(&pool, &filter, 10).await, [DEVICES]);
}

#[tokio::test]
async fn topics_of_few_and_of_many_users_list_the_same_devices_as_a_simple_search() {
    let database = database().await;
    let pool = database.pool_for(Purpose::Requests, 1);
    for (names, expected) in [
        (vec!["few"], "device_id % 100 = 7"),
        (vec!["users"], "device_id % 2 = 0"),
        (vec!["few", "users"], "device_id % 100 = 7 or device_id % 2 = 0"),
    ] {
        let sql =
            format!("select device_id from devices where platform = 2 and ({expected}) order by device_id");
        let expected: Vec<i64> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&database.pool).await.unwrap();
        let filter = DeviceFilter {
            topics: Some(topics(&names)),
            platforms: Some(vec![fcm::PLATFORM]),
            ..DeviceFilter::default()
        };
        assert_eq!(all(&pool, &filter, 1000).await, expected, "{names:?}");
    }
}
