//! The end of a notification that comes with its only receipt is the one that its rows tell when they are read as a whole.

use pushpost::domain::{AppId, DeviceDetail, NotificationId};
use pushpost::store::deliveries::{ReceiptKey, ReceiptScope, listed_receipts};
use pushpost::store::events::{self, ReceiptId};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::seeds::seeds;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::types::Uuid;

use super::APP;

const NOTIFICATIONS: usize = 400;
const NEW_NOTIFICATION: &str = "
    insert into notifications (notification_id, app_id, priority, created_at, due_at, expires_at, target_count, cancelled_at,
                               audience_cancelled, label, metadata)
    select (left(id_floor(now() + $1 * interval '1 hour')::text, 13) || right(gen_random_uuid()::text, 23))::uuid, $2, 5,
           now() - interval '1 minute', now() + $3 * interval '1 second', now(), $4,
           case when $5 then now() + interval '5 seconds' end, $6, $7, $8
    returning notification_id";
const NEW_RECEIPT: &str = "
    insert into receipts (notification_id, job_id, lane_id, attempt, began_at, recorded_at, accepted, rejected, token_dead, expired,
                          cancelled, unknown, retried, shape, first_device, last_device, devices, outcomes, reasons, reason_indexes)
    select $1, $2, 1, $3, now() - $4 * interval '1 second', now() + $4 * interval '1 ms', counts[2], counts[3], counts[4], counts[5],
           counts[6], counts[7], counts[1], shape_of(1, length($5), length($5)), 1, length($5),
           array(select generate_series(1, length($5))::bigint), $5, $6::text[], case when $6 is not null then $5 end
    from (select array(select (select count(*) from generate_series(0, length($5) - 1) g where get_byte($5, g) = outcome)::smallint
                       from generate_series(0, 6) outcome order by outcome) as counts) c
    returning receipt_id";

/// A receipt that is stored: whether it alone, and nothing but its attempt, ended its notification.
struct Made {
    key: ReceiptKey,
    tells_end: bool,
}

/// Stores a notification with up to three receipts, of outcomes that are mostly plain and sometimes of every kind.
async fn make(db: &TestDatabase, rng: &mut StdRng, made: &mut Vec<Made>) {
    let sizes: Vec<usize> = match rng.random_range(0..10) {
        0..6 => vec![rng.random_range(1..5)],
        _ => (0..rng.random_range(0..4)).map(|_| rng.random_range(1..4)).collect(),
    };
    let is_plain = rng.random_bool(0.6);
    let receipts: Vec<Vec<u8>> = sizes.iter().map(|size| outcomes(rng, *size, is_plain)).collect();
    let all: usize = receipts.iter().flatten().filter(|outcome| **outcome != 0).count();
    let devices = i32::try_from(all).unwrap() + rng.random_range(0..8) / 7;
    let target_count = (!rng.random_bool(0.1)).then_some(devices);
    let [is_cancelled, is_audience_cancelled] = [rng.random_bool(0.1), rng.random_bool(0.1)];
    let of_app = if rng.random_bool(0.1) { AppId(2) } else { APP };
    let id: Uuid = sqlx::query_scalar(NEW_NOTIFICATION)
        .bind(-f64::from(rng.random_range(0..30)))
        .bind(of_app.0)
        .bind(f64::from(rng.random_range(-30..3)))
        .bind(target_count)
        .bind(is_cancelled)
        .bind(is_audience_cancelled)
        .bind(rng.random_bool(0.5).then_some("spring"))
        .bind(rng.random_bool(0.5).then_some(br#"{"order":"789"}"#.as_slice()))
        .fetch_one(&db.pool)
        .await
        .unwrap();
    for outcomes in &receipts {
        let attempt: i16 = if rng.random_bool(0.8) { 1 } else { 2 };
        let has_reasons = !is_plain && rng.random_bool(0.5);
        let reasons = has_reasons.then(|| (0..6).map(|_| "requested").collect::<Vec<_>>());
        let receipt: i64 = sqlx::query_scalar(NEW_RECEIPT)
            .bind(id)
            .bind(i64::from(rng.random_range(0..4)))
            .bind(attempt)
            .bind(f64::from(rng.random_range(0..40)))
            .bind(outcomes)
            .bind(reasons)
            .fetch_one(&db.pool)
            .await
            .unwrap();
        let has_ended = receipts.len() == 1 && target_count == Some(i32::try_from(outcomes.len()).unwrap());
        let is_cancelled = is_cancelled || is_audience_cancelled || outcomes.contains(&5);
        let tells_end = has_ended && !is_cancelled && !outcomes.contains(&0) && attempt == 1 && of_app == APP;
        made.push(Made { key: (NotificationId(id), ReceiptId(receipt)), tells_end });
    }
}

/// As receipts have them: 0 a device that is tried again, 1 an accepted one, 5 a cancelled one.
fn outcomes(rng: &mut StdRng, size: usize, is_plain: bool) -> Vec<u8> {
    let outcome = |rng: &mut StdRng| match is_plain {
        true => 1,
        false => rng.random_range(0..7),
    };
    (0..size).map(|_| outcome(rng)).collect()
}

#[tokio::test]
async fn an_end_that_comes_with_its_receipt_is_that_of_the_whole_notification() {
    let db = TestDatabase::create().await;
    for seed in seeds(&[1, 2]) {
        let (mut rng, mut made) = (StdRng::seed_from_u64(seed), Vec::new());
        for _ in 0..NOTIFICATIONS {
            make(&db, &mut rng, &mut made).await;
        }
        let mut conn = db.pool.acquire().await.unwrap();
        let keys: Vec<ReceiptKey> = made.iter().map(|made| made.key).collect();
        let scope = ReceiptScope { detail: DeviceDetail::All, devices_max: 500, with_ends: true };
        let read = listed_receipts(&mut conn, APP, &keys, scope).await.unwrap();
        assert_eq!(read.len(), made.len());
        let mut ends = 0;
        for (receipt, made) in read.into_iter().zip(&made) {
            let whole = events::ended(&mut conn, APP, &[made.key.0]).await.unwrap().pop();
            assert_eq!(receipt.end.is_some(), made.tells_end, "seed {seed}: {receipt:?} of {whole:?}");
            if receipt.end.is_some() {
                assert_eq!(receipt.end, whole, "seed {seed}");
                ends += 1;
            }
        }
        assert!(ends > NOTIFICATIONS / 8, "seed {seed}: {ends} ends");
        let unasked = ReceiptScope { with_ends: false, ..scope };
        let read = listed_receipts(&mut conn, APP, &keys, unasked).await.unwrap();
        assert!(read.iter().all(|receipt| receipt.end.is_none()), "no end is read that is not asked for");
    }
}
