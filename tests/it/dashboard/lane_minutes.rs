//! The minutes of lanes: what they add up to, how long they are kept, and what pages get of them.

use pushpost::domain::{LaneId, NodeId};
use pushpost::runtime::Role;
use pushpost::store::lane_minutes::{self, CountedMinute};
use pushpost_simulator::{Action, Rule};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::json::{apns_targets, hex};
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use super::Browser;
use crate::event_streams::client::StreamClient;

async fn sum(service: &TestService, what: &str) -> i64 {
    service.database.count(&format!("select coalesce(sum({what}), 0)::bigint from lane_minutes")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_minutes_of_all_nodes_add_up_to_what_became_of_the_devices() {
    let mut service = TestService::builder().node(Role::All).node(Role::All).build().await;
    let tokens = apns_targets("a", 40);
    let dead = hex("de");
    service.rule(Rule::token(&dead, Action::Dead { timestamp_ms: None, timestamp_ago_ms: None }));
    for to in [json!({"tokens": tokens}), json!({"tokens": [{"platform": "apns", "token": dead}]})] {
        let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
        service.notifications().until_done(&id).await;
    }
    let low =
        json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "Hi", "priority": "low"});
    let id = service.notifications().send(low).await;
    service.notifications().until_done(&id).await;
    // A node stores the minute that it has begun when it stops.
    service.end_nodes().await;
    assert_eq!([sum(&service, "accepted").await, sum(&service, "failed").await], [41, 1]);
    assert_eq!(
        sum(&service, "on_time + late").await,
        41,
        "the first attempts of the objective, without that of low priority"
    );
    let answers = "(select sum(count) from unnest(provider_counts) count)";
    assert_eq!(sum(&service, answers).await, 42, "each answer of a provider");
    let nodes = "select count(distinct node_id) from lane_minutes";
    assert!((1..=2).contains(&service.database.count(nodes).await));

    // The next node shows them.
    service.node(Role::Api).await;
    let browser = Browser::with_key(&service, &service.key("read").await).await;
    let mut stream = StreamClient::read(browser.look("shop", None).await, "text/event-stream").await;
    let (mut snapshot, mut minutes) = (Value::Null, Value::Null);
    while minutes.is_null() {
        let block = stream.block().await.unwrap();
        match block.event.as_deref() {
            Some("snapshot") => snapshot = block.data.unwrap(),
            Some("minutes") => minutes = block.data.unwrap(),
            _ => {}
        }
    }
    let on_time = sum(&service, "on_time").await as f64 / 41.0;
    let shown = snapshot["objective"]["last_hour"].as_f64().unwrap();
    assert!((on_time - shown).abs() < 0.001 && snapshot["objective"]["last_day"] == shown, "{snapshot}");
    let lanes = minutes["lanes"].as_object().unwrap();
    assert_eq!(lanes.keys().collect::<Vec<_>>(), ["apns-production", "apns-sandbox", "fcm"]);
    let total = |lane: &str, name: &str| -> u64 {
        lanes[lane].as_array().unwrap().iter().map(|minute| minute[name].as_u64().unwrap()).sum()
    };
    assert_eq!((total("apns-production", "accepted"), total("apns-production", "failed")), (40, 1));
    assert_eq!((total("fcm", "accepted"), lanes["apns-sandbox"].as_array().unwrap().len()), (1, 0));
    for minute in lanes["apns-production"].as_array().unwrap() {
        assert!(minute["p95_ms"].as_f64().is_some_and(|p95| p95 > 0.0), "{minute}");
        assert!(minute["at"].as_str().unwrap().ends_with(":00.000Z"), "{minute}");
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_that_wait_while_nothing_ends_are_in_the_minutes_once() {
    let db = TestDatabase::create().await;
    let mut conn = db.pool.acquire().await.unwrap();
    db.execute("insert into apps (name) values ('shop')").await;
    db.execute("insert into lanes (app_id, platform, environment) select app_id, p, 0 from apps, generate_series(1, 2) p").await;
    db.execute("insert into lane_figures select lane_id, 5, 7, now(), 0, 0, false, now() from lanes where platform = 1").await;
    let lanes: Vec<i32> =
        sqlx::query_scalar("select lane_id from lanes order by platform").fetch_all(&mut conn).await.unwrap();
    let minute = chrono::DateTime::from_timestamp(db.now_ms().await / 60_000 * 60, 0).unwrap();
    let counted = |lane: i32, accepted: u64| CountedMinute {
        lane: LaneId(lane),
        minute,
        accepted,
        failed: 0,
        on_time: accepted,
        late: 0,
        provider_counts: vec![accepted, 0],
    };
    let minutes = [counted(lanes[0], 0), counted(lanes[1], 0)];
    for (node, leads) in [(1, false), (2, true), (2, true)] {
        lane_minutes::store(&mut conn, NodeId(node), &minutes, leads).await.unwrap();
    }
    let app = sqlx::query_scalar("select app_id from apps")
        .fetch_one(&mut conn)
        .await
        .map(pushpost::domain::AppId)
        .unwrap();
    let hour = lane_minutes::last_hour(&mut conn, app).await.unwrap();
    assert_eq!(
        hour.iter().map(|minute| (minute.lane.0, minute.waiting)).collect::<Vec<_>>(),
        [(lanes[0], Some(7))]
    );

    // What is stored again is not added; what two nodes store is.
    for node in [1, 1, 3] {
        lane_minutes::store(&mut conn, NodeId(node), &[counted(lanes[0], 5)], false).await.unwrap();
    }
    let hour = lane_minutes::last_hour(&mut conn, app).await.unwrap();
    assert_eq!((hour.len(), hour[0].accepted, &hour[0].provider_counts[..]), (1, 10, &[10, 0][..]));
    assert_eq!(hour[0].waiting, Some(7), "all nodes read the same figures");
    let [last_hour, last_day] = lane_minutes::objective(&mut conn, app).await.unwrap();
    assert_eq!((last_hour.on_time, last_hour.late, last_day), (10, 0, last_hour));

    db.execute("update lane_minutes set minute = minute - interval '23 hours'").await;
    assert_eq!(lane_minutes::delete_old(&mut conn, 100).await.unwrap(), 0);
    assert_eq!(lane_minutes::objective(&mut conn, app).await.unwrap()[1].on_time, 10);
    db.execute("update lane_minutes set minute = minute - interval '2 hours'").await;
    assert_eq!(lane_minutes::delete_old(&mut conn, 2).await.unwrap(), 2, "in batches");
    assert_eq!(lane_minutes::delete_old(&mut conn, 100).await.unwrap(), 1);
}
