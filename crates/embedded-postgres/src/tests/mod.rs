//! The private Postgres against the one installed here. Run as root, these tests also change the user.

mod choosing;
mod crashes;
mod scratch;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use sqlx::Executor as _;
use sqlx::postgres::PgConnectOptions;

use super::Error;
use super::{EmbeddedPostgres, Settings};
use scratch::{Scratch, are_root, ask, connect};

#[tokio::test]
async fn started_by_the_first_stopped_by_the_last() {
    let scratch = Scratch::open();
    let first = scratch.start().await;
    assert!(first.was_alone());
    connect(&first).await.execute("CREATE TABLE kept AS SELECT 'yes'::text AS word").await.unwrap();
    let postmaster = scratch.postmaster().unwrap();

    let second = scratch.start().await;
    assert!(!second.was_alone());
    assert_eq!(second.url(), first.url());
    first.stop().await.unwrap();
    assert_eq!(ask(&second, "SELECT word FROM kept").await, "yes");
    assert_eq!(scratch.postmaster(), Some(postmaster), "the second user must keep the same server");

    second.stop().await.unwrap();
    assert_eq!(scratch.postmaster(), None);
    assert!(scratch::ends(postmaster).await);

    let third = scratch.start().await;
    assert!(third.was_alone());
    assert_eq!(ask(&third, "SELECT word FROM kept").await, "yes");
    third.stop().await.unwrap();
}

#[tokio::test]
async fn two_that_start_at_once_share_one_server() {
    let scratch = Scratch::open();
    let (one, other) = tokio::join!(scratch.start(), scratch.start());
    assert_ne!(one.was_alone(), other.was_alone(), "exactly one came first");
    assert_eq!(one.url(), other.url());
    let (one, other) = tokio::join!(one.stop(), other.stop());
    one.unwrap();
    other.unwrap();
    assert_eq!(scratch.postmaster(), None, "the last of them must stop it");
}

#[tokio::test]
async fn a_server_as_the_queue_needs_it() {
    let scratch = Scratch::long();
    assert!(scratch.data_dir().as_os_str().len() > 107);
    let postgres = scratch.start().await;
    for (name, value) in [
        ("data_checksums", "on"),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("server_encoding", "UTF8"),
        ("autovacuum_naptime", "5s"),
        ("max_wal_size", "2GB"),
        ("max_connections", "20"),
        ("listen_addresses", ""),
    ] {
        let mut connection = connect(&postgres).await;
        let query = sqlx::query_scalar::<_, String>("SELECT current_setting($1)").bind(name);
        assert_eq!(query.fetch_one(&mut connection).await.unwrap(), value, "{name}");
    }
    let by_password = "SELECT count(*)::text FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'";
    assert_eq!(ask(&postgres, by_password).await, "0");
    assert_eq!(fs::metadata(scratch.home().join("password")).unwrap().permissions().mode() & 0o777, 0o600);
    let password = fs::read_to_string(scratch.home().join("password")).unwrap();
    assert!(!format!("{postgres:?}").contains(&password));

    let options: PgConnectOptions = postgres.url().parse().unwrap();
    assert_eq!(options.get_database(), Some("pushpost"));
    let mut psql = Command::new("psql");
    psql.args([&postgres.url(), "-XAtc", "SELECT 'psql ' || current_database()"]);
    if let Ok(output) = psql.output() {
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "psql pushpost", "{output:?}");
    }
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn closed_to_the_other_user_the_data_goes_elsewhere() {
    let scratch = Scratch::closed();
    let postgres = scratch.start().await;
    let pointer = scratch.data_dir().join("postgres-is-at");
    let data = scratch.home().join("data");
    if are_root(&scratch) {
        assert!(pointer.exists());
        assert!(data.starts_with("/var/lib/pushpost"), "{}", data.display());
        assert_ne!(fs::metadata(&data).unwrap().uid(), 0);
    } else {
        assert!(!pointer.exists());
    }
    connect(&postgres).await.execute("CREATE TABLE kept AS SELECT 'yes'::text AS word").await.unwrap();
    postgres.stop().await.unwrap();

    let again = scratch.start().await;
    assert_eq!(ask(&again, "SELECT word FROM kept").await, "yes");
    again.stop().await.unwrap();
}

#[tokio::test]
async fn without_postgres_the_error_says_what_to_install() {
    let scratch = Scratch::open();
    let empty = scratch.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let settings = Settings { postgres_bin_dir: Some(empty), ..scratch.settings() };
    let error = EmbeddedPostgres::start(&settings).await.unwrap_err().to_string();
    assert!(error.contains("apt-get install postgresql") && !error.contains('\n'), "{error}");
    assert!(!scratch.data_dir().exists(), "nothing may be made before Postgres is found");
}

#[tokio::test]
async fn data_of_a_major_that_is_not_installed_is_refused() {
    let scratch = Scratch::open();
    let data = scratch.data_dir().join("postgres/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("PG_VERSION"), "99\n").unwrap();
    let error = EmbeddedPostgres::start(&scratch.settings()).await.unwrap_err();
    assert!(matches!(error, Error::OtherMajor { wanted: 99, .. }), "{error}");
    assert!(error.to_string().contains("postgresql-99"), "{error}");
}

#[tokio::test]
async fn a_pointer_to_nowhere_is_not_a_new_beginning() {
    let scratch = Scratch::open();
    fs::create_dir(scratch.data_dir()).unwrap();
    fs::write(
        scratch.data_dir().join("postgres-is-at"),
        scratch.path().join("gone").as_os_str().as_encoded_bytes(),
    )
    .unwrap();
    let error = EmbeddedPostgres::start(&scratch.settings()).await.unwrap_err();
    assert!(matches!(error, Error::Dangling { .. }), "{error}");
}
