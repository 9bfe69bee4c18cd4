//! One machine on which `pushpost` runs: a folder with its configuration and data, the providers that it talks to, and
//! what starts and kills its processes.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use http::Method;
use pushpost_simulator::{Ended, Ledger, LedgerMode, Settings, Simulator};
use reqwest::Client;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use super::node::{TestNode, command, end_of_log, free_port, program};
use crate::answer::Answer;
use crate::installation::replace_file;
use crate::wait::{POLL_INTERVAL, WAIT_MAX};

/// As soon as its input ends, which it does when the machine is dropped or the test process dies: ends the service if it
/// still runs, then Postgres, and removes what is left of them. `$1` is the machine's folder, `$2` the data folder.
const WATCHDOG: &str = r#"
cat > /dev/null
while read -r service; do
  if tr '\0' ' ' < "/proc/$service/cmdline" | grep -q "$1"; then kill -KILL "$service"; fi
done < "$1/service.pid"
home="$2/postgres"
if [ -f "$2/postgres-is-at" ]; then home=$(cat "$2/postgres-is-at"); fi
pid=$(sed -n 1p "$home/data/postmaster.pid")
socket=$(sed -n 5p "$home/data/postmaster.pid")
if [ -n "$pid" ] && [ "/proc/$pid/cwd" -ef "$home/data" ]; then
  kill -QUIT "$pid"
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -0 "$pid" || break
    sleep 0.2
  done
fi
rm -rf "$home" "$1"
case "$socket" in */pushpost*) rm -rf "$socket" ;; esac
"#;

/// A folder with configuration and data, providers, and the processes that run on them. What is left is removed when this
/// is dropped.
pub struct TestMachine {
    pub simulator: Simulator,
    folder: PathBuf,
    port: u16,
    http: Client,
    watchdog: Child,
}

/// The providers, answering after `latency`.
pub fn providers(latency: Duration) -> Settings {
    Settings { latency, latency_spread: latency / 2, ledger: LedgerMode::Full, ..Settings::default() }
}

impl TestMachine {
    /// A machine with these lines under `[delivery]` in its configuration.
    pub async fn new(providers: Settings, delivery: &str) -> Self {
        Self::below(&std::env::temp_dir(), 0o755, providers, delivery).await
    }

    /// The same with its folder elsewhere and of another mode.
    pub async fn below(parent: &Path, mode: u32, providers: Settings, delivery: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("pushpost-crash-").tempdir_in(parent).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        let folder = folder.keep();
        let watchdog = watch(&folder);
        let simulator = Simulator::start(providers).await.unwrap();
        simulator.write_files(&folder).unwrap();
        let port = free_port();
        let config = fs::read_to_string(folder.join("pushpost.toml")).unwrap();
        let listen = config.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        assert_ne!(listen, config, "the port is ours");
        fs::write(folder.join("pushpost.toml"), format!("{listen}\n[delivery]\n{delivery}\n")).unwrap();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { simulator, folder, port, http, watchdog }
    }

