//! PgBouncer in front of Postgres: usable in session mode, refused in every other mode.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::Stdio;

use pushpost::runtime::Role;
use pushpost_simulator::Settings;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::told_to_people;
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::processes::{TestMachine, free_port};
use pushpost_testkit::service::TestService;

const SESSIONS: u32 = 30;
const TRANSACTION_MODE: &str = "a connection pooler in transaction or statement mode is in front of it";

/// A PgBouncer of its own; it ends when dropped.
struct Pooler {
    url: String,
    _child: Child,
    _folder: TempDir,
}

impl Pooler {
    /// As the user of the Postgres server, because PgBouncer refuses to run as root.
    async fn start(database: &TestDatabase, mode: &str, sessions_max: u32) -> Self {
        let server: PgConnectOptions = database.url().parse().unwrap();
        let authority = database.url().split_once("://").unwrap().1.rsplit_once('@').unwrap().0;
        let (user, password) = authority.split_once(':').unwrap();
        let name = server.get_database().unwrap();
        let host =
            server.get_socket().map_or(server.get_host().to_owned(), |path| path.display().to_string());
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{name} = host={host} port={} dbname={name} user={user} password={password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\ndefault_pool_size = {sessions_max}\nmax_client_conn = 100\n",
            server.get_port()
        );
        fs::write(&config, text).unwrap();
        let backend: i32 =
            sqlx::query_scalar("select pg_backend_pid()").fetch_one(&database.pool).await.unwrap();
        let process = fs::metadata(format!("/proc/{backend}")).unwrap();
        let (uid, gid) = (process.uid(), process.gid());
        for path in [folder.path(), &config] {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        let mut command = Command::new("/usr/sbin/pgbouncer");
        command.arg(&config).current_dir("/").uid(uid).gid(gid).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("PgBouncer is needed (scripts/ensure-postgres --tests)");
        let url = format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=disable");
        Self { url, _child: child, _folder: folder }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_session_mode_works() {
    let mut service = TestService::builder().build().await;
    let pooler = Pooler::start(&service.database, "session", SESSIONS).await;
    service.configure("DATABASE__URL", &pooler.url);
    service.node(Role::All).await;
    for token in ["one", "two"] {
        let id = service
            .notifications()
            .send(json!({"to": {"tokens": [{"platform": "fcm", "token": token}]}, "title": "Hi"}))
            .await;
        assert_eq!(service.notifications().outcome(&id).await["status"], "accepted");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_another_mode_is_refused_in_one_line() {
    let database = TestDatabase::create().await;
    for (mode, sessions_max) in [("transaction", SESSIONS), ("transaction", 1), ("statement", SESSIONS)] {
        let machine = TestMachine::new(Settings::default(), "").await;
        let pooler = Pooler::start(&database, mode, sessions_max).await;
        let mut node = machine.start_as(&["serve"], &[("PUSHPOST__DATABASE__URL", &pooler.url)]);
        assert_eq!(node.ended().await.code(), Some(1), "{mode}");
        let log = machine.log_text();
        let times = told_to_people(&log).matches(TRANSACTION_MODE).count();
        assert_eq!(times, 1, "{mode} {sessions_max}: {log}");
        assert!(!log.contains("prepared statement"), "{log}");
        drop(pooler);
    }
}
