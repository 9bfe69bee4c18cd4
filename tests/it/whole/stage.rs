//! The stage that each of these tests plays on: a database, a simulator, and as many nodes as it starts.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method};
use pushpost::config::Sources;
use pushpost::domain::{Environment, LaneKey, Scopes};
use pushpost::registry::keys;
use pushpost::runtime::{Reload, ReloadHandle, Role, Service, Shutdown};
use pushpost_simulator::{Entry, Ledger, Rule, Settings, Simulator};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::database::TestDatabase;
use crate::service::Answer;
use crate::shop;

/// No test waits longer for anything; how long it takes is nobody's concern here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(25);
pub(crate) const PRODUCTION: LaneKey = LaneKey::Apns(Environment::Production);

/// Retries follow at once, so that what follows is seen soon.
const SHORT: [(&str, &str); 5] = [
    ("SERVER__LISTEN", "127.0.0.1:0"),
    ("DELIVERY__RETRY_INITIAL", "20ms"),
    ("DELIVERY__RETRY_THROTTLED", "40ms"),
    ("DELIVERY__RETRY_MAX", "40ms"),
    ("DELIVERY__NODE_TIMEOUT", "15s"),
];

pub(crate) struct Stage {
    nodes: Vec<Node>,
    pub(crate) http: reqwest::Client,
    backend: String,
    phone: String,
    admin: String,
    overrides: Vec<(String, String)>,
    pub(crate) simulator: Simulator,
    folder: TempDir,
    pub(crate) database: TestDatabase,
}

struct Node {
    address: Option<SocketAddr>,
    shutdown: Shutdown,
    reload: ReloadHandle,
    running: JoinSet<anyhow::Result<()>>,
}

impl Stage {
    /// One node that does everything.
    pub(crate) async fn start() -> Self {
        let mut stage = Self::set(Settings::default()).await;
        stage.node(Role::All).await;
        stage
    }

    /// No node yet; the app and its lanes have rows, so that a lane can be paused before anybody sends.
    pub(crate) async fn set(settings: Settings) -> Self {
        let database = TestDatabase::create().await;
        let simulator = Simulator::start(settings).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        simulator.write_files(folder.path()).unwrap();
        shop::shop(&database.pool).await;
        let backend = key(&database, "shop", "send,read,devices").await;
        let phone = key(&database, "shop", "register").await;
        let admin = key(&database, "shop", "admin").await;
        let overrides = SHORT.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { nodes: Vec::new(), http, backend, phone, admin, overrides, simulator, folder, database }
    }

    /// Configures nodes that start from now on.
    pub(crate) fn configure(&mut self, key: &str, value: &str) {
        self.overrides.retain(|(known, _)| known != key);
        self.overrides.push((key.to_owned(), value.to_owned()));
    }

    /// Nodes that start from now on have no FCM.
    pub(crate) fn without_fcm(&self) {
        let path = self.folder.path().join("pushpost.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (rest, _) = text.split_once("[apps.shop.fcm]").unwrap();
        std::fs::write(&path, rest).unwrap();
    }

    /// Nodes that start from now on serve one more app, which sends through nobody.
    pub(crate) fn with_another_app(&self, name: &str) {
        let path = self.folder.path().join("pushpost.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}\n[apps.{name}]\n")).unwrap();
    }

    /// Nodes that start from now on serve one more app, which sends through the same FCM project.
    pub(crate) fn with_another_app_of_the_project(&self, name: &str) {
        let text = self.read("pushpost.toml");
        let (_, fcm) = text.split_once("[apps.shop.fcm]").unwrap();
        let fcm = fcm.split("\n[").next().unwrap();
        self.write("pushpost.toml", &format!("{text}\n[apps.{name}.fcm]{fcm}\n"));
    }

    /// Starts one more node.
    pub(crate) async fn node(&mut self, role: Role) {
        let elsewhere = self.overrides.iter().any(|(key, _)| key == "DATABASE__URL");
        let database = ("PUSHPOST__DATABASE__URL".to_owned(), self.database.url().to_owned());
        let database = (!elsewhere).then_some(database);
        let overrides = self.overrides.iter().map(|(key, value)| (format!("PUSHPOST__{key}"), value.clone()));
        let path = self.folder.path().join("pushpost.toml");
        let sources = Sources::new(Some(&path), database.into_iter().chain(overrides));
        let service = Service::start(sources.load().unwrap(), role).await.unwrap();
        let (sources, reload) = Reload::new(sources);
        service.reload(sources);
        let (address, shutdown) = (service.address(), Shutdown::default());
        let mut running = JoinSet::new();
        running.spawn(service.run(shutdown.clone()));
        self.nodes.push(Node { address, shutdown, reload, running });
    }

