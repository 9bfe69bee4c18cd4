//! Imports of the same devices at once, and beside registrations and verdicts.

use std::collections::HashSet;

use pushpost::domain::{Certainty, DeviceId, LaneId, Reason, TokenVerdict};
use pushpost::pruning::quarantine as pruning;
use serde_json::{Value, json};

use super::{fcm_with, ndjson};
use pushpost_testkit::api::{ApiClient, TestApi};
use pushpost_testkit::apps::fcm_token;

const DEVICES: usize = 1_500;

/// All tokens, from one end or the other, with two topics each.
fn table(user: &str, reverse: bool) -> String {
    let line = |n: usize| {
        let topics = [format!("t{}", n % 7), format!("t{}", n % 5)];
        fcm_with(&format!("f{n}"), json!({"user": format!("{user}{n}"), "topics": topics}))
    };
    let mut lines: Vec<Value> = (0..DEVICES).map(line).collect();
    if reverse {
        lines.reverse();
    }
    ndjson(&lines)
}

async fn import(client: &ApiClient<'_>, body: String) -> (u64, u64) {
    let answer = client.import("", body).await;
    assert_eq!((answer.status.as_u16(), &answer.body["failed"]), (200, &json!(0)), "{}", answer.body);
    (answer.body["created"].as_u64().unwrap(), answer.body["updated"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imports_of_the_same_tokens_at_once_make_each_device_once() {
    let service = TestApi::start().await;
    let client = service.client("devices").await;
    let (a, b, c) = tokio::join!(
        import(&client, table("a", false)),
        import(&client, table("b", true)),
        import(&client, table("c", false))
    );
    assert_eq!(a.0 + b.0 + c.0, DEVICES as u64, "each was created by one of them");
    assert_eq!(a.1 + b.1 + c.1, 2 * DEVICES as u64);
    let rows = "select count(*), count(distinct token), (select count(*) from subscriptions), (select count(*) from topics)
                from devices";
    let (devices, tokens, subscriptions, topics): (i64, i64, i64, i64) =
        sqlx::query_as(rows).fetch_one(&service.database.pool).await.unwrap();
    let pairs: usize = (0..DEVICES).map(|n| if n % 7 == n % 5 { 1 } else { 2 }).sum();
    assert_eq!((devices, tokens), (DEVICES as i64, DEVICES as i64));
    assert_eq!((subscriptions, topics), (pairs as i64, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_imports_registrations_and_verdicts_do_not_deadlock() {
    let service = TestApi::start().await;
    let client = service.client("devices").await;
    import(&client, table("a", false)).await;
    let pool = &service.database.pool;
    let ids: Vec<i64> =
        sqlx::query_scalar("select device_id from devices order by device_id").fetch_all(pool).await.unwrap();
    let tokens: Vec<String> =
        sqlx::query_scalar("select token from devices order by device_id").fetch_all(pool).await.unwrap();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), DEVICES);
    let verdicts: Vec<TokenVerdict> = ids
        .iter()
        .zip(&tokens)
        .map(|(id, token)| TokenVerdict {
            device: DeviceId(*id),
            lane: LaneId(1),
            digest: fcm_token(token).digest(),
            since: chrono::DateTime::UNIX_EPOCH,
            reason: Reason::new("UNREGISTERED"),
            certainty: Certainty::Certain,
        })
        .collect();
    let judge = async {
        for _ in 0..5 {
            let mut conn = pool.acquire().await.unwrap();
            pruning::quarantine(&mut conn, &verdicts).await.unwrap();
        }
    };
    let register = async {
        for n in 0..100 {
            let line =
                fcm_with(&format!("f{n}"), json!({"replaces": format!("f{}", n + 100), "topics": ["x"]}));
            assert_eq!(client.put("/v1/devices", line).await.status, 200);
        }
    };
    let (_, _, (), ()) =
        tokio::join!(import(&client, table("b", false)), import(&client, table("c", true)), judge, register);
}
