//! A node knows the keys of the day before, and Postgres looks up only those that may be among them.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use pushpost::domain::IdempotencyKey;
use pushpost::queue::accept::FormerKeys;
use sqlx::types::Uuid;
use sqlx::{AssertSqlSafe, PgConnection};

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::request::service_without_workers;
use tokio::time::timeout;

use super::{body, post, send_first};

/// Moves the keys of today to the day before, as if they were twelve hours old.
const BECOME_FORMER: &str = "
    update idempotency_keys set day = day - 1, created_at = created_at - interval '12 hours'";
/// So many that they are read in several parts.
const MANY: i64 = 200_000;

fn digest(key: &str) -> Uuid {
    Uuid::from_bytes(IdempotencyKey::parse(key).unwrap().0)
}

async fn today(db: &TestDatabase) -> NaiveDate {
    sqlx::query_scalar("select (now() at time zone 'UTC')::date").fetch_one(&db.pool).await.unwrap()
}

#[tokio::test]
async fn each_key_of_the_day_before_is_known_and_few_others_are_suspected() {
    let db = TestDatabase::create().await;
    let keys = FormerKeys::default();
    assert_eq!(keys.may_have(IdempotencyKey([1; 16])), None, "nothing was read");
    let fill = format!(
        "insert into idempotency_keys (day, app_id, created_at, key_digest, request_digest, notification_id)
         select (now() at time zone 'UTC')::date - 1, 1, now(), md5(n::text)::uuid, gen_random_uuid(), gen_random_uuid()
         from generate_series(1, {MANY}) n"
    );
    db.execute(&fill).await;
    let until_next = loop {
        let until_next = keys.refresh(&db.pool).await.unwrap();
        if keys.may_have(IdempotencyKey([1; 16])).is_some() {
            break until_next;
        }
        // Midnight was a moment ago.
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    assert!(until_next <= Duration::from_secs(24 * 3600), "{until_next:?}");
    let all: Vec<Uuid> =
        sqlx::query_scalar("select key_digest from idempotency_keys").fetch_all(&db.pool).await.unwrap();
    assert_eq!(all.len(), usize::try_from(MANY).unwrap());
    assert!(all.iter().all(|key| keys.may_have(IdempotencyKey(*key.as_bytes())) == Some(true)));
    let free = (0..10_000).filter_map(|number| IdempotencyKey::parse(&format!("free{number}")));
    let suspected = free.filter(|key| keys.may_have(*key) == Some(true)).count();
    assert!(suspected < 100, "{suspected} of 10,000 free keys");
}

/// Stores one key as of a time, of which this node says whether it may be stored on `filtered_day`. True: it was free.
async fn store(
    conn: &mut PgConnection,
    at: DateTime<Utc>,
    key: &str,
    filtered_day: NaiveDate,
    suspects: &[Uuid],
) -> bool {
    let taken: Vec<Uuid> = sqlx::query_scalar(
        "select store_idempotency_keys($1, array[1]::smallint[], array[$2], array[gen_random_uuid()],
                                       array[gen_random_uuid()], array[1], null, $3, $4)",
    )
    .bind(at)
    .bind(digest(key))
    .bind(filtered_day)
    .bind(suspects)
    .fetch_one(conn)
    .await
    .unwrap();
    taken.is_empty()
}

/// What a node knows of another day, or knows near midnight, excludes nothing: each key is looked up.
#[tokio::test]
async fn a_key_is_not_looked_up_only_if_the_day_before_is_known_not_to_have_it() {
    let db = TestDatabase::create().await;
    let mut conn = db.raw_connection().await;
    let day = today(&db).await + Days::new(2);
    let at = |day: NaiveDate, time: &str| day.and_time(time.parse::<NaiveTime>().unwrap()).and_utc();
    let former = day - Days::new(1);
    assert!(store(&mut conn, at(former, "12:00"), "k", former - Days::new(1), &[]).await);
    let cases = [
        ("11:00", former, vec![digest("k")], false, "a suspect is looked up"),
        ("11:00", former - Days::new(1), vec![], false, "the node knows an older day"),
        ("11:00", day, vec![], false, "the node knows a later day"),
        ("00:00:30", former, vec![], false, "midnight was a moment ago"),
        ("11:00", former, vec![], true, "the node says that the key is not of the day before"),
    ];
    for (time, filtered_day, suspects, is_free, why) in cases {
        let stored = store(&mut conn, at(day, time), "k", filtered_day, &suspects).await;
        assert_eq!(stored, is_free, "{why}");
    }
    let (late, tomorrow) = (at(former, "23:59:30"), former + Days::new(1));
    assert!(store(&mut conn, late, "l", former - Days::new(1), &[]).await);
    let early = late + TimeDelta::minutes(1);
    assert!(!store(&mut conn, early, "l", tomorrow, &[]).await, "each of a minute after midnight is looked up");
}

/// The keys of the day before are locked. A request that would look into them waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_looks_up_no_new_key_among_those_of_the_day_before() {
    let mut service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let first = send_first(&service, &s, "former", &body("f1")).await;
    service.end_nodes().await;
    service.database.execute(BECOME_FORMER).await;
    service.node(pushpost::runtime::Role::Api).await;
    let table = format!("idempotency_keys_{}", (today(&service.database).await - Days::new(1)).format("%Y%m%d"));
    let lock = format!("begin; lock table {table} in access exclusive mode");
    let mut conn = service.database.raw_connection().await;
    // Until the node has read them, each key is looked up.
    for number in 0.. {
        sqlx::raw_sql(AssertSqlSafe(lock.as_str())).execute(&mut conn).await.unwrap();
        let answered = timeout(Duration::from_secs(2), post(&s, &format!("new{number}"), &body("f2")).of(&service));
        let answered = answered.await;
        sqlx::raw_sql("rollback").execute(&mut conn).await.unwrap();
        if let Ok(answer) = answered {
            assert_eq!(answer.status, 202, "{answer:?}");
            break;
        }
        assert!(number < 120, "each key is still looked up");
    }
    super::assert_replays(&post(&s, "former", &body("f1")).of(&service).await, &first);
    service.stop_undecided().await;
}