    /// Where the service listens, on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn ledger(&self) -> std::sync::Arc<Ledger> {
        self.simulator.ledger()
    }

    /// The folder that is configured as `database.data_dir`.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("pushpost-data")
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        timeout(WAIT_MAX, command.output()).await.expect("a command ends").unwrap()
    }

    /// The same with these environment variables.
    pub async fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        timeout(WAIT_MAX, command.output()).await.expect("a command ends").unwrap()
    }

    /// The lines of the service's log, each a JSON object.
    pub fn log_lines(&self) -> Vec<Value> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// A new key's secret.
    pub async fn key(&self, scopes: &str) -> String {
        let output = self.run(&["keys", "create", "--app", "shop", "--scope", scopes]).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Starts the service and waits until it is ready.
    pub async fn serve(&self) -> TestNode {
        self.until_ready(self.start()).await
    }

    /// The same with these environment variables.
    pub async fn serve_with(&self, variables: &[(&str, &str)]) -> TestNode {
        let mut command = self.command(&["serve"]);
        command.envs(variables.iter().copied());
        self.until_ready(self.spawn(command)).await
    }

    /// Waits until the service is ready.
    pub async fn until_ready(&self, mut node: TestNode) -> TestNode {
        node.until_ready(&self.http).await;
        node
    }

    /// Starts the service.
    pub fn start(&self) -> TestNode {
        self.spawn(self.command(&["serve"]))
    }

    /// Starts a command that runs on, with these environment variables.
    pub fn start_as(&self, arguments: &[&str], variables: &[(&str, &str)]) -> TestNode {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        self.spawn(command)
    }

    fn spawn(&self, command: Command) -> TestNode {
        let mut node = TestNode::spawn(command, &self.log());
        node.set_address(&format!("127.0.0.1:{}", self.port));
        self.watch_over(node.pid());
        node
    }

    /// The watchdog ends this process too.
    pub fn watch_over(&self, pid: u32) {
        let mut pids =
            File::options().create(true).append(true).open(self.folder.join("service.pid")).unwrap();
        writeln!(pids, "{pid}").unwrap();
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Answer to a request; an error if there was none.
    pub async fn post(&self, key: &str, path: &str, body: &Value) -> reqwest::Result<(u16, Value)> {
        answer(Method::POST, self.http.post(self.url(path)).bearer_auth(key).json(body).send().await?).await
    }

    pub async fn put(&self, key: &str, path: &str, body: &Value) -> reqwest::Result<(u16, Value)> {
        answer(Method::PUT, self.http.put(self.url(path)).bearer_auth(key).json(body).send().await?).await
    }

    /// As [`Self::post`], with a body that is said to be JSON.
    pub async fn raw(
        &self,
        method: Method,
        key: &str,
        path: &str,
        body: Vec<u8>,
    ) -> reqwest::Result<(u16, Value)> {
        let request = self.http.request(method.clone(), self.url(path)).bearer_auth(key);
        answer(method, request.header("content-type", "application/json").body(body).send().await?).await
    }

    pub async fn get(&self, key: &str, path: &str) -> reqwest::Result<(u16, Value)> {
        answer(Method::GET, self.http.get(self.url(path)).bearer_auth(key).send().await?).await
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// Puts a file into the place of another, all of it at one moment.
    pub fn write(&self, name: &str, text: &str) {
        replace_file(&self.folder.join(name), text);
    }

    /// Waits until the service has logged this.
    pub async fn until_logged(&self, text: &str) {
        let begun = Instant::now();
        while !fs::read_to_string(self.log()).unwrap().contains(text) {
            assert!(begun.elapsed() < WAIT_MAX, "not logged: {text}");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// All that the service has logged.
    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The folder that Postgres itself has.
    pub fn postgres_data(&self) -> PathBuf {
        let home = match fs::read_to_string(self.data_dir().join("postgres-is-at")) {
            Ok(path) => PathBuf::from(path.trim_end()),
            Err(_) => self.data_dir().join("postgres"),
        };
        home.join("data")
    }

    /// Waits until Postgres runs on the data folder, ready or not.
    pub async fn until_postmaster(&self) {
        let begun = Instant::now();
        while self.postmaster().is_none() {
            assert!(begun.elapsed() < WAIT_MAX, "Postgres does not start: {}", self.end_of_log());
            sleep(POLL_INTERVAL).await;
        }
    }

    /// The number of the Postgres that runs on the data folder.
    pub fn postmaster(&self) -> Option<u32> {
        let pid_file = fs::read_to_string(self.postgres_data().join("postmaster.pid")).ok()?;
        let pid: u32 = pid_file.lines().next()?.trim().parse().ok()?;
        Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }

    /// No provider works on a request any more: after a kill, that all that was written has been read.
    pub async fn settled(&self) {
        let ledger = self.ledger();
        let begun = Instant::now();
        loop {
            let before = ledger.received_count();
            sleep(Duration::from_millis(100)).await;
            let quiet = ledger.received_count() == before;
            if quiet && ledger.entries().iter().all(|entry| entry.ended != Ended::Open) {
                return;
            }
            assert!(begun.elapsed() < WAIT_MAX, "requests stay open though their sender is gone");
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(program());
        command.args(arguments).arg("--config").arg(self.folder.join("pushpost.toml"));
        command.current_dir("/");
        command
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("serve.log")
    }

    fn end_of_log(&self) -> String {
        end_of_log(&self.log())
    }
}

impl Drop for TestMachine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the service's log ends:\n{}", self.end_of_log());
        }
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

async fn answer(method: Method, response: reqwest::Response) -> reqwest::Result<(u16, Value)> {
    let answer = Answer::read(&method, response).await?;
    Ok((answer.status.as_u16(), answer.body))
}

/// A group of its own, so that a Ctrl-C for the tests leaves it to its work.
fn watch(folder: &Path) -> Child {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", WATCHDOG, "sh"]).arg(folder).arg(folder.join("pushpost-data")).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}
