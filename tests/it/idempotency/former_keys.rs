//! A node knows the keys of the day before, and Postgres looks up only those that may be among them.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use pushpost::domain::IdempotencyKey;
use pushpost::queue::accept::FormerKeys;
use sqlx::types::Uuid;
use sqlx::{AssertSqlSafe, PgConnection};

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::request::service_without_workers;
use tokio::time::{sleep, timeout};

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

/// Refreshes until the day before is known. Midnight may have been a moment ago.
async fn until_known(keys: &FormerKeys, db: &TestDatabase) {
    while keys.may_have(IdempotencyKey([1; 16])).is_none() {
        keys.refresh(&db.pool).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn each_key_of_the_day_before_is_known_and_few_others_are_suspected() {
    let db = TestDatabase::create().await;
    let keys = FormerKeys::default();
    let fill = format!(
        "insert into idempotency_keys (day, app_id, created_at, key_digest, request_digest, notification_id)
         select (now() at time zone 'UTC')::date - 1, 1, now(), md5(n::text)::uuid, gen_random_uuid(), gen_random_uuid()
         from generate_series(1, {MANY}) n"
    );
    db.execute(&fill).await;
    assert_eq!(keys.may_have(IdempotencyKey([1; 16])), None, "nothing was read");
    until_known(&keys, &db).await;
    let all: Vec<Uuid> =
        sqlx::query_scalar("select key_digest from idempotency_keys").fetch_all(&db.pool).await.unwrap();
    assert_eq!(all.len(), usize::try_from(MANY).unwrap());
    assert!(all.iter().all(|key| keys.may_have(IdempotencyKey(*key.as_bytes())) == Some(true)));
    let free = (0..10_000).filter_map(|number| IdempotencyKey::parse(&format!("free{number}")));
    let suspected = free.filter(|key| keys.may_have(*key) == Some(true)).count();
    assert!(suspected < 100, "{suspected} of 10,000 free keys");
}

/// A commit that takes long, for instance because its disk does, stores keys of the day before when that day has ended.
#[tokio::test]
async fn a_day_is_read_only_after_all_transactions_that_store_its_keys() {
    let db = TestDatabase::create().await;
    let keys = FormerKeys::default();
    until_known(&keys, &db).await;
    let keys = FormerKeys::default();
    let mut writer = db.raw_connection().await;
    let insert = "begin;
        insert into idempotency_keys (day, app_id, created_at, key_digest, request_digest, notification_id)
        values ((now() at time zone 'UTC')::date - 1, 1, now(), md5('late')::uuid, gen_random_uuid(), gen_random_uuid())";
    sqlx::raw_sql(insert).execute(&mut writer).await.unwrap();
    keys.refresh(&db.pool).await.unwrap();
    assert_eq!(keys.may_have(IdempotencyKey([1; 16])), None, "a transaction may still add keys");
    sqlx::raw_sql("commit").execute(&mut writer).await.unwrap();
    until_known(&keys, &db).await;
    let late: Uuid = sqlx::query_scalar("select md5('late')::uuid").fetch_one(&db.pool).await.unwrap();
    assert_eq!(keys.may_have(IdempotencyKey(*late.as_bytes())), Some(true));
}

#[tokio::test]
async fn a_day_without_a_table_is_not_known() {
    let db = TestDatabase::create().await;
    let table = format!("idempotency_keys_{}", (today(&db).await - Days::new(1)).format("%Y%m%d"));
    db.execute(&format!("alter table idempotency_keys detach partition {table}; drop table {table}")).await;
    let keys = FormerKeys::default();
    keys.refresh(&db.pool).await.unwrap();
    assert_eq!(keys.may_have(IdempotencyKey([1; 16])), None);
}

/// What a node knows of the day before.
#[derive(Clone, Debug)]
struct Known {
    day: NaiveDate,
    from_another_server: bool,
    for_s: f64,
    possible: Option<Vec<Uuid>>,
}

/// Stores one key as of a time. True: it was free.
async fn store(conn: &mut PgConnection, at: DateTime<Utc>, key: &str, known: &Known) -> bool {
    let taken: Vec<Uuid> = sqlx::query_scalar(
        "select store_idempotency_keys(
           $1, array[1]::smallint[], array[$2], array[gen_random_uuid()], array[gen_random_uuid()], array[1], null,
           $3, pg_postmaster_start_time() - case when $4 then interval '1 day' else '0' end, $5, $6)",
    )
    .bind(at)
    .bind(digest(key))
    .bind(known.day)
    .bind(known.from_another_server)
    .bind(known.for_s)
    .bind(known.possible.clone())
    .fetch_one(conn)
    .await
    .unwrap();
    taken.is_empty()
}

#[tokio::test]
async fn a_key_is_not_looked_up_only_if_the_day_before_is_known_not_to_have_it() {
    let db = TestDatabase::create().await;
    let mut conn = db.raw_connection().await;
    let day = today(&db).await + Days::new(2);
    let at = |day: NaiveDate, time: &str| day.and_time(time.parse::<NaiveTime>().unwrap()).and_utc();
    let former = day - Days::new(1);
    let good = Known { day: former, from_another_server: false, for_s: 3_600.0, possible: Some(vec![]) };
    assert!(store(&mut conn, at(former, "12:00:00"), "k", &Known { day, ..good.clone() }).await);
    let older = former - Days::new(1);
    let cases = [
        (
            "11:00:00",
            Known { possible: Some(vec![digest("k")]), ..good.clone() },
            "a possible key is looked up",
        ),
        ("11:00:00", Known { possible: None, ..good.clone() }, "which keys are possible is not said"),
        ("11:00:00", Known { day: older, ..good.clone() }, "the node knows an older day"),
        ("11:00:00", Known { day, ..good.clone() }, "the node knows a later day"),
        (
            "11:00:00",
            Known { from_another_server: true, ..good.clone() },
            "another server may have had other keys",
        ),
        (
            "11:00:00",
            Known { for_s: 39_500.0, ..good.clone() },
            "by the present clock the day had not ended when it was read",
        ),
        ("00:00:30", Known { for_s: 0.0, ..good.clone() }, "midnight was a moment ago"),
    ];
    for (time, known, why) in cases {
        assert!(!store(&mut conn, at(day, time), "k", &known).await, "{why}");
    }
    assert!(store(&mut conn, at(day, "11:00:00"), "k", &good).await, "the node says that the key is free");
    assert!(store(&mut conn, at(day, "00:00:10"), "l", &good).await);
    let known = Known { day: older, ..good };
    assert!(
        !store(&mut conn, at(former, "23:59:50"), "l", &known).await,
        "the day after midnight is looked up"
    );
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
    let table =
        format!("idempotency_keys_{}", (today(&service.database).await - Days::new(1)).format("%Y%m%d"));
    let lock = format!("begin; lock table {table} in access exclusive mode");
    let mut conn = service.database.raw_connection().await;
    // Until the node has read them, each key is looked up. It can't read them while they are locked.
    for number in 0.. {
        sleep(Duration::from_secs(3)).await;
        sqlx::raw_sql(AssertSqlSafe(lock.as_str())).execute(&mut conn).await.unwrap();
        let answered =
            timeout(Duration::from_secs(2), post(&s, &format!("new{number}"), &body("f2")).of(&service));
        let answered = answered.await;
        sqlx::raw_sql("rollback").execute(&mut conn).await.unwrap();
        if let Ok(answer) = answered {
            assert_eq!(answer.status, 202, "{answer:?}");
            break;
        }
        assert!(number < 40, "each key is still looked up");
    }
    super::assert_replays(&post(&s, "former", &body("f1")).of(&service).await, &first);
    service.stop_undecided().await;
}
