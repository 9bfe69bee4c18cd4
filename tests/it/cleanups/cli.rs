//! `pushpost tokens`, by the real program: with a node that lives, with one that was killed, and without any.

use std::process::{Output, Stdio};
use std::time::Duration;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::json::{assert_has, text};
use pushpost_testkit::processes::{TestCluster, command, program, signal};
use pushpost_testkit::wait::until;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::{add, quarantined};

/// Longer than any command takes.
const LONG: Duration = Duration::from_secs(120);
const CONFIG: &str = "[delivery]\nnode_timeout = \"5s\"\n[apps.shop]\n[apps.other]\n";

/// A folder with a configuration of the apps `shop` and `other`, and a database.
struct Place {
    database: TestDatabase,
    folder: TempDir,
}

impl Place {
    async fn create() -> Self {
        let place = Self { database: TestDatabase::create().await, folder: tempfile::tempdir().unwrap() };
        pushpost_testkit::apps::app(&place.database.pool, "shop").await;
        std::fs::write(place.folder.path().join("c.toml"), CONFIG).unwrap();
        place
    }

    fn command(&self, line: &str) -> Command {
        tokens(line, &self.folder.path().join("c.toml"), self.database.url())
    }

    /// Runs `pushpost tokens …` to its end.
    async fn run(&self, line: &str) -> Output {
        ended(&mut self.command(line)).await
    }
}

