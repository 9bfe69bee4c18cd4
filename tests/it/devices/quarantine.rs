//! Verdicts quarantine devices, and what protects a device from a verdict (docs/queue.md#pruning).

use chrono::{DateTime, TimeDelta, Utc};
use pushpost::domain::{App, Certainty, DeviceId, LaneId, Reason, TokenDigest, TokenVerdict};
use pushpost::pruning::quarantine as pruning;
use pushpost::registry::devices::{DeviceWithTopics, find};
use pushpost::store;
use pushpost::store::SessionPool;

use pushpost_testkit::apps::{apns, apns_token, of, put, put_id, shop};
use pushpost_testkit::database::TestDatabase;

async fn device(pool: &SessionPool, app: &App, id: DeviceId) -> DeviceWithTopics {
    find(pool, app.id, id).await.unwrap().unwrap()
}

async fn now(pool: &SessionPool) -> DateTime<Utc> {
    store::devices::transaction_time(&mut pool.acquire().await.unwrap()).await.unwrap()
}

fn verdict(device: DeviceId, digest: TokenDigest, since: DateTime<Utc>) -> TokenVerdict {
    let (reason, certainty) = (Reason::new("Unregistered"), Certainty::Certain);
    TokenVerdict { device, lane: LaneId(1), digest, since, reason, certainty }
}

async fn apply(pool: &SessionPool, verdicts: &[TokenVerdict]) -> Vec<DeviceId> {
    let mut conn = pool.acquire().await.unwrap();
    let mut done = pruning::quarantine(&mut conn, verdicts).await.unwrap();
    done.sort();
    done
}

#[tokio::test]
async fn a_verdict_quarantines_a_device_registered_before_its_evidence() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let id = put_id(pool, &app, &apns("aa")).await;
    let registered_at = device(pool, &app, id).await.device.registered_at.unwrap();
    let digest = apns_token("aa").digest();

    let earlier = verdict(id, digest, registered_at - TimeDelta::microseconds(1));
    assert_eq!(apply(pool, &[earlier]).await, [], "registered after the evidence");
    assert_eq!(
        apply(pool, &[verdict(id, apns_token("bb").digest(), now(pool).await)]).await,
        [],
        "another token"
    );
    assert!(device(pool, &app, id).await.device.quarantine.is_none());

    assert_eq!(apply(pool, &[verdict(id, digest, registered_at)]).await, [id]);
    let quarantine = device(pool, &app, id).await.device.quarantine.unwrap();
    assert_eq!((quarantine.reason.0.as_str(), quarantine.evidence_at), ("Unregistered", Some(registered_at)));
    assert_eq!(apply(pool, &[verdict(id, digest, now(pool).await)]).await, [], "already aside");
    assert_eq!(device(pool, &app, id).await.device.quarantine.unwrap(), quarantine);
}

#[tokio::test]
async fn any_evidence_counts_against_a_device_that_was_never_registered() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let id = put_id(pool, &app, &apns("aa")).await;
    sqlx::query("update devices set registered_at = null").execute(pool).await.unwrap();
    let long_ago = DateTime::from_timestamp(1, 0).unwrap();
    assert_eq!(apply(pool, &[verdict(id, apns_token("aa").digest(), long_ago)]).await, [id]);
}

#[tokio::test]
async fn evidence_from_the_future_does_not_quarantine_a_device_for_ever() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let id = put_id(pool, &app, &apns("aa")).await;
    let future = now(pool).await + TimeDelta::days(365_000);
    assert_eq!(apply(pool, &[verdict(id, apns_token("aa").digest(), future)]).await, [id]);
    let again = put(pool, &app, &apns("aa")).await.known.device;
    assert!(again.quarantine.is_none());
}

#[tokio::test]
async fn of_two_verdicts_on_one_device_the_later_counts() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let ids = [put_id(pool, &app, &apns("aa")).await, put_id(pool, &app, &apns("bb")).await];
    let (early, late) = (DateTime::from_timestamp(1, 0).unwrap(), now(pool).await);
    let verdicts = [
        verdict(ids[0], apns_token("aa").digest(), late),
        verdict(ids[1], apns_token("bb").digest(), early),
        verdict(ids[0], apns_token("aa").digest(), early),
    ];
    assert_eq!(apply(pool, &verdicts).await, [ids[0]]);
}

#[tokio::test]
async fn recorders_with_the_same_devices_in_opposite_order_do_not_deadlock() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let mut verdicts = Vec::new();
    for n in 0..60 {
        let two = format!("{n:02x}");
        let id = put_id(pool, &app, &apns(&two)).await;
        verdicts.push((id, apns_token(&two).digest()));
    }
    let since = now(pool).await;
    for round in 0..20 {
        sqlx::query("update devices set quarantined_at = null").execute(pool).await.unwrap();
        let one: Vec<_> = verdicts.iter().map(|(id, digest)| verdict(*id, *digest, since)).collect();
        let other: Vec<_> = one.iter().rev().cloned().collect();
        let (one, other) = tokio::join!(apply(pool, &one), apply(pool, &other));
        assert_eq!(one.len() + other.len(), verdicts.len(), "round {round}: each device is set aside once");
    }
}

#[tokio::test]
async fn a_verdict_waits_for_a_registration_under_way_and_then_respects_it() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let id = put_id(pool, &app, &apns("aa")).await;
    let since = now(pool).await;
    let mut registering = pushpost::store::begin(pool).await.unwrap();
    sqlx::query("update devices set registered_at = now()").execute(&mut *registering).await.unwrap();
    let verdicts = [verdict(id, apns_token("aa").digest(), since)];
    let applied = apply(pool, &verdicts);
    let commit = async {
        // Until the verdict waits for the row.
        loop {
            let waiting = "select count(*) from pg_stat_activity
                           where datname = current_database() and wait_event_type = 'Lock'";
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap();
            if waiting > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        registering.commit().await.unwrap();
    };
    let (applied, ()) = tokio::join!(applied, commit);
    assert_eq!(applied, []);
}

#[tokio::test]
async fn loaded_devices_have_their_user_and_their_quarantine() {
    let database = TestDatabase::create().await;
    let (pool, app) = (&database.pool, shop(&database.pool).await);
    let ids = [
        put_id(pool, &app, &of("u1", apns("aa"))).await,
        put_id(pool, &app, &apns("bb")).await,
        DeviceId(i64::MAX),
    ];
    apply(pool, &[verdict(ids[1], apns_token("bb").digest(), now(pool).await)]).await;
    let mut loaded = store::tokens::load(&mut pool.acquire().await.unwrap(), &ids).await.unwrap();
    loaded.sort_by_key(|device| device.device);
    assert_eq!(loaded.len(), 2, "who is gone is missing");
    assert_eq!(loaded[0].token, apns_token("aa"));
    assert_eq!(loaded[0].user.as_ref().map(|user| user.as_str()), Some("u1"));
    assert_eq!((loaded[0].quarantined, loaded[1].quarantined), (false, true));
}
