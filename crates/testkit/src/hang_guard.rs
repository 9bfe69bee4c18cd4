//! Ends a test run in which a test hangs, and names the test. Without it, the run would wait for ever.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::read_link;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// How long a test may take. The slowest one takes a minute on a busy machine.
const TEST_MAX: Duration = Duration::from_secs(480);
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The running tests, by the folder of their thread in `/proc`, which vanishes with the thread.
static RUNNING: Mutex<BTreeMap<PathBuf, RunningTest>> = Mutex::new(BTreeMap::new());

/// The statements of the server's sessions, for the report about a test that hangs.
const SESSIONS: &str = "
    select concat_ws(' | ', datname, application_name, state, wait_event_type || ':' || wait_event,
           (clock_timestamp() - state_change)::text, left(regexp_replace(query, '\\s+', ' ', 'g'), 160))
    from pg_stat_activity where datname is not null and pid <> pg_backend_pid() order by datname, state_change";

struct RunningTest {
    name: String,
    since: Instant,
}

/// Watches the test of this thread until its thread ends. Called by the first step of each test that needs a server.
pub(crate) fn watch_this_test(postgres_url: &str) {
    // A single test thread is the main thread, and does not end with the test.
    let thread = std::thread::current();
    let Some(name) = thread.name().filter(|name| *name != "main") else { return };
    let Ok(folder) = read_link("/proc/thread-self") else { return };
    let test = RunningTest { name: name.to_owned(), since: Instant::now() };
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.entry(Path::new("/proc").join(folder)).or_insert(test);
    static GUARD: Once = Once::new();
    GUARD.call_once(|| {
        let url = postgres_url.to_owned();
        std::thread::Builder::new().name("hang guard".to_owned()).spawn(move || guard(&url)).unwrap();
    });
}

fn guard(postgres_url: &str) -> ! {
    loop {
        std::thread::sleep(CHECK_INTERVAL);
        let late = {
            let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            running.retain(|folder, _| folder.exists());
            running.values().find(|test| test.since.elapsed() > TEST_MAX).map(|test| test.name.clone())
        };
        if let Some(name) = late {
            report(&name, postgres_url);
            // Not a panic: the tests' threads would go on.
            std::process::abort();
        }
    }
}

/// Writes to the error output itself: libtest keeps what `eprintln` prints for the end of the test.
fn report(name: &str, postgres_url: &str) {
    let mut lines = String::new();
    for session in sessions(postgres_url).unwrap_or_else(|error| vec![error.to_string()]) {
        let _ = writeln!(lines, "session: {session}");
    }
    for thread in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        let _ = writeln!(lines, "thread: {} waits in {}", read("comm").trim_end(), read("wchan"));
    }
    let _ = writeln!(lines, "test {name} has not ended within {} s, so the run is ended", TEST_MAX.as_secs());
    let _ = std::io::stderr().write_all(lines.as_bytes());
}

/// One line for each session of the server.
fn sessions(postgres_url: &str) -> sqlx::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listed = async {
        let mut conn = PgConnection::connect(postgres_url).await?;
        sqlx::query_scalar(AssertSqlSafe(SESSIONS)).fetch_all(&mut conn).await
    };
    runtime.block_on(async {
        let listed = tokio::time::timeout(Duration::from_secs(10), listed).await;
        listed.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut))
    })
}