fn tokens(line: &str, config: &std::path::Path, database_url: &str) -> Command {
    let mut command = command(program());
    command.arg("tokens").args(line.split(' ')).arg("--config").arg(config);
    command.env("DATABASE_URL", database_url).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn ended(command: &mut Command) -> Output {
    timeout(LONG, command.output()).await.expect("a command ends").unwrap()
}

fn written(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The JSON documents on stdout, one per line.
#[track_caller]
fn documents(output: &Output, code: i32) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    written(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_command_carries_its_run_out_where_no_node_lives_and_restores_it() {
    let place = Place::create().await;
    add(&place.database, 20, 100.0, "", "").await;
    add(&place.database, 80, 1.0, "", "").await;
    let dry = documents(&place.run("cleanup --app shop --inactive-days 30 --dry-run --json").await, 0);
    assert_has(
        &dry[0],
        &json!({"status": "done", "dry_run": true, "scanned": 100, "matched": 20, "quarantined": 0}),
    );
    let run = documents(&place.run("cleanup --app shop --inactive-days 30 --json").await, 0);
    assert_has(&run[0], &json!({"status": "done", "quarantined": 20, "problem": null}));
    assert_eq!(quarantined(&place.database).await, 20);

    let id = text(&run[0]["id"]);
    let shown = place.run(&format!("show {id}")).await;
    let shown = written(&shown.stdout);
    for part in
        [&*id, "of shop: done", "inactive for 30 days", "100 active devices", "20 match, 20 quarantined"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let listed = place.run("list").await;
    assert_eq!(written(&listed.stdout).lines().count(), 3, "{listed:?}");
    let listed = documents(&place.run("list --app shop --json").await, 0);
    assert_eq!(listed.iter().map(|run| &run["id"]).collect::<Vec<_>>(), [&run[0]["id"], &dry[0]["id"]]);
    assert_eq!(documents(&place.run("list --app other --json").await, 0), Vec::<Value>::new());

    let restored = documents(&place.run(&format!("restore {id} --json")).await, 0);
    assert_has(&restored[0], &json!({"status": "restored", "restored": 20}));
    assert_eq!(quarantined(&place.database).await, 0);
}

#[tokio::test]
async fn criteria_of_a_command_are_those_of_a_request() {
    let place = Place::create().await;
    let line = "cleanup --app other --inactive-days 7 --platform apns,fcm --environment sandbox \
                --app-version-below 5.2.0 --max-share 0.05 --json";
    let run = documents(&place.run(line).await, 0);
    let criteria = json!({
        "inactive_days": 7, "platforms": ["apns", "fcm"], "environments": ["sandbox"], "app_version_below": "5.2.0",
        "max_share": 0.05
    });
    assert_has(&run[0], &json!({"criteria": criteria, "schedule": null, "status": "done"}));
}

#[tokio::test]
async fn a_run_that_failed_ends_with_2_and_wrong_usage_with_64() {
    let place = Place::create().await;
    add(&place.database, 21, 100.0, "", "").await;
    add(&place.database, 79, 1.0, "", "").await;
    let failed = place.run("cleanup --app shop --inactive-days 30 --json").await;
    let run = documents(&failed, 2);
    assert_has(&run[0], &json!({"status": "failed", "problem": {"code": "share_exceeded"}}));
    assert!(written(&failed.stderr).contains("--max-share"), "{failed:?}");
    let id = text(&run[0]["id"]);
    assert_eq!(
        place.run(&format!("restore {id}")).await.status.code(),
        Some(1),
        "there is nothing to restore"
    );
    let waited = place.run(&format!("show {id} --wait")).await;
    assert_eq!(waited.status.code(), Some(2), "as the command that started the run: {waited:?}");
    assert_eq!(place.run(&format!("show {id}")).await.status.code(), Some(0), "it was found");
    assert_eq!(place.run("show run_doesnotexist").await.status.code(), Some(1));
    assert_eq!(place.run("cleanup --inactive-days 30").await.status.code(), Some(64), "which of two apps?");
    let contradiction =
        place.run("cleanup --app shop --inactive-days 30 --platform fcm --environment sandbox").await;
    assert_eq!(contradiction.status.code(), Some(64), "no FCM device has an environment: {contradiction:?}");
    assert_eq!(place.run("cleanup --app nobody --inactive-days 30").await.status.code(), Some(1));
    assert_eq!(quarantined(&place.database).await, 0);
}

#[tokio::test]
async fn an_interrupted_command_leaves_a_run_that_another_one_continues_or_stops() {
    let place = Place::create().await;
    add(&place.database, 30, 100.0, "", "").await;
    // A node that was killed: its row stays, and the command watches for a while whether it lives.
    place.database.execute("insert into nodes (name) values ('killed')").await;
    let mut command = place.command("cleanup --app shop --inactive-days 30 --max-share 1");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    place.database.until_count("select count(*) from cleanup_runs where status = 0", 1).await;
    signal("-INT", child.id().unwrap()).await;
    let interrupted = timeout(LONG, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(interrupted.status.code(), Some(1), "{interrupted:?}");
    let said = written(&interrupted.stderr);
    assert!(said.contains("interrupted") && said.contains("pushpost tokens show run_"), "{said}");

    let second = place.run("cleanup --app shop --inactive-days 30").await;
    assert_eq!(second.status.code(), Some(1));
    assert!(written(&second.stderr).contains("under way"), "{second:?}");
    let id = text(&documents(&place.run("list --json").await, 0)[0]["id"]);
    let run = documents(&place.run(&format!("show {id} --wait --json")).await, 0);
    assert_has(&run[0], &json!({"status": "done", "quarantined": 30}));
    let stopped = documents(&place.run(&format!("cancel {id} --json")).await, 0);
    assert_eq!(stopped[0]["status"], "done", "it has ended");
}

#[tokio::test]
async fn a_restoration_that_is_stopped_says_that_it_can_go_on() {
    let place = Place::create().await;
    add(&place.database, 30, 100.0, "", "").await;
    let run = documents(&place.run("cleanup --app shop --inactive-days 30 --max-share 1 --json").await, 0);
    let id = text(&run[0]["id"]);
    // A node that was killed: the command watches for a while whether it lives.
    place.database.execute("insert into nodes (name) values ('killed')").await;
    let mut restore = place.command(&format!("restore {id}"));
    let child = restore.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    place.database.until_count("select count(*) from cleanup_runs where status = 4", 1).await;
    documents(&place.run(&format!("cancel {id} --json")).await, 0);
    let stopped = timeout(LONG, child.wait_with_output()).await.unwrap().unwrap();
    let said = written(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(2), "{said}");
    assert!(
        said.contains("the restoration was stopped") && said.contains("restore goes on with it"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_node_carries_out_the_run_of_a_command() {
    let cluster = TestCluster::create(&[("node_timeout", "5s")]).await;
    let node = cluster.node(cluster.database.url()).await;
    cluster.until("the process leads", &[&node], async || cluster.is_led_by(&node).await).await;
    add(&cluster.database, 30, 100.0, "", "").await;
    let line = "cleanup --app shop --inactive-days 30 --max-share 1 --json";
    let output = ended(&mut tokens(line, &cluster.config_path(), cluster.database.url())).await;
    assert_has(&documents(&output, 0)[0], &json!({"status": "done", "quarantined": 30}));
    let is_logged = async || {
        let log = node.log();
        log.lines().any(|line| line.contains("clean-up run is done") && line.contains("\"app\":\"shop\""))
    };
    until("the node logs that it has carried the run of the app out", is_logged).await;
}
