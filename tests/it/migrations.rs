//! How migrations wait for each other and for tables, and how an interrupted one is repeated.

use pushpost::store::SessionPool;
use pushpost::store::migrations::{self, MigrationProgress, Migrations, SchemaState};
use sqlx::migrate::{Migration, MigrationType};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};

use pushpost_testkit::database::TestDatabase;

const CREATE: (&str, bool) = ("create table things (name text, size int)", false);
const ALTER: (&str, bool) = ("alter table things add column colour text", false);
const INDEX: (&str, bool) =
    ("-- no-transaction\ncreate index concurrently if not exists things_name on things (name)", true);

fn of(scripts: &[(&'static str, bool)]) -> Migrations {
    let migration = |(number, (sql, no_transaction)): (i64, &(&'static str, bool))| {
        let sql = AssertSqlSafe(*sql).into_sql_str();
        Migration::new(number, "a step".into(), MigrationType::Simple, sql, *no_transaction)
    };
    Migrations::of((1..).zip(scripts).map(migration).collect())
}

async fn pid(conn: &mut sqlx::PgConnection) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(conn).await.unwrap()
}

async fn is_valid(pool: &SessionPool) -> Option<bool> {
    let sql = "select indisvalid from pg_index where indexrelid = to_regclass('things_name')";
    sqlx::query_scalar(sql).fetch_optional(pool).await.unwrap()
}

#[tokio::test]
async fn a_migration_whose_table_is_in_use_gives_up_and_is_tried_again() {
    let database = TestDatabase::empty().await;
    let mut conn = database.raw_connection().await;
    assert_eq!(of(&[CREATE]).apply(&mut conn).await.unwrap(), MigrationProgress::Done);
    let mut other = database.raw_connection().await;
    let blocker = pid(&mut other).await;
    let mut using = other.begin().await.unwrap();
    using.execute("select from things").await.unwrap();
    let both = of(&[CREATE, ALTER]);
    assert_eq!(both.apply(&mut conn).await.unwrap(), MigrationProgress::TableInUse);
    let oldest = migrations::oldest_transaction(&mut conn).await.unwrap().expect("the other session");
    assert_eq!(oldest.pid, blocker, "{oldest}");
    assert_eq!(both.state(&mut conn).await.unwrap(), SchemaState::Older(vec!["2_a step".to_owned()]));
    using.commit().await.unwrap();
    assert_eq!(both.apply(&mut conn).await.unwrap(), MigrationProgress::Done);
    assert_eq!(both.state(&mut conn).await.unwrap(), SchemaState::Current);
    assert_eq!(of(&[CREATE]).state(&mut conn).await.unwrap(), SchemaState::Newer(vec![2]));
}

#[tokio::test]
async fn one_session_migrates_and_the_others_name_it() {
    let database = TestDatabase::empty().await;
    let (mut one, mut other) = (database.raw_connection().await, database.raw_connection().await);
    one.execute("set application_name = 'pushpost migrates on host-7, process 42'").await.unwrap();
    assert_eq!(migrations::lock_holder(&mut other).await.unwrap(), None);
    assert!(migrations::try_lock(&mut one).await.unwrap());
    assert!(!migrations::try_lock(&mut other).await.unwrap());
    let holder = migrations::lock_holder(&mut other).await.unwrap().expect("the first session");
    assert_eq!((holder.pid, holder.client.as_str()), (pid(&mut one).await, "local"));
    assert!(holder.to_string().contains("host-7, process 42"), "{holder}");
    one.close().await.unwrap();
    let begun = tokio::time::Instant::now();
    while !migrations::try_lock(&mut other).await.unwrap() {
        assert!(begun.elapsed().as_secs() < 60, "the lock ends with its session");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_index_with_an_interrupted_build_is_built_again() {
    let database = TestDatabase::empty().await;
    let mut conn = database.raw_connection().await;
    of(&[CREATE]).apply(&mut conn).await.unwrap();
    conn.execute("insert into things values ('a', 1), ('a', 2)").await.unwrap();
    let broken = conn.execute("create unique index concurrently things_name on things (name)").await;
    assert!(broken.is_err());
    assert_eq!(is_valid(&database.pool).await, Some(false), "Postgres keeps an index that is of no use");
    assert_eq!(of(&[CREATE, INDEX]).apply(&mut conn).await.unwrap(), MigrationProgress::Done);
    assert_eq!(is_valid(&database.pool).await, Some(true));
}