    /// Puts a file, or another one in its place, beside the configuration; all of it at one moment.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Of a file beside the configuration.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Replaces what stands once in the configuration.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = self.read("pushpost.toml");
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        self.write("pushpost.toml", &text.replace(from, to));
    }

    /// All nodes read their configuration again; the first that finds something wrong says what.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        for node in &self.nodes {
            node.reload.ask().await.map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    }

    /// One node reads its configuration again; nodes are counted in the order of their starts.
    pub(crate) async fn reload_node(&self, node: usize) {
        self.nodes[node].reload.ask().await.unwrap();
    }

    /// Tells all nodes to stop, and does not wait for it.
    pub(crate) fn drain_nodes(&self) {
        self.nodes.iter().for_each(|node| node.shutdown.drain.cancel());
    }

    /// Drains all nodes and checks that they leave nothing leased. The stage can start others.
    pub(crate) async fn end_nodes(&mut self) {
        self.drain_nodes();
        for mut node in self.nodes.drain(..) {
            let ended = tokio::time::timeout(PATIENCE, node.running.join_next()).await;
            ended.expect("a node ends").unwrap().unwrap().unwrap();
        }
        assert_eq!(self.count("select count(*) from jobs where node_id is not null").await, 0, "leased jobs");
    }

    /// Ends everything where all is done, and checks the books: no job is left, and what is on record as accepted is
    /// what the provider took, each once.
    pub(crate) async fn stop(self) {
        let ledger = self.simulator.ledger();
        self.stop_with_duplicates().await;
        assert_eq!(ledger.duplicates(), []);
    }

    /// The same where the provider may have got something twice: then with the same `apns-id`.
    pub(crate) async fn stop_with_duplicates(mut self) {
        self.end_nodes().await;
        assert_eq!(self.count("select count(*) from jobs").await, 0, "jobs");
        let recorded = self.count("select coalesce(sum(accepted), 0)::bigint from receipts").await;
        let ledger = self.simulator.ledger();
        let duplicates = ledger.duplicates();
        assert!(duplicates.iter().all(|duplicate| duplicate.same_apns_id != Some(false)), "{duplicates:?}");
        let taken = ledger.accepted_count() - u64::try_from(duplicates.len()).unwrap();
        assert_eq!(recorded.cast_unsigned(), taken, "on record as accepted, and taken by the provider");
        self.simulator.stop().await;
    }

    /// Without the books: where something stays undecided, or is in doubt.
    pub(crate) async fn stop_undecided(mut self) {
        self.end_nodes().await;
        self.simulator.stop().await;
    }

    pub(crate) fn ledger(&self) -> std::sync::Arc<Ledger> {
        self.simulator.ledger()
    }

    pub(crate) fn rule(&self, rule: Rule) {
        self.simulator.add_rule(rule);
    }

    /// What the provider received for a token.
    pub(crate) fn received(&self, token: &str) -> Vec<Entry> {
        self.ledger().by_token(token)
    }

    /// Waits until the provider has received so many requests of notifications.
    pub(crate) async fn until_received(&self, count: usize) {
        let came = |ledger: &Ledger| sent(ledger).len() >= count;
        assert!(self.ledger().wait_until(PATIENCE, came).await, "{count} requests");
    }

    /// As an operator does; without a node, as one had done.
    pub(crate) async fn pause(&self, lane: LaneKey) {
        if self.has_api() {
            let answer = self.by_admin(Method::POST, &format!("/v1/admin/lanes/{lane}/pause")).await;
            assert_eq!((answer.status.as_u16(), &answer.body["state"]), (200, &json!("paused")));
            return;
        }
        self.set_lane(lane, "paused_at = now()").await;
    }

    /// As an operator does; without a node, as one had done.
    pub(crate) async fn resume(&self, lane: LaneKey) {
        if self.has_api() {
            let answer = self.by_admin(Method::POST, &format!("/v1/admin/lanes/{lane}/resume")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            return;
        }
        self.set_lane(
            lane,
            "paused_at = null, suspended_at = null, suspended_for = null, suspended_reason = null",
        )
        .await;
    }

    async fn set_lane(&self, lane: LaneKey, what: &str) {
        let (platform, environment) = match lane {
            LaneKey::Apns(Environment::Production) => (1, 1),
            LaneKey::Apns(Environment::Sandbox) => (1, 2),
            LaneKey::Fcm => (2, 0),
        };
        let changed = self
            .execute(&format!(
                "update lanes set {what} where platform = {platform} and environment = {environment}"
            ))
            .await;
        assert_eq!(changed, 1);
    }

    pub(crate) async fn execute(&self, sql: &str) -> u64 {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.database.pool).await.unwrap().rows_affected()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.database.pool).await.unwrap()
    }

    /// Milliseconds since 1970.
    pub(crate) async fn now_ms(&self) -> i64 {
        self.count("select (extract(epoch from clock_timestamp()) * 1000)::bigint").await
    }

    /// Waits until a count is what it should be.
    pub(crate) async fn until_count(&self, sql: &str, wanted: i64) {
        let until = Instant::now() + PATIENCE;
        let mut found = self.count(sql).await;
        while found != wanted {
            assert!(Instant::now() < until, "{sql}: {found}");
            sleep(POLL).await;
            found = self.count(sql).await;
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&self.backend, Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(&self.backend, Method::POST, path, Some(body)).await
    }

    /// Posts a text as it is.
    pub(crate) async fn post_text(&self, path: &str, body: String) -> Answer {
        self.ask_with(&self.backend, Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(&self.backend, Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(&self.backend, Method::DELETE, path, None).await
    }

    /// Asks with an operator's key.
    pub(crate) async fn by_admin(&self, method: Method, path: &str) -> Answer {
        self.ask(&self.admin, method, path, None).await
    }

    /// A lane as operators see it.
    pub(crate) async fn lane(&self, lane: LaneKey) -> Value {
        let lanes = self.by_admin(Method::GET, "/v1/admin/lanes").await.body;
        of(lanes["items"].as_array().unwrap(), "lane", &lane.to_string()).clone()
    }

    /// Waits until operators see a lane in a state.
    pub(crate) async fn until_lane(&self, lane: LaneKey, state: &str) -> Value {
        self.until_lane_has(lane, &json!({"state": state})).await
    }

    /// Waits until operators see all this of a lane; answers all that they see then.
    pub(crate) async fn until_lane_has(&self, lane: LaneKey, wanted: &Value) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.lane(lane).await;
            if wanted.as_object().unwrap().iter().all(|(name, value)| seen[name] == *value) {
                return seen;
            }
            assert!(Instant::now() < until, "not {wanted}: {seen}");
            sleep(POLL).await;
        }
    }

    /// Makes all that waits in a lane for another attempt due, as an operator does.
    pub(crate) async fn hasten(&self, lane: LaneKey) {
        let answer = self.by_admin(Method::POST, &format!("/v1/admin/lanes/{lane}/retry")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Asks with the key that phones have.
    pub(crate) async fn put_by_phone(&self, path: &str, body: Value) -> Answer {
        self.ask(&self.phone, Method::PUT, path, Some(body)).await
    }

    /// The text of an answer to another media type.
    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> String {
        let request = self.http.get(self.url(path)).bearer_auth(&self.backend).header("accept", accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], accept);
        response.text().await.unwrap()
    }

    fn has_api(&self) -> bool {
        self.nodes.iter().any(|node| node.address.is_some())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let address = self.nodes.iter().find_map(|node| node.address).expect("a node with an API");
        format!("http://{address}{path}")
    }

    async fn ask(&self, secret: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(secret, method, path, body.map(|body| body.to_string())).await
    }

    /// Asks one node with any key.
    pub(crate) async fn ask_node(
        &self,
        node: usize,
        secret: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let address = self.nodes[node].address.expect("it has an API");
        self.ask_url(format!("http://{address}{path}"), secret, method, body.map(|body| body.to_string()))
            .await
    }

    async fn ask_with(&self, secret: &str, method: Method, path: &str, body: Option<String>) -> Answer {
        self.ask_url(self.url(path), secret, method, body).await
    }

    async fn ask_url(&self, url: String, secret: &str, method: Method, body: Option<String>) -> Answer {
        let mut request = self.http.request(method, url).bearer_auth(secret);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers): (_, HeaderMap) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status, headers, body }
    }

    /// Registers a device; answers its id.
    pub(crate) async fn device(&self, body: Value) -> String {
        let answer = self.put("/v1/devices", body).await;
        assert!(answer.status.is_success(), "{answer:?}");
        text(&answer.body["id"])
    }

    /// Hands in a notification that must be accepted; answers its id.
    pub(crate) async fn notify(&self, body: Value) -> String {
        let answer = self.post("/v1/notifications", body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        text(&answer.body["id"])
    }

    /// The notification's status, once all is decided.
    pub(crate) async fn done(&self, notification: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.get(&format!("/v1/notifications/{notification}")).await.body;
            if status["status"] == "done" {
                return status;
            }
            assert!(Instant::now() < until, "not done: {status}");
            sleep(POLL).await;
        }
    }

    /// All deliveries as they are now.
    pub(crate) async fn deliveries(&self, notification: &str) -> Vec<Value> {
        let path = format!("/v1/notifications/{notification}/deliveries");
        let lines = self.get_as(&path, "application/x-ndjson").await;
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All deliveries, once all is decided.
    pub(crate) async fn outcomes(&self, notification: &str) -> Vec<Value> {
        self.done(notification).await;
        self.deliveries(notification).await
    }

    /// The one delivery of a notification to one device, once it is decided.
    pub(crate) async fn outcome(&self, notification: &str) -> Value {
        let outcomes = self.outcomes(notification).await;
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes[0].clone()
    }

    /// Sends to one token; answers the one delivery, once it is decided.
    pub(crate) async fn outcome_of(&self, platform: &str, token: &str, ttl: &str) -> Value {
        let to = json!({"tokens": [{"platform": platform, "token": token}]});
        let id = self.notify(json!({"to": to, "title": "Hi", "ttl": ttl})).await;
        self.outcome(&id).await
    }
}

