//! One `pushpost serve` on a database, with its own environment and limits, and its log in a file or a pipe.

use std::ops::Deref;
use std::process::{ExitStatus, Stdio};

use http::Method;
use pushpost_simulator::Settings;
use reqwest::Client;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStderr, Command};
use tokio::time::timeout;

use super::node::{TestNode, command, program};
use crate::answer::Answer;
use crate::installation::{CONFIG, Installation};
use crate::log_watch;
use crate::wait::WAIT_MAX;

/// The line of the log that ends in the address of the API.
const LISTENING: &str = "listening on http://";

/// An installation, and at most one process on it.
pub struct TestProcess {
    installation: Installation,
    /// Opens a connection for each request.
    pub http: Client,
    variables: Vec<(String, String)>,
    descriptors: Option<[u32; 2]>,
    node: Option<TestNode>,
    expected_logs: Vec<&'static str>,
}

impl TestProcess {
    /// A new installation; the process is not started yet.
    pub async fn create() -> Self {
        let installation = Installation::create(Settings::default()).await;
        let http = Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(WAIT_MAX).build().unwrap();
        let variables = vec![
            ("PUSHPOST__SERVER__LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("PUSHPOST__DATABASE__URL".to_owned(), installation.database.url().to_owned()),
        ];
        Self { installation, http, variables, descriptors: None, node: None, expected_logs: Vec::new() }
    }

    /// Sets an environment variable of the process.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Limits the open files of the process: the soft and the hard limit.
    pub fn limit_descriptors(&mut self, soft: u32, hard: u32) {
        self.descriptors = Some([soft, hard]);
    }

    /// Starts the process with its log in a file, and waits until it is ready.
    pub async fn serve(&mut self) {
        self.start();
        let line = self.until_logged(LISTENING).await;
        self.until_ready(&line).await;
    }

    /// Starts the process with its log in a pipe, reads the pipe up to the line with the address, and waits until the
    /// process is ready. What follows stays unread in the pipe.
    pub async fn serve_into_pipe(&mut self) -> BufReader<ChildStderr> {
        let mut command = self.command();
        command.stderr(Stdio::piped());
        let mut node = TestNode::spawn_as_it_is(command, self.log_path().as_ref());
        let mut stderr = BufReader::new(node.child().stderr.take().unwrap());
        self.node = Some(node);
        let mut line = String::new();
        while !line.contains(LISTENING) {
            line.clear();
            let read = timeout(WAIT_MAX, stderr.read_line(&mut line)).await.expect("it starts").unwrap();
            assert_ne!(read, 0, "the service ended at its start");
        }
        self.until_ready(&line).await;
        stderr
    }

    /// Starts a process that cannot start; answers how it ended, and its log.
    pub async fn refuse(&mut self) -> (ExitStatus, String) {
        self.start();
        (self.node_mut().ended().await, self.log())
    }

    fn start(&mut self) {
        self.node = Some(TestNode::spawn(self.command(), self.log_path().as_ref()));
    }

    fn command(&self) -> Command {
        let mut command = command("sh");
        let limits = self.descriptors.map_or_else(String::new, |[soft, hard]| {
            format!("ulimit -S -n {soft} && ulimit -H -n {hard} && ")
        });
        // The shell becomes the service.
        command.arg("-c").arg(format!("{limits}exec \"$@\"")).arg("sh");
        command.arg(program()).args(["serve", "--config"]).arg(self.path(CONFIG));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    async fn until_ready(&mut self, line: &str) {
        let (_, rest) = line.split_once(LISTENING).unwrap();
        let address = rest.split(|c: char| c == '"' || c.is_whitespace()).next().unwrap();
        let http = self.http.clone();
        let node = self.node_mut();
        node.set_address(address);
        node.until_ready(&http).await;
    }

    fn log_path(&self) -> String {
        self.path("serve.log")
    }

    fn node(&self) -> &TestNode {
        self.node.as_ref().expect("the process was started")
    }

    fn node_mut(&mut self) -> &mut TestNode {
        self.node.as_mut().expect("the process was started")
    }

    pub fn pid(&self) -> u32 {
        self.node().pid()
    }

    /// `host:port` of the API.
    pub fn address(&self) -> &str {
        self.node().address()
    }

    pub fn url(&self, path: &str) -> String {
        self.node().url(path)
    }

    /// Sends one request on a connection of its own.
    pub async fn ask(&self, method: Method, path: &str, key: &str, body: Option<&Value>) -> Answer {
        let mut request = self.http.request(method.clone(), self.url(path)).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(body);
        }
        Answer::read(&method, request.send().await.unwrap()).await.unwrap()
    }

    /// Everything that was logged so far.
    pub fn log(&self) -> String {
        self.node().log()
    }

    /// Waits until a line with this text was logged; answers the line.
    pub async fn until_logged(&mut self, text: &str) -> String {
        self.node_mut().until_logged(text).await
    }

    /// SIGHUP: the process reads its configuration again.
    pub async fn hang_up(&self) {
        self.node().hang_up().await;
    }

    /// Warnings and errors with this message are no failure of the test.
    pub fn expect_log(&mut self, message: &'static str) {
        self.expected_logs.push(message);
    }

    /// SIGTERM; waits for the end. Fails on a warning or an error in the log that the test did not expect.
    pub async fn stop(&mut self) -> ExitStatus {
        self.node().terminate().await;
        let ended = self.node_mut().ended().await;
        log_watch::assert_expected(&log_watch::read(&self.log()), &self.expected_logs, false);
        ended
    }
}

impl Deref for TestProcess {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}
