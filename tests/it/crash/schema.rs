//! Which commands create or upgrade a schema, and which only report what is missing.

use std::process::Output;
use std::time::Duration;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::processes::{TestMachine, providers};

/// Commands that neither create nor upgrade anything.
const USE: [&[&str]; 4] = [
    &["keys", "list"],
    &["keys", "revoke", "key_00000000000000000000000000000000"],
    &["devices", "export"],
    &["migrate", "--check"],
];
const CREATE: &[&str] = &["keys", "create", "--app", "shop", "--scope", "read"];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn tables(database: &TestDatabase) -> i64 {
    let sql = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public'";
    sqlx::query_scalar(sql).fetch_one(&database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_reads_makes_no_embedded_database() {
    let machine = TestMachine::new(providers(Duration::ZERO), "").await;
    for command in USE {
        let output = machine.run(command).await;
        assert_eq!(output.status.code(), Some(1), "{command:?}: {}", said(&output));
        assert!(said(&output).contains("there is no database in"), "{command:?}: {}", said(&output));
        assert!(!machine.data_dir().exists(), "{command:?}");
    }
    let created = machine.run(CREATE).await;
    assert!(created.status.success(), "{}", said(&created));
    for command in [&["keys", "list"][..], &["migrate", "--check"]] {
        assert!(machine.run(command).await.status.success(), "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_some_commands_create_a_schema_and_none_upgrades_it() {
    let machine = TestMachine::new(providers(Duration::ZERO), "").await;
    let database = TestDatabase::empty().await;
    let variables = [("DATABASE_URL", database.url())];
    for command in USE {
        let output = machine.run_with(command, &variables).await;
        assert_eq!(output.status.code(), Some(1), "{command:?}: {}", said(&output));
        assert_eq!(tables(&database).await, 0, "{command:?}");
    }
    assert!(machine.run_with(CREATE, &variables).await.status.success(), "an empty database gets its schema");

    let newest = "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)";
    sqlx::query(newest).execute(&database.pool).await.unwrap();
    let older = tables(&database).await;
    for command in USE.into_iter().chain([CREATE]) {
        let output = machine.run_with(command, &variables).await;
        assert_eq!(output.status.code(), Some(1), "{command:?}: {}", said(&output));
        assert!(said(&output).contains("run pushpost migrate"), "{command:?}: {}", said(&output));
    }
    assert_eq!(tables(&database).await, older);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_program_refuses_a_newer_schema() {
    let machine = TestMachine::new(providers(Duration::ZERO), "").await;
    let database = TestDatabase::create().await;
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (20991231235959, 'of tomorrow', true, '\\x00', 0)";
    sqlx::query(newer).execute(&database.pool).await.unwrap();
    let variables = [("DATABASE_URL", database.url())];
    for command in USE.into_iter().chain([CREATE, &["serve"], &["migrate"]]) {
        let output = machine.run_with(command, &variables).await;
        assert_eq!(output.status.code(), Some(1), "{command:?}: {}", said(&output));
        assert!(said(&output).contains("newer than this program"), "{command:?}: {}", said(&output));
    }
}