/// A new key's secret.
pub(crate) async fn key(database: &TestDatabase, app: &str, scopes: &str) -> String {
    let mut conn = database.pool.acquire().await.unwrap();
    let (_, secret) = keys::create(&mut conn, app, Scopes::parse(scopes).unwrap(), None).await.unwrap();
    secret
}

/// The ledger's entries of notifications.
pub(crate) fn sent(ledger: &Ledger) -> Vec<Entry> {
    ledger.entries().into_iter().filter(|entry| entry.token.is_some()).collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}")).to_owned()
}

/// 64 hexadecimal digits of two.
pub(crate) fn hex(two: &str) -> String {
    two.repeat(32)
}

/// So many APNs tokens that begin with `prefix`, as targets.
pub(crate) fn apns_targets(prefix: &str, count: usize) -> Vec<Value> {
    let digits = 64 - prefix.len();
    (0..count).map(|i| json!({"platform": "apns", "token": format!("{prefix}{i:0digits$x}")})).collect()
}

/// So many FCM tokens that begin with `prefix`, as targets.
pub(crate) fn fcm_targets(prefix: &str, count: usize) -> Vec<Value> {
    (0..count).map(|i| json!({"platform": "fcm", "token": format!("{prefix}{i}")})).collect()
}

/// The delivery that has this value.
#[track_caller]
pub(crate) fn of<'a>(deliveries: &'a [Value], field: &str, value: &str) -> &'a Value {
    let found: Vec<_> = deliveries.iter().filter(|delivery| delivery[field] == value).collect();
    assert_eq!(found.len(), 1, "{field} {value} in {deliveries:?}");
    found[0]
}

/// Status, attempts and reason of a delivery.
#[track_caller]
pub(crate) fn assert_ended(delivery: &Value, status: &str, attempts: u32, reason: Option<&str>) {
    let found = (&delivery["status"], &delivery["attempts"], &delivery["reason"]);
    assert_eq!(found, (&json!(status), &json!(attempts), &json!(reason)), "{delivery}");
}
