//! `kill -9` of this process and of the server.

use std::fs;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _, Row as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::scratch::{Scratch, ask, connect, ends, is_there, signal};
use crate::EmbeddedPostgres;

/// Only ends a test that hangs.
const LONG: Duration = Duration::from_secs(90);

/// A dropped value leaves what a killed service leaves: locks let go, the server running.
#[tokio::test]
async fn a_killed_service_finds_its_server_again() {
    let scratch = Scratch::open();
    drop(scratch.start().await);
    let postmaster = scratch.postmaster().unwrap();
    assert!(is_there(postmaster));
    assert_ne!(session_of(postmaster), session_of(std::process::id()), "a Ctrl-C would reach it");
    let again = scratch.start().await;
    assert!(again.was_alone(), "the predecessor is dead");
    assert_eq!(scratch.postmaster(), Some(postmaster));
    assert_eq!(ask(&again, "SELECT current_database()::text").await, "pushpost");
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_with_a_busy_backend_is_started_again() {
    let scratch = Scratch::open();
    let postgres = scratch.start().await;
    connect(&postgres).await.execute("CREATE TABLE kept AS SELECT 'yes'::text AS word").await.unwrap();
    let mut tasks = JoinSet::new();

    let backend = keep_busy(&postgres, &mut tasks).await;
    let postmaster = scratch.postmaster().unwrap();
    signal("KILL", postmaster);
    drop(postgres);
    let postgres = scratch.start().await;
    assert!(ends(backend).await, "an orphan would hold the shared memory");
    assert_ne!(scratch.postmaster(), Some(postmaster));
    assert_eq!(ask(&postgres, "SELECT word FROM kept").await, "yes");

    // The same while the service runs.
    keep_busy(&postgres, &mut tasks).await;
    let postmaster = scratch.postmaster().unwrap();
    signal("KILL", postmaster);
    let comes_back = async {
        while scratch.postmaster().is_none_or(|pid| pid == postmaster)
            || PgConnection::connect_with(&postgres.connect_options()).await.is_err()
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = postgres.keep_running() => unreachable!("it never ends"),
        back = timeout(LONG, comes_back) => back.expect("the server must come back"),
    }
    assert_eq!(ask(&postgres, "SELECT word FROM kept").await, "yes");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_lost_its_socket_is_replaced() {
    let scratch = Scratch::open();
    drop(scratch.start().await);
    let postmaster = scratch.postmaster();
    fs::remove_file(scratch.socket().unwrap().join(".s.PGSQL.5432")).unwrap();
    let again = scratch.start().await;
    assert_ne!(scratch.postmaster(), postmaster);
    assert_eq!(ask(&again, "SELECT current_database()::text").await, "pushpost");
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_initdb_leaves_nothing() {
    let scratch = Scratch::open();
    let settings = scratch.settings();
    let half_made = async {
        while !has_half_made(&scratch) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    // Dropping the future kills initdb.
    tokio::select! {
        _ = EmbeddedPostgres::start(&settings) => panic!("started before initdb could be interrupted"),
        half = timeout(LONG, half_made) => half.expect("initdb must have begun"),
    }
    assert!(!scratch.home().join("data").exists());

    let postgres = scratch.start().await;
    assert_eq!(ask(&postgres, "SELECT current_database()::text").await, "pushpost");
    let left = entries(&scratch).into_iter().filter(|name| name.starts_with("data.new-"));
    assert_eq!(left.count(), 0);
    postgres.stop().await.unwrap();
}

/// The number of a process's session, the sixth field of `/proc/<pid>/stat`.
fn session_of(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after) = stat.rsplit_once(") ").unwrap();
    after.split(' ').nth(3).unwrap().to_owned()
}

/// Starts a statement that never looks whether its postmaster lives; returns its backend's process number.
async fn keep_busy(postgres: &EmbeddedPostgres, tasks: &mut JoinSet<()>) -> u32 {
    let mut connection = connect(postgres).await;
    let backend: i32 = connection.fetch_one("SELECT pg_backend_pid()").await.unwrap().get(0);
    tasks.spawn(async move {
        let _ = connection.execute("SELECT count(*) FROM generate_series(1, 1000000000000)").await;
    });
    let mut watcher = connect(postgres).await;
    let busy = async {
        let active = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1";
        while !sqlx::query_scalar::<_, bool>(active).bind(backend).fetch_one(&mut watcher).await.unwrap() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, busy).await.expect("the statement must begin");
    watcher.close().await.unwrap();
    u32::try_from(backend).unwrap()
}

fn has_half_made(scratch: &Scratch) -> bool {
    let mut new = entries(scratch).into_iter().filter(|name| name.starts_with("data.new-"));
    new.any(|name| scratch.home().join(name).join("base").exists())
}

fn entries(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.home()).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
