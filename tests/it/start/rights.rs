//! A role without rights: each command reports Postgres's message once, with SQLSTATE, host and port.

use pushpost_simulator::Settings;
use sqlx::AssertSqlSafe;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::TestMachine;

const URL: &str = "PUSHPOST__DATABASE__URL";

async fn execute(database: &TestDatabase, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await.unwrap();
}

/// Runs a command as a new role that has these rights. `$role` in `grants` is the role.
async fn assert_told(database: &TestDatabase, grants: &str, command: &[&str], reason: &str) {
    let (machine, proxy) =
        (TestMachine::new(Settings::default(), "").await, PostgresProxy::of(database).await);
    let role = format!("r_{:08x}", rand::random::<u32>());
    execute(database, "revoke create on schema public from public").await;
    execute(database, &format!("create role {role} login password 'hunter2'")).await;
    execute(database, &grants.replace("$role", &role)).await;
    let (_, place) = proxy.url().rsplit_once('@').unwrap();
    let (server, _) = place.split_once('/').unwrap();
    let url = format!("postgres://{role}:hunter2@{place}");
    let output = machine.run_with(command, &[(URL, &url)]).await;
    execute(database, &format!("drop owned by {role}; drop role {role}")).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let expected = format!("error: PostgreSQL at {server}: {reason} (SQLSTATE 42501)\n");
    assert!(told.ends_with(&expected), "{told}\nexpected: {expected}");
    assert_eq!(told.matches("permission denied").count(), 1, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_migrate_is_reported_once_with_host_and_port() {
    let database = TestDatabase::empty().await;
    let reason = "migrations can't be applied: permission denied for schema public";
    assert_told(&database, "", &["migrate"], reason).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_read_is_reported_once_with_host_and_port() {
    let database = TestDatabase::create().await;
    let reason = "the schema can't be read: permission denied for table _sqlx_migrations";
    assert_told(&database, "", &["keys", "list"], reason).await;
    let all_but_keys = "grant select, insert, update on all tables in schema public to $role;
                        revoke all on api_keys from $role";
    let reason = "database: permission denied for table api_keys";
    assert_told(&database, all_but_keys, &["keys", "list"], reason).await;
}
