//! `pushpost serve` as a child process: on a database of its own, with a simulator in this process.

use std::fs;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http::{HeaderMap, Method};
use pushpost::domain::Scopes;
use pushpost::registry::keys;
use pushpost_simulator::{Settings, Simulator};
use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::api::Answer;
use crate::apps;
use crate::database::TestDatabase;
use crate::processes::signal;

/// No test waits longer for anything, on a machine however busy.
pub const PATIENCE: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_millis(25);

/// What a process runs with. The folder is removed, and the process killed, when this is dropped.
pub struct TestProcess {
    pub simulator: Simulator,
    pub database: TestDatabase,
    pub http: Client,
    folder: TempDir,
    variables: Vec<(String, String)>,
    descriptors: Option<[u32; 2]>,
    child: Option<Child>,
    address: Option<String>,
}

impl TestProcess {
    /// Not started yet.
    pub async fn set() -> Self {
        let database = TestDatabase::create().await;
        let simulator = Simulator::start(Settings::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        simulator.write_files(folder.path()).unwrap();
        apps::shop(&database.pool).await;
        let http = Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap();
        let variables = vec![
            ("PUSHPOST__SERVER__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("PUSHPOST__DATABASE__URL".to_owned(), database.url().to_owned()),
        ];
        Self { simulator, database, http, folder, variables, descriptors: None, child: None, address: None }
    }

    /// Sets a variable of the process.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The process may have so many descriptors: at first, and at most.
    pub fn descriptors(&mut self, soft: u32, hard: u32) {
        self.descriptors = Some([soft, hard]);
    }

    /// A new key's secret.
    pub async fn key(&self, scopes: &str) -> String {
        self.key_of("shop", scopes).await
    }

    /// The secret of an app's new key.
    pub async fn key_of(&self, app: &str, scopes: &str) -> String {
        let mut conn = self.database.pool.acquire().await.unwrap();
        keys::create(&mut conn, app, Scopes::parse(scopes).unwrap(), None).await.unwrap().1
    }

    /// Starts the process with its log in a file, and waits until it is ready.
    pub async fn serve(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        self.spawn(log.into());
        let line = self.until_logged("listening on http://").await;
        self.listens(&line);
        self.until_ready().await;
    }

    /// Starts the process with its log in a pipe, reads it as far as the service's address, and waits until it is ready.
    /// What comes behind stays unread in the pipe.
    pub async fn serve_into_pipe(&mut self) -> BufReader<ChildStderr> {
        self.spawn(Stdio::piped());
        let stderr = self.child.as_mut().unwrap().stderr.take().unwrap();
        let mut stderr = BufReader::new(stderr);
        let mut line = String::new();
        while !line.contains("listening on http://") {
            line.clear();
            let read = timeout(PATIENCE, stderr.read_line(&mut line)).await.expect("it starts").unwrap();
            assert_ne!(read, 0, "the service ended at its start");
        }
        self.listens(&line);
        self.until_ready().await;
        stderr
    }

    fn spawn(&mut self, stderr: Stdio) {
        let mut command = Command::new("sh");
        let limits = self.descriptors.map_or_else(String::new, |[soft, hard]| {
            format!("ulimit -S -n {soft} && ulimit -H -n {hard} && ")
        });
        // The shell becomes the service.
        command.arg("-c").arg(format!("{limits}exec \"$@\"")).arg("sh");
        command.arg(super::program()).args(["serve", "--config"]);
        command.arg(self.folder.path().join("pushpost.toml"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PUSHPOST") || ["DATABASE_URL", "RUST_LOG"].contains(&&*text) {
                command.env_remove(&name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).kill_on_drop(true);
        self.child = Some(command.spawn().unwrap());
    }

    fn listens(&mut self, line: &str) {
        let (_, rest) = line.split_once("listening on http://").unwrap();
        let address = rest.split(|c: char| c == '"' || c.is_whitespace()).next().unwrap();
        self.address = Some(address.to_owned());
    }

    async fn until_ready(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let ready = self.http.get(self.url("/readyz")).send().await;
            if ready.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            assert!(Instant::now() < until, "the service is not ready: {}", self.log());
            sleep(STEP).await;
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id().unwrap()
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        self.address.as_deref().expect("it was started")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, method: Method, path: &str, key: &str, body: Option<&Value>) -> Answer {
        let mut request = self.http.request(method, self.url(path)).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers): (_, HeaderMap) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    /// Puts a file beside the configuration, or into the place of another, all of it at one moment.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Of a file beside the configuration.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// All that was logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Waits until a line with this text was logged; answers the line.
    pub async fn until_logged(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert_eq!(ended, None, "{log}");
            assert!(Instant::now() < until, "not logged: {text}\n{log}");
            sleep(STEP).await;
        }
    }

    /// SIGTERM; waits for the end.
    pub async fn stop(&mut self) -> ExitStatus {
        signal("-TERM", self.pid()).await;
        self.ended().await
    }

    /// Starts the process where it is to end by itself; answers how, and what it said.
    pub async fn refuse(&mut self) -> (ExitStatus, String) {
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        self.spawn(log.into());
        (self.ended().await, self.log())
    }

    /// Waits for the end.
    async fn ended(&mut self) -> ExitStatus {
        let ended = self.child.as_mut().unwrap().wait();
        timeout(PATIENCE, ended).await.expect("a service that was told to stop ends").unwrap()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("serve.log")
    }
}
