//! The whole service in this process: a database, a simulator, and as many nodes as a test starts.

mod books;
mod deliveries;
mod files;
mod lanes;
mod requests;
mod statements;

use std::net::SocketAddr;
use std::time::Duration;

use pushpost::config::Sources;
use pushpost::domain::{Environment, LaneKey, Scopes};
use pushpost::registry::keys;
use pushpost::runtime::{Reload, ReloadHandle, Role, Shutdown};
use pushpost_simulator::{Settings, Simulator};
use tempfile::TempDir;
use tokio::task::JoinSet;

pub use books::sent;

use crate::apps;
use crate::database::TestDatabase;

/// No test waits longer for anything; how long it takes is nobody's concern here.
pub const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(25);
pub const PRODUCTION: LaneKey = LaneKey::Apns(Environment::Production);

/// Retries follow at once, so that what follows is seen soon.
const SHORT: [(&str, &str); 5] = [
    ("SERVER__LISTEN", "127.0.0.1:0"),
    ("DELIVERY__RETRY_INITIAL", "20ms"),
    ("DELIVERY__RETRY_THROTTLED", "40ms"),
    ("DELIVERY__RETRY_MAX", "40ms"),
    ("DELIVERY__NODE_TIMEOUT", "15s"),
];

pub struct TestService {
    nodes: Vec<Node>,
    pub http: reqwest::Client,
    backend: String,
    phone: String,
    admin: String,
    overrides: Vec<(String, String)>,
    pub simulator: Simulator,
    folder: TempDir,
    pub database: TestDatabase,
}

struct Node {
    address: Option<SocketAddr>,
    shutdown: Shutdown,
    reload: ReloadHandle,
    running: JoinSet<anyhow::Result<()>>,
}

impl TestService {
    /// One node that does everything.
    pub async fn start() -> Self {
        let mut service = Self::set(Settings::default()).await;
        service.node(Role::All).await;
        service
    }

    /// No node yet; the app and its lanes have rows, so that a lane can be paused before anybody sends.
    pub async fn set(settings: Settings) -> Self {
        let database = TestDatabase::create().await;
        let simulator = Simulator::start(settings).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        simulator.write_files(folder.path()).unwrap();
        apps::shop(&database.pool).await;
        let backend = key(&database, "shop", "send,read,devices").await;
        let phone = key(&database, "shop", "register").await;
        let admin = key(&database, "shop", "admin").await;
        let overrides = SHORT.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { nodes: Vec::new(), http, backend, phone, admin, overrides, simulator, folder, database }
    }

    /// Configures nodes that start from now on.
    pub fn configure(&mut self, key: &str, value: &str) {
        self.overrides.retain(|(known, _)| known != key);
        self.overrides.push((key.to_owned(), value.to_owned()));
    }

    /// Starts one more node.
    pub async fn node(&mut self, role: Role) {
        let elsewhere = self.overrides.iter().any(|(key, _)| key == "DATABASE__URL");
        let database = ("PUSHPOST__DATABASE__URL".to_owned(), self.database.url().to_owned());
        let database = (!elsewhere).then_some(database);
        let overrides = self.overrides.iter().map(|(key, value)| (format!("PUSHPOST__{key}"), value.clone()));
        let path = self.folder.path().join("pushpost.toml");
        let sources = Sources::new(Some(&path), database.into_iter().chain(overrides));
        let service = pushpost::runtime::Service::start(sources.load().unwrap(), role).await.unwrap();
        let (sources, reload) = Reload::new(sources);
        service.reload(sources);
        let (address, shutdown) = (service.address(), Shutdown::default());
        let mut running = JoinSet::new();
        running.spawn(service.run(shutdown.clone()));
        self.nodes.push(Node { address, shutdown, reload, running });
    }

    /// All nodes read their configuration again; the first that finds something wrong says what.
    pub async fn reload(&self) -> Result<(), String> {
        for node in &self.nodes {
            node.reload.ask().await.map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    }

    /// One node reads its configuration again; nodes are counted in the order of their starts.
    pub async fn reload_node(&self, node: usize) {
        self.nodes[node].reload.ask().await.unwrap();
    }

    /// Tells all nodes to stop, and does not wait for it.
    pub fn drain_nodes(&self) {
        self.nodes.iter().for_each(|node| node.shutdown.drain.cancel());
    }

    /// Drains all nodes and checks that they leave nothing leased. The service can start others.
    pub async fn end_nodes(&mut self) {
        self.drain_nodes();
        for mut node in self.nodes.drain(..) {
            let ended = tokio::time::timeout(PATIENCE, node.running.join_next()).await;
            ended.expect("a node ends").unwrap().unwrap().unwrap();
        }
        assert_eq!(self.count("select count(*) from jobs where node_id is not null").await, 0, "leased jobs");
    }
}

/// A new key's secret.
pub async fn key(database: &TestDatabase, app: &str, scopes: &str) -> String {
    let mut conn = database.pool.acquire().await.unwrap();
    let (_, secret) = keys::create(&mut conn, app, Scopes::parse(scopes).unwrap(), None).await.unwrap();
    secret
}
