//! The whole service in this process: an installation, and as many nodes as a test starts.

mod books;
mod builder;
mod devices;
mod lanes;
mod notifications;
mod requests;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use pushpost::config::Sources;
use pushpost::domain::LaneKey;
use pushpost::provider::{Providers, apns};
use pushpost::runtime::{Reload, ReloadHandle, Role, Service, Shutdown};
use tokio::runtime::Id;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use books::sent;
pub use builder::TestServiceBuilder;

use crate::installation::{CONFIG, Installation};
use crate::wait::WAIT_MAX;

pub const PRODUCTION: LaneKey = apns::lane(apns::PRODUCTION);

/// An installation with nodes in this process, and keys of its app `shop`. End it with one of the `stop…` functions, which
/// check the books.
pub struct TestService {
    installation: Installation,
    nodes: Vec<Node>,
    /// The runtime of the test, and those of the lanes of all nodes that there have been.
    runtimes: Vec<Id>,
    /// The test has told the simulator to refuse or to fail.
    has_rules: AtomicBool,
    expected_logs: Mutex<Vec<&'static str>>,
    /// Secrets of a backend's, a phone's and an operator's key.
    backend: String,
    phone: String,
    admin: String,
    /// The providers of all nodes.
    providers: Providers,
    /// Environment variables that configure nodes, without `PUSHPOST__`.
    overrides: Vec<(String, String)>,
}

struct Node {
    address: Option<SocketAddr>,
    /// Answers `/healthz` and `/metrics`.
    health_address: SocketAddr,
    shutdown: Shutdown,
    reload: ReloadHandle,
    running: JoinSet<anyhow::Result<()>>,
}

impl TestService {
    /// A service as a test describes it.
    pub fn builder() -> TestServiceBuilder {
        TestServiceBuilder::default()
    }

    /// One node that does everything.
    pub async fn start() -> Self {
        Self::builder().node(Role::All).build().await
    }

    /// Configures nodes that start from now on: `DELIVERY__RETRY_MAX`.
    pub fn configure(&mut self, key: &str, value: &str) {
        self.overrides.retain(|(known, _)| known != key);
        self.overrides.push((key.to_owned(), value.to_owned()));
    }

    /// Nodes that start from now on have no FCM.
    pub fn without_fcm(&self) {
        let text = self.read(CONFIG);
        let (rest, _) = text.split_once("[apps.shop.fcm]").unwrap();
        self.write(CONFIG, rest);
    }

    /// Nodes that start from now on serve one more app, which has no credentials.
    pub fn with_another_app(&self, name: &str) {
        self.expect_log("app has no provider");
        let text = self.read(CONFIG);
        self.write(CONFIG, &format!("{text}\n[apps.{name}]\n"));
    }

    /// Nodes that start from now on serve one more app, which sends through the same FCM project.
    pub fn with_another_app_of_the_project(&self, name: &str) {
        let text = self.read(CONFIG);
        let (_, fcm) = text.split_once("[apps.shop.fcm]").unwrap();
        let fcm = fcm.split("\n[").next().unwrap();
        self.write(CONFIG, &format!("{text}\n[apps.{name}.fcm]{fcm}\n"));
    }

    /// Starts one more node.
    pub async fn node(&mut self, role: Role) {
        let elsewhere = self.overrides.iter().any(|(key, _)| key == "DATABASE__URL");
        let database = ("PUSHPOST__DATABASE__URL".to_owned(), self.database.url().to_owned());
        let database = (!elsewhere).then_some(database);
        let overrides = self.overrides.iter().map(|(key, value)| (format!("PUSHPOST__{key}"), value.clone()));
        let sources = Sources::new(Some(&self.config_path()), database.into_iter().chain(overrides));
        let sources = sources.with_providers(self.providers.clone());
        let service = Service::start(sources.load().unwrap(), role).await.unwrap();
        let (sources, reload) = Reload::new(sources);
        service.reload(sources);
        self.runtimes.push(service.lane_runtime());
        let (address, health_address) = (service.address(), service.health_address());
        let shutdown = Shutdown::default();
        let mut running = JoinSet::new();
        running.spawn(service.run(shutdown.clone()));
        self.nodes.push(Node { address, health_address, shutdown, reload, running });
    }

    /// All nodes read their configuration again; answers the first error.
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

    /// Tells all nodes to stop; does not wait.
    pub fn drain_nodes(&self) {
        self.nodes.iter().for_each(|node| node.shutdown.drain.cancel());
    }

    /// Tells one node to stop; does not wait.
    pub fn drain_node(&self, node: usize) {
        self.nodes[node].shutdown.drain.cancel();
    }

    /// Drains one node; nodes are counted in the order of their starts.
    pub async fn end_node(&mut self, node: usize) {
        let mut node = self.nodes.remove(node);
        node.shutdown.drain.cancel();
        let ended = timeout(WAIT_MAX, node.running.join_next()).await;
        ended.expect("a node ends").unwrap().unwrap().unwrap();
    }

    /// Drains all nodes, and checks that no job is leased afterwards. Other nodes can be started.
    pub async fn end_nodes(&mut self) {
        self.drain_nodes();
        while !self.nodes.is_empty() {
            self.end_node(0).await;
        }
        let leased = "select count(*) from jobs where node_id is not null";
        assert_eq!(self.database.count(leased).await, 0, "leased jobs");
    }
}

impl Deref for TestService {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}
