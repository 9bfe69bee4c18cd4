//! Prometheus with the rules of `deploy`, scraping two real nodes: in each of three faults the right alert fires, leads to
//! its section of the runbook, and ends when the fault is mended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;

use pushpost_simulator::{Action, FcmFault, Provider, Rule};
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::{TestCluster, TestNode, free_port};
use pushpost_testkit::wait::until;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Ranges and `for` of the rules, in seconds, are divided by this.
const QUICKER: u32 = 30;
/// The spans of time in the rules, in seconds.
const SPANS: &[(&str, u32)] = &[
    ("1m", 60),
    ("2m", 120),
    ("5m", 300),
    ("10m", 600),
    ("15m", 900),
    ("30m", 1800),
    ("1h", 3600),
    ("4h", 14_400),
    ("6h", 21_600),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_alert_fires_at_a_fault_and_ends_with_it() {
    let cluster = TestCluster::create(&[]).await;
    let proxy = PostgresProxy::of(&cluster.database).await;
    let leader = cluster.node(cluster.database.url()).await;
    cluster.until("the first node leads", &[&leader], async || cluster.is_led_by(&leader).await).await;
    let mut other = cluster.node(proxy.url()).await;
    let prometheus = Prometheus::start(&[&leader, &other]).await;
    until("both nodes are scraped, and nothing is wrong", async || {
        prometheus.up().await == 2 && prometheus.firing().await.is_empty()
    })
    .await;

    cluster.notify(&leader, &json!({"to": {"tokens": fcm_targets("g", 3)}, "title": "Hi"})).await;
    until("the objective has a value", async || {
        prometheus.results("pushpost%3Alate_ratio%3A5m+%3E%3D+0").await == 1
    })
    .await;

    cluster.simulator.add_rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::PermissionDenied)));
    // Of low priority, because the objective does not count those as late.
    let delayed = json!({"to": {"tokens": fcm_targets("f", 3)}, "title": "Hi", "priority": "low"});
    cluster.notify(&leader, &delayed).await;
    prometheus.until_firing("PushpostLaneSuspended").await;
    cluster.simulator.clear_rules();
    let resumed = cluster.ask(&leader, Method::POST, "/v1/admin/lanes/fcm/resume", None).await;
    assert_eq!(resumed.0, Some(200), "{resumed:?}");
    prometheus.until_quiet("PushpostLaneSuspended").await;

    proxy.set_away(true);
    prometheus.until_firing("PushpostPostgresDown").await;
    proxy.set_away(false);
    prometheus.until_quiet("PushpostPostgresDown").await;

    other.kill().await;
    prometheus.until_firing("PushpostDown").await;
    let third = cluster.node(cluster.database.url()).await;
    prometheus.scrape(&[&leader, &third]);
    prometheus.until_quiet("PushpostDown").await;
}

/// A server with a copy of the rules in which every time passes quicker. Killed when dropped.
struct Prometheus {
    url: String,
    http: Client,
    folder: TempDir,
    _server: Child,
}

impl Prometheus {
    async fn start(nodes: &[&TestNode]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/alerts.yml");
        fs::write(folder.path().join("alerts.yml"), quicker(&fs::read_to_string(rules).unwrap())).unwrap();
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["alerts.yml"],
            "scrape_configs": [{
                "job_name": "pushpost",
                "file_sd_configs": [{"files": ["nodes.json"], "refresh_interval": "1s"}],
            }],
        });
        // YAML takes JSON.
        fs::write(folder.path().join("prometheus.yml"), config.to_string()).unwrap();
        write_nodes(&folder, nodes);
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(folder.path().join("prometheus.yml"));
        command.arg("--storage.tsdb.path").arg(folder.path().join("data"));
        command.arg("--web.listen-address").arg(&address).kill_on_drop(true);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let server = command.spawn().expect("prometheus is installed: scripts/ensure-promtool");
        let http = Client::builder().no_proxy().build().unwrap();
        Self { url: format!("http://{address}"), http, folder, _server: server }
    }

    /// From now on these nodes are scraped, and no others.
    fn scrape(&self, nodes: &[&TestNode]) {
        write_nodes(&self.folder, nodes);
    }

    /// What an endpoint answers as `data`; null while the server starts.
    async fn ask(&self, path: &str) -> Value {
        let Ok(answer) = self.http.get(format!("{}/api/v1/{path}", self.url)).send().await else {
            return Value::Null;
        };
        let text = answer.text().await.unwrap_or_default();
        serde_json::from_str::<Value>(&text).map_or(Value::Null, |mut answer| answer["data"].take())
    }

    /// How many nodes answer.
    async fn up(&self) -> usize {
        self.results("up%3D%3D1").await
    }

    /// How many series a query finds, which is written as in a URL.
    async fn results(&self, query: &str) -> usize {
        let answer = self.ask(&format!("query?query={query}")).await;
        answer["result"].as_array().map_or(0, Vec::len)
    }

    /// The alerts that fire, each with the link to the runbook.
    async fn firing(&self) -> BTreeMap<String, String> {
        let alerts = self.ask("alerts").await;
        let alerts =
            alerts["alerts"].as_array().into_iter().flatten().filter(|alert| alert["state"] == "firing");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        alerts
            .map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["annotations"]["runbook_url"])))
            .collect()
    }

    /// Waits until this alert fires. No other fires then but that of the error lines, which every fault writes.
    async fn until_firing(&self, name: &str) {
        until(&format!("{name} fires"), async || self.firing().await.contains_key(name)).await;
        let firing = self.firing().await;
        let others: BTreeSet<_> = firing.keys().filter(|other| *other != name).map(String::as_str).collect();
        assert!(others.is_subset(&BTreeSet::from(["PushpostErrorsLogged"])), "besides {name}: {others:?}");
        let anchor = firing[name].rsplit_once("/docs/runbook#").expect("a link to the runbook").1;
        let runbook = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbook.md")).unwrap();
        let heading =
            |line: &str| line.strip_prefix("## ").map(|title| title.to_lowercase().replace(' ', "-"));
        assert!(runbook.lines().filter_map(heading).any(|known| known == anchor), "{anchor}");
    }

    async fn until_quiet(&self, name: &str) {
        until(&format!("{name} ends"), async || {
            self.up().await == 2 && !self.firing().await.contains_key(name)
        })
        .await;
    }
}

fn write_nodes(folder: &TempDir, nodes: &[&TestNode]) {
    let targets: Vec<_> = nodes.iter().map(|node| node.address()).collect();
    let (path, new) = (folder.path().join("nodes.json"), folder.path().join("nodes.new"));
    fs::write(&new, json!([{"targets": targets}]).to_string()).unwrap();
    fs::rename(new, path).unwrap();
}

/// The rules with shorter ranges and `for`.
fn quicker(rules: &str) -> String {
    let mut quicker = rules.to_owned();
    for (span, seconds) in SPANS {
        let short = format!("{}s", seconds / QUICKER);
        for (before, after) in [("[", "]"), ("for: ", "\n"), ("offset ", ")")] {
            quicker = quicker.replace(&format!("{before}{span}{after}"), &format!("{before}{short}{after}"));
        }
    }
    quicker
}

#[test]
fn every_span_of_the_rules_becomes_shorter() {
    let rules =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/alerts.yml")).unwrap();
    let quicker = quicker(&rules);
    for line in quicker.lines().filter(|line| line.contains('[') || line.contains("for: ")) {
        assert!(!line.contains("m]") && !line.contains("h]"), "{line}");
        assert!(!line.contains("for: ") || line.ends_with('s'), "{line}");
    }
    assert!(quicker.contains("offset 60s)"), "{quicker}");
}
