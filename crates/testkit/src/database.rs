//! One Postgres server for a test run, one database for each test, copied from a migrated template of the day.
//!
//! The server is `PUSHPOST_TEST_POSTGRES` (a superuser's URL that names a database) if that is set, else a private one
//! that ends with this process, however that ends.

mod template;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pushpost::domain::Scopes;
use pushpost::provider::built_in_platforms;
use pushpost::registry::keys;
use pushpost::store::{Purpose, SessionPool};
use pushpost_embedded_postgres::{EmbeddedPostgres, Settings};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::hang_guard::watch_this_test;
use crate::wait::{POLL_INTERVAL, WAIT_MAX};

pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");
/// The time limits of a test's own statements: tests hold the clock, and move it by minutes while statements run.
pub const STATEMENT_TIME_MAX: Duration = Duration::from_secs(10 * 86_400);
static SERVER: OnceCell<Server> = OnceCell::const_new();

/// Ends the private server and removes what is left of it as soon as its input ends, which it does when the test
/// process does. `$1` is the data folder.
const WATCHDOG: &str = r#"
cat > /dev/null
home="$1/postgres"
if [ -f "$1/postgres-is-at" ]; then home=$(cat "$1/postgres-is-at"); fi
pid=$(sed -n 1p "$home/data/postmaster.pid")
socket=$(sed -n 5p "$home/data/postmaster.pid")
kill -QUIT "$pid"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  kill -0 "$pid" 2> /dev/null || break
  sleep 0.2
done
rm -rf "$home" "$1"
case "$socket" in */pushpost*) rm -rf "$socket" ;; esac
"#;

/// A database of its own for one test; dropped with it.
pub struct TestDatabase {
    /// Connected to it.
    pub pool: SessionPool,
    /// None: the database was there before.
    name: Option<String>,
    url: String,
}

struct Server {
    url: String,
    private: Option<Private>,
}

/// Kept until the process ends; nothing in a static is ever dropped.
struct Private {
    _postgres: EmbeddedPostgres,
    _watchdog: Child,
}

impl TestDatabase {
    /// A fresh, migrated database, on a day (UTC) that doesn't end while the test runs.
    pub async fn create() -> Self {
        let server = Server::shared().await;
        let name = format!("it_{:016x}", rand::random::<u64>());
        let template = template::of_today(&server.url).await;
        run(&server.url, &format!("create database {name} template {template}")).await;
        Self::connect(server, name).await
    }

    /// A database without a schema.
    pub async fn empty() -> Self {
        let server = Server::shared().await;
        let name = format!("it_{:016x}", rand::random::<u64>());
        run(&server.url, &format!("create database {name}")).await;
        Self::connect(server, name).await
    }

    async fn connect(server: &Server, name: String) -> Self {
        let mut database = Self::existing(with_database(&server.url, &name));
        database.name = Some(name);
        database
    }

    /// A database on a server of the test's own, which is not dropped.
    pub fn existing(url: String) -> Self {
        let options: PgConnectOptions = url.parse().unwrap();
        let pool = SessionPool::new(options, Purpose::Requests, 8)
            .with_platforms(built_in_platforms())
            .with_patience(STATEMENT_TIME_MAX);
        Self { pool, name: None, url }
    }

    /// Creates a key of an app, which has a row; answers its secret.
    pub async fn create_key(&self, app: &str, scopes: &str) -> String {
        let mut conn = self.pool.acquire().await.unwrap();
        keys::create(&mut conn, app, Scopes::parse(scopes).unwrap(), None, None).await.unwrap().secret
    }

    /// Set up as the service's for this purpose.
    pub fn pool_for(&self, purpose: Purpose, sessions_max: u32) -> SessionPool {
        self.pool.sibling(purpose, sessions_max).with_patience(STATEMENT_TIME_MAX)
    }

    /// A connection of sqlx. Its statements have no deadline.
    pub async fn raw_connection(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// How a process of its own reaches it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements; answers how many rows the last one changed.
    pub async fn execute(&self, sql: &str) -> u64 {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap().rows_affected()
    }

    pub async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap()
    }

    /// Milliseconds since 1970.
    pub async fn now_ms(&self) -> i64 {
        self.count("select (extract(epoch from clock_timestamp()) * 1000)::bigint").await
    }

    /// Waits until a count is what it should be.
    pub async fn until_count(&self, sql: &str, wanted: i64) {
        let until = Instant::now() + WAIT_MAX;
        let mut found = self.count(sql).await;
        while found != wanted {
            assert!(Instant::now() < until, "{sql}: {found}");
            sleep(POLL_INTERVAL).await;
            found = self.count(sql).await;
        }
    }
}

impl Drop for TestDatabase {
    /// Best effort, and on a thread of its own, since the test's runtime may be on its way out.
    fn drop(&mut self) {
        let (Some(server), Some(name)) = (SERVER.get(), &self.name) else { return };
        let (url, sql) = (server.url.clone(), format!("drop database if exists {name} with (force)"));
        let drop = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&url, &sql));
        };
        let _ = std::thread::spawn(drop).join();
    }
}

impl Server {
    /// The server of this run. The test that asks for it is watched from now on.
    async fn shared() -> &'static Self {
        let server = SERVER.get_or_init(Self::start).await;
        watch_this_test(&server.url);
        server
    }

    async fn start() -> Self {
        let (url, private) = match std::env::var("PUSHPOST_TEST_POSTGRES") {
            Ok(url) => (url, None),
            Err(_) => {
                let (url, private) = Private::start().await;
                (url, Some(private))
            }
        };
        let server = Self { url, private };
        if server.private.is_some() {
            // The data needs to outlive no power cut.
            run(&server.url, "alter system set fsync = off").await;
            // A connection that falls silent while it is opened keeps every `drop database` waiting for so long.
            run(&server.url, "alter system set authentication_timeout = '5s'").await;
            run(&server.url, "select pg_reload_conf()").await;
        }
        server
    }
}

impl Private {
    async fn start() -> (String, Self) {
        let folder = tempfile::Builder::new().prefix("pushpost-it-").tempdir().unwrap();
        // Its user is another one where we are root.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let data_dir = folder.keep();
        let watchdog = watch(&data_dir);
        let settings = Settings { data_dir, postgres_bin_dir: None, max_connections: 300 };
        let postgres = EmbeddedPostgres::start(&settings).await.unwrap();
        (postgres.url(), Self { _postgres: postgres, _watchdog: watchdog })
    }
}

/// A group of its own, so that a Ctrl-C for the tests leaves it to its work.
fn watch(data_dir: &Path) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", WATCHDOG, "sh"]).arg(data_dir).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// A short name for a content: the 64-bit FNV-1a hash.
pub fn content_hash(content: impl Iterator<Item = u8>) -> u64 {
    content.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The statements are made of names of our own.
async fn run(url: &str, sql: &str) {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let done = tokio::time::timeout(Duration::from_secs(60), conn.execute(AssertSqlSafe(sql))).await;
    done.expect("an answer within a minute").unwrap();
    conn.close().await.unwrap();
}

/// The URL with another database.
fn with_database(url: &str, name: &str) -> String {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let (server, _) = path.rsplit_once('/').unwrap();
    match query {
        Some(query) => format!("{server}/{name}?{query}"),
        None => format!("{server}/{name}"),
    }
}
