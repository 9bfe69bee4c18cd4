//! A Postgres server of a test's own, which the test can stop, crash and replace by an older copy of itself.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep};

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::processes::{free_port, signal};
use pushpost_testkit::wait::WAIT_MAX;

const STEP: Duration = Duration::from_millis(50);

/// A Postgres server of its own, which can fail over to an older copy of itself at the same address.
pub(crate) struct Server {
    programs: PathBuf,
    user: (u32, u32),
    port: u16,
    running: Option<Child>,
    home: TempDir,
}

impl Server {
    /// With the programs, and as the user, of the server that the other tests share.
    pub(crate) async fn create() -> Self {
        let shared = TestDatabase::create().await;
        let (programs, backend): (String, i32) =
            sqlx::query_as("select setting, pg_backend_pid() from pg_config where name = 'BINDIR'")
                .fetch_one(&shared.pool)
                .await
                .unwrap();
        let process = std::fs::metadata(format!("/proc/{backend}")).unwrap();
        let home = tempfile::tempdir().unwrap();
        let user = (process.uid(), process.gid());
        chown(home.path(), Some(user.0), Some(user.1)).unwrap();
        let server = Self { programs: programs.into(), user, port: free_port(), running: None, home };
        server.run("initdb", &["-N", "-A", "trust", "-U", "postgres", "-D", &server.data("primary")]).await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    pub(crate) fn data(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir("/").kill_on_drop(true).uid(self.user.0).gid(self.user.1);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    pub(crate) async fn run(&self, program: &str, arguments: &[&str]) {
        let status = self.command(&self.programs.join(program), arguments).status().await.unwrap();
        assert!(status.success(), "{program} {arguments:?}");
    }

    /// A new connection: an earlier one may not know yet that its server has stopped.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// Starts a server on a data folder, and waits until it takes connections.
    pub(crate) async fn start(&mut self, name: &str) {
        let (port, data) = (self.port.to_string(), self.data(name));
        let sockets = "unix_socket_directories=";
        let arguments = ["-D", &data, "-p", &port, "-h", "127.0.0.1", "-c", sockets, "-c", "fsync=off"];
        let child = self.command(&self.programs.join("postgres"), &arguments).spawn().unwrap();
        self.running = Some(child);
        let begun = Instant::now();
        while PgConnection::connect(&self.url()).await.is_err() {
            assert!(begun.elapsed() < WAIT_MAX, "the server does not start");
            sleep(STEP).await;
        }
    }

    /// `-INT`: writes all out first; `-QUIT`: as in a crash.
    pub(crate) async fn stop(&mut self, how: &str) {
        let mut child = self.running.take().unwrap();
        signal(how, child.id().unwrap()).await;
        child.wait().await.unwrap();
    }

    /// What a standby has replicated at this moment. The server is stopped.
    pub(crate) async fn replicate(&self) {
        let (from, to) = (self.data("primary"), self.data("standby"));
        let copied = self.command(Path::new("cp"), &["-a", &from, &to]).status().await.unwrap();
        assert!(copied.success());
        let signal = Path::new(&to).join("standby.signal");
        std::fs::write(&signal, "").unwrap();
        chown(&signal, Some(self.user.0), Some(self.user.1)).unwrap();
    }

    /// The primary is gone, and the standby takes its place.
    pub(crate) async fn fail_over(&mut self) {
        self.stop("-QUIT").await;
        self.start("standby").await;
        self.run("pg_ctl", &["promote", "-w", "-D", &self.data("standby")]).await;
    }
}
