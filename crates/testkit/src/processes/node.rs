//! One `pushpost` process: its log, its signals, its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::wait::{POLL_INTERVAL, WAIT_MAX};

/// Below the ports that the kernel gives to outgoing connections, so that a port stays free between two starts.
const PORTS: std::ops::Range<u16> = 15_000..30_000;
/// A process that is stopped or cut off takes a request and does not answer.
pub(super) const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Lines of a log that a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// A running process; killed when dropped.
pub struct TestNode {
    child: Child,
    pid: u32,
    log: PathBuf,
    /// `host:port` of the API, once it is known.
    address: Option<String>,
}

impl TestNode {
    /// Starts a command; its log is appended to a file.
    pub(super) fn spawn(mut command: Command, log: &Path) -> Self {
        command.stderr(File::options().create(true).append(true).open(log).unwrap());
        Self::spawn_as_it_is(command, log)
    }

    /// Starts a command; its log goes where the command says.
    pub(super) fn spawn_as_it_is(mut command: Command, log: &Path) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        Self { pid: child.id().unwrap(), child, log: log.to_owned(), address: None }
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(super) fn set_address(&mut self, address: &str) {
        self.address = Some(address.to_owned());
    }

    /// `host:port` of the API.
    pub fn address(&self) -> &str {
        self.address.as_deref().expect("the address is known")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the process answers `/readyz` with 200.
    pub async fn until_ready(&mut self, http: &reqwest::Client) {
        let (begun, url) = (Instant::now(), self.url("/readyz"));
        while !http
            .get(&url)
            .timeout(REQUEST_TIME_MAX)
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
        {
            assert!(self.is_running(), "the service ended at its start: {}", self.end_of_log());
            assert!(begun.elapsed() < WAIT_MAX, "the service is not ready: {}", self.end_of_log());
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Everything that the process has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub fn end_of_log(&self) -> String {
        end_of_log(&self.log)
    }

    /// Waits until a whole line with this text was logged; answers the line.
    pub async fn until_logged(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            let log = self.log();
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(self.is_running(), "the service ended: {log}");
            assert!(begun.elapsed() < WAIT_MAX, "not logged: {text}\n{log}");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// `kill -9`; waits until the process is gone.
    pub async fn kill(&mut self) {
        assert!(self.is_running(), "the process ended before it was killed");
        timeout(WAIT_MAX, self.child.kill()).await.expect("a killed process ends").unwrap();
    }

    /// SIGTERM; does not wait.
    pub async fn terminate(&self) {
        signal("-TERM", self.pid).await;
    }

    /// SIGHUP: the process reads its configuration again.
    pub async fn hang_up(&self) {
        signal("-HUP", self.pid).await;
    }

    /// SIGSTOP: the process does nothing any more, and its sessions and connections stay open.
    pub async fn hang(&self) {
        signal("-STOP", self.pid).await;
    }

    /// SIGCONT: the process goes on after [`Self::hang`].
    pub async fn resume(&self) {
        signal("-CONT", self.pid).await;
    }

    /// Waits for the end of the process.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(WAIT_MAX, self.child.wait()).await.expect("a service that was told to stop ends").unwrap()
    }
}

/// The program that cargo has built for this test or bench.
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = std::env::var_os("CARGO_BIN_EXE_pushpost").map(PathBuf::from).unwrap_or_else(|| {
            // Started without cargo: the test lies in `deps`, and the program beside that folder.
            let test = std::env::current_exe().unwrap();
            test.parent().and_then(|deps| deps.parent()).unwrap().join("pushpost")
        });
        path.into_os_string().into_string().unwrap()
    })
}

/// A command without the variables of this process that would configure `pushpost`.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PUSHPOST") || ["DATABASE_URL", "RUST_LOG"].contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Sends a signal to a process that this test has started.
pub async fn signal(which: &str, pid: u32) {
    let status = Command::new("kill").arg(which).arg(pid.to_string()).status().await.unwrap();
    assert!(status.success(), "kill {which} {pid}");
}

/// A TCP port that nothing listens on.
pub fn free_port() -> u16 {
    let mut tries = (0..1_000).map(|_| rand::random_range(PORTS));
    tries.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// The last lines of a log, for the message of a failed test.
pub(super) fn end_of_log(path: &Path) -> String {
    let log = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
