//! A cluster of real processes: several `pushpost serve` on one database and the same providers. A process can be killed,
//! stopped without ending, and cut off from Postgres.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use pushpost::domain::Scopes;
use pushpost::registry::keys;
use pushpost::store::SessionPool;
use pushpost_simulator::Simulator;
use reqwest::{Client, Method};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::apps;
use crate::database::TestDatabase;
use crate::processes::{LONG, free_port, providers, signal};

const STEP: Duration = Duration::from_millis(50);

/// A database, providers, and what its processes have in common.
pub struct TestCluster {
    pub simulator: Simulator,
    /// Connected to the database that all processes share.
    pub pool: SessionPool,
    /// Where that database is.
    pub url: String,
    /// Dropped with the cluster.
    database: Option<TestDatabase>,
    delivery: Vec<(String, String)>,
    key: String,
    http: Client,
    folder: TempDir,
}

/// A process of a cluster; killed when dropped.
pub struct TestNode {
    child: Child,
    pid: u32,
    port: u16,
    log: PathBuf,
}

impl TestCluster {
    /// No process yet. `delivery`: keys of that section of the configuration.
    pub async fn create(delivery: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create().await;
        let (pool, url) = (database.pool.clone(), database.url().to_owned());
        Self { database: Some(database), ..Self::over(pool, url, delivery).await }
    }

    /// On a migrated database of the test's own.
    pub async fn over(pool: SessionPool, url: String, delivery: &[(&str, &str)]) -> Self {
        let simulator = Simulator::start(providers(Duration::ZERO)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        simulator.write_files(folder.path()).unwrap();
        apps::shop(&pool).await;
        let mut conn = pool.acquire().await.unwrap();
        let scopes = Scopes::parse("send,read,devices,admin").unwrap();
        let (_, key) = keys::create(&mut conn, "shop", scopes, None).await.unwrap();
        drop(conn);
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        let delivery = delivery.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self { simulator, pool, url, database: None, delivery: delivery.collect(), key, http, folder }
    }

    /// The database, where the cluster made it.
    pub fn database(&self) -> &TestDatabase {
        self.database.as_ref().unwrap()
    }

    /// Starts a process that reaches Postgres by this URL, and waits until it is ready.
    pub async fn node(&self, database_url: &str) -> TestNode {
        let port = free_port();
        let log = self.folder.path().join(format!("{port}.log"));
        let mut command = Command::new(super::program());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PUSHPOST") || text == "DATABASE_URL" {
                command.env_remove(&name);
            }
        }
        command.arg("serve").arg("--config").arg(self.folder.path().join("pushpost.toml"));
        command.env("PUSHPOST__SERVER__LISTEN", format!("127.0.0.1:{port}"));
        command.env("PUSHPOST__DATABASE__URL", database_url);
        for (key, value) in &self.delivery {
            command.env(format!("PUSHPOST__DELIVERY__{}", key.to_uppercase()), value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let child = command.current_dir("/").kill_on_drop(true).spawn().unwrap();
        let node = TestNode { pid: child.id().unwrap(), child, port, log };
        let ready = || async { self.ask(&node, Method::GET, "/readyz", None).await.0 == Some(200) };
        self.until("the process is ready", &[&node], ready).await;
        node
    }

    /// Asks a process with a key that may do everything. No status: there was no answer.
    pub async fn ask(
        &self,
        node: &TestNode,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (Option<u16>, Value) {
        let url = format!("http://127.0.0.1:{}{path}", node.port);
        let mut request = self.http.request(method, url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let Ok(answer) = request.send().await else { return (None, Value::Null) };
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.unwrap_or_default();
        (Some(status), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Hands a notification in, again where the process asks to come again; answers its id.
    pub async fn notify(&self, node: &TestNode, body: &Value) -> String {
        let begun = Instant::now();
        loop {
            let (status, answer) = self.ask(node, Method::POST, "/v1/notifications", Some(body)).await;
            match status {
                Some(202) => return answer["id"].as_str().unwrap().to_owned(),
                Some(503) if begun.elapsed() < LONG => sleep(STEP).await,
                other => panic!("{other:?} {answer} {}", node.end_of_log()),
            }
        }
    }

    /// How many devices of a notification ended how.
    pub async fn counts(&self, node: &TestNode, id: &str) -> Value {
        self.ask(node, Method::GET, &format!("/v1/notifications/{id}"), None).await.1["counts"].take()
    }

    /// Does this process lead, and live?
    pub async fn is_led_by(&self, node: &TestNode) -> bool {
        let leader: Option<String> =
            sqlx::query_scalar("select name from leader join nodes using (node_id) where dead_at is null")
                .fetch_optional(&self.pool)
                .await
                .unwrap();
        leader.is_some_and(|name| name.ends_with(&format!("-{}", node.pid)))
    }

    /// Waits until something is so.
    pub async fn until(&self, what: &str, nodes: &[&TestNode], is_so: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !is_so().await {
            let logs = || nodes.iter().map(|node| node.end_of_log()).collect::<Vec<_>>().join("\n\n");
            assert!(begun.elapsed() < LONG, "in vain: {what}\n{}", logs());
            sleep(STEP).await;
        }
    }
}

impl TestNode {
    /// `kill -9`, and waits until the process is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// The process does nothing any more and does not end: its sessions and connections stay open.
    pub async fn hang(&self) {
        signal("-STOP", self.pid).await;
    }

    /// Ends a hang.
    pub async fn go_on(&self) {
        signal("-CONT", self.pid).await;
    }

    fn end_of_log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}
