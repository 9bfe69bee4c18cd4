//! What holds for every command: its help, wrong usage, JSON that a program can read, each exit code, completions and manual.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};

use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_testkit::processes::{command, program, signal};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::WAIT_MAX;
use pushpost_testkit::webhook_receiver::WebhookReceiver;
use serde_json::{Deserializer, Value};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::commands::{assert_ended, run, run_with_input};

/// A server that nothing listens at.
const NOWHERE: &str = "postgres://pushpost@127.0.0.1:1/pushpost";

/// The names of the commands below this one, as its help lists them.
async fn inner_commands(line: &str) -> Vec<String> {
    let help = run(&format!("{line} --help"), &[]).await;
    let help = String::from_utf8(help.stdout).unwrap();
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

/// All commands, those with commands below them included.
async fn all_commands() -> Vec<String> {
    let (mut all, mut open) = (Vec::new(), inner_commands("").await);
    while let Some(line) = open.pop() {
        open.extend(inner_commands(&line).await.iter().map(|inner| format!("{line} {inner}")));
        all.push(line);
    }
    all.sort();
    all
}

fn documents(output: &Output) -> Vec<Value> {
    let read: Result<Vec<Value>, _> = Deserializer::from_slice(&output.stdout).into_iter().collect();
    read.unwrap_or_else(|error| panic!("no JSON ({error}): {output:?}"))
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_has_help_on_stdout_and_refuses_an_unknown_option_on_stderr() {
    let all = all_commands().await;
    assert!(all.len() > 25 && all.contains(&"queue pause".to_owned()), "{all:?}");
    for line in &all {
        let help = run(&format!("{line} --help"), &[]).await;
        assert_ended(&help, 0, &[&format!("Usage: pushpost {line}")], &[]);
        let wrong = run(&format!("{line} --no-such-option"), &[]).await;
        assert_ended(&wrong, 64, &[], &["unexpected argument '--no-such-option'"]);
    }
}

/// An exit code, a line of arguments, and the environment.
type Case<'a> = (i32, String, &'a [(&'a str, &'a str)]);

/// Commands with arguments by which they print JSON, with their exit codes, in the order in which they run.
fn printing<'a>(devices: &str, service: &'a Printing<'a>) -> Vec<Case<'a>> {
    let (database, http) = (&service.database[..], &service.http[..]);
    let own = |code, line: &str, variables| (code, line.to_owned(), variables);
    vec![
        own(0, "migrate --json", database),
        own(0, "migrate --check --json", database),
        own(0, "config check --json", database),
        own(0, "doctor --json", database),
        own(0, "keys create --app shop --scope read --json", database),
        own(0, "keys list --json", database),
        own(0, &format!("keys revoke {} --json", service.key), database),
        own(0, &format!("devices import {devices} --check --json"), database),
        own(0, &format!("devices import {devices} --json"), database),
        own(0, "queue --json", http),
        own(0, "queue pause fcm --json", http),
        own(2, "queue --json", http),
        own(0, "queue resume fcm --json", http),
        own(0, "queue retry fcm --json", http),
        own(0, "nodes --json", http),
        own(0, "webhooks --json", http),
        own(0, "webhooks list --json", http),
        own(0, "webhooks attempts backend --json", http),
        own(0, "webhooks test backend --json", http),
        own(0, "webhooks pause backend --json", http),
        own(2, "webhooks --json", http),
        own(0, "webhooks resume backend --json", http),
        own(0, "webhooks retry backend --json", http),
        own(0, "webhooks set-aside backend --json", http),
        own(1, "webhooks retry-event backend evt_0 --json", http),
        own(1, "webhooks rotate backend --json", http),
        own(0, "webhooks replay backend --since 2026-01-01T00:00:00Z --json", http),
        own(0, "send --user u1 --title Hi --json", http),
        own(2, "send --user nobody --title Hi --json", http),
        own(0, "send --user u1 --title Hi --no-wait --json", http),
        own(0, &format!("why {} --json", service.sent), http),
        own(0, "events tail --json", http),
        own(0, "tokens cleanup --app shop --inactive-days 30 --json", database),
        own(0, "tokens list --json", database),
        own(0, &format!("tokens show {} --json", service.run), database),
        own(0, &format!("tokens restore {} --json", service.run), database),
        own(0, &format!("tokens cancel {} --json", service.run), database),
    ]
}

struct Printing<'a> {
    database: Vec<(&'a str, &'a str)>,
    http: Vec<(&'a str, &'a str)>,
    /// A key that may be revoked.
    key: String,
    /// A clean-up run that has ended.
    run: String,
    /// A notification that was accepted.
    sent: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_of_every_command_that_has_it_can_be_read() {
    let receiver = WebhookReceiver::start().await;
    let webhook = format!(
        "[{{name=\"backend\", url=\"{}\", secrets=[\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]}}]",
        receiver.url()
    );
    let service = TestService::builder().config("WEBHOOKS__ALLOW_NETWORKS", "[\"127.0.0.1\"]");
    let service = service.config("APPS__SHOP__WEBHOOKS", &webhook).node(Role::All).build().await;
    service.lanes().until_state(fcm::LANE, "running").await;
    for lane in ["apns-production", "apns-sandbox"] {
        let lane = service.by_admin(http::Method::POST, &format!("/v1/admin/lanes/{lane}/resume")).await;
        assert_eq!(lane.status, 200);
    }
    let (url, key, config) = (service.url(""), service.key("admin").await, service.config_path());
    let database =
        vec![("DATABASE_URL", service.database.url()), ("PUSHPOST_CONFIG", config.to_str().unwrap())];
    let http = vec![("PUSHPOST_URL", url.as_str()), ("PUSHPOST_KEY", key.as_str())];
    let created = documents(&run("keys create --app shop --scope read --json", &database).await);
    let ran = documents(&run("tokens cleanup --app shop --inactive-days 30 --json", &database).await);
    let sent = documents(&run("send --token f1 --platform fcm --title Hi --json", &http).await);
    receiver.until("an attempt", |messages| !messages.is_empty()).await;
    service.write("devices.ndjson", "{\"platform\":\"fcm\",\"token\":\"f1\",\"user\":\"u1\"}\n");
    let devices = service.path("devices.ndjson");
    let id = |document: &Value| document["id"].as_str().unwrap().to_owned();
    let printing_service =
        Printing { database, http, key: id(&created[0]), run: id(&ran[0]), sent: id(&sent[0]) };
    let cases = printing(&devices, &printing_service);
    for (expected, line, variables) in &cases {
        let output = run(line, variables).await;
        assert_eq!(code(&output), Some(*expected), "{line}: {output:?}");
        // A list may be empty, and what is refused is told on stderr.
        let none_is_right =
            *expected == 1 || line.starts_with("config check") || line.starts_with("webhooks set-aside");
        assert!(!documents(&output).is_empty() || none_is_right, "{line}: {output:?}");
    }
    let exported = run("devices export --app shop", &printing_service.database).await;
    assert_eq!((code(&exported), documents(&exported).len()), (Some(0), 1), "{exported:?}");

    let mut with_json = BTreeSet::new();
    for line in all_commands().await {
        let help = run(&format!("{line} --help"), &[]).await;
        if String::from_utf8(help.stdout).unwrap().contains("--json") {
            with_json.insert(line);
        }
    }
    // It runs until it is stopped: `the_simulator_says_where_it_listens`.
    with_json.remove("simulate");
    with_json.retain(|command| !cases.iter().any(|(_, line, _)| line.starts_with(&format!("{command} "))));
    assert_eq!(with_json, BTreeSet::new(), "these need a case in `printing`");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulator_says_where_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let mut simulate = command(program());
    let folder = folder.path().to_str().unwrap();
    simulate.args([
        "simulate",
        "--json",
        "--dir",
        folder,
        "--apns-port",
        "0",
        "--fcm-port",
        "0",
        "--control-port",
        "0",
    ]);
    let mut simulate = simulate.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdout = simulate.stdout.take().unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\n") {
        let read = timeout(WAIT_MAX, stdout.read_buf(&mut text)).await.expect("it says something").unwrap();
        assert_ne!(read, 0, "it ended");
    }
    let said: Value = serde_json::from_slice(&text).unwrap();
    assert!(said["apns"].is_string() && said["config"].is_string(), "{said}");
    signal("-TERM", simulate.id().unwrap()).await;
    assert_eq!(timeout(WAIT_MAX, simulate.wait()).await.unwrap().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_tells_what_is_out_of_reach_and_what_is_refused() {
    let service = TestService::start().await;
    let (url, phone) = (service.url(""), service.key("register").await);
    let unknown = format!("pushpost_sk_{}", "0a".repeat(32));
    let over_http = [
        "queue",
        "queue pause fcm",
        "queue resume fcm",
        "queue retry fcm",
        "nodes",
        "events tail",
        "webhooks",
        "webhooks test backend",
        "send --user u1 --title Hi",
        "why ntf_x",
    ];
    for line in over_http {
        let by = |url, key| [("PUSHPOST_URL", url), ("PUSHPOST_KEY", key)];
        let away = run(line, &by("http://127.0.0.1:1", &phone)).await;
        assert_ended(&away, 69, &[], &["connection refused", "hint: "]);
        for key in [&unknown, &phone] {
            assert_ended(&run(line, &by(&url, key)).await, 77, &[], &["PUSHPOST_KEY", "hint: "]);
        }
        assert_ended(&run(line, &by(&url, "")).await, 64, &[], &["PUSHPOST_KEY is not set", "hint: "]);
    }
    let config = service.config_path();
    let away = [("DATABASE_URL", NOWHERE), ("PUSHPOST_CONFIG", config.to_str().unwrap())];
    let some_key = "key_00000000000000000000000000000001";
    let in_database = [
        "migrate",
        "migrate --check",
        "keys create --app shop --scope read",
        "keys list",
        &format!("keys revoke {some_key}"),
        "devices import -",
        "devices export",
        "tokens cleanup --app shop --inactive-days 30",
        "tokens list",
        "tokens show run_x",
        "tokens restore run_x",
        "tokens cancel run_x",
    ];
    for line in in_database {
        assert_ended(&run(line, &away).await, 69, &[], &["PostgreSQL at 127.0.0.1:1 is not available"]);
    }
    let absent = [("PUSHPOST_CONFIG", "/nonexistent/pushpost.toml")];
    for line in in_database.into_iter().chain(["healthcheck", "config check"]) {
        assert_ended(
            &run(line, &absent).await,
            1,
            &[],
            &["cannot read the configuration file", "hint: name the file"],
        );
    }
    assert_eq!(code(&run("serve", &absent).await), Some(1));
    assert_eq!(code(&run("doctor", &absent).await), Some(2), "doctor reports it");
    assert_ended(&run("healthcheck --url http://127.0.0.1:1", &[]).await, 1, &[], &["connection refused"]);
    assert_ended(&run(&format!("healthcheck --ready --url {url}"), &[]).await, 0, &[], &[]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_shows_block_after_block_and_ends_well_by_ctrl_c() {
    let service = TestService::start().await;
    let (url, key) = (service.url(""), service.key("admin").await);
    let mut watch = command(program());
    watch.args(["queue", "--watch"]).env("PUSHPOST_URL", url).env("PUSHPOST_KEY", key);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut stdout = watch.stdout.take().unwrap();
    let mut text = Vec::new();
    let blocks = |text: &[u8]| String::from_utf8_lossy(text).matches("LANE  ").count();
    while blocks(&text) < 2 {
        let read = timeout(WAIT_MAX, stdout.read_buf(&mut text)).await.expect("it says something").unwrap();
        assert_ne!(read, 0, "it ended");
    }
    signal("-INT", watch.id().unwrap()).await;
    stdout.read_to_end(&mut text).await.unwrap();
    assert!(!text.contains(&0x1b), "{}", String::from_utf8_lossy(&text));
    let ended = timeout(WAIT_MAX, watch.wait_with_output()).await.expect("it ends").unwrap();
    assert_eq!((code(&ended), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completions_are_scripts_that_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&format!("completions {shell}"), &[]).await;
        assert_ended(&script, 0, &["config", "doctor", "nodes", "watch"], &[]);
    }
    let script = run("completions bash", &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pushpost");
    std::fs::write(&file, &script.stdout).unwrap();
    let checked = tokio::process::Command::new("bash").arg("-n").arg(&file).output().await.expect("bash");
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    assert_ended(&run("completions powershell", &[]).await, 64, &[], &["powershell"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manual_has_a_page_per_command_and_mandoc_has_nothing_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    assert_ended(&run(&format!("man {}", pages.display()), &[]).await, 0, &[], &["pages are written"]);
    let mut files = Vec::new();
    for line in all_commands().await.iter().map(String::as_str).chain([""]) {
        let name = format!("pushpost {line}").trim_end().replace(' ', "-");
        files.push(pages.join(format!("{name}.1")));
    }
    files.iter().for_each(|file| assert!(file.is_file(), "{}", file.display()));
    assert_eq!(std::fs::read_dir(&pages).unwrap().count(), files.len());
    let lint = tokio::process::Command::new("mandoc").args(["-T", "lint"]).args(&files).output().await;
    let lint = lint.expect("mandoc, which scripts/ensure-mandoc installs");
    assert!(lint.status.success() && lint.stdout.is_empty(), "{}", String::from_utf8_lossy(&lint.stdout));
    let nowhere = run_with_input("man /dev/null/man", &[], "").await;
    assert_ended(&nowhere, 1, &[], &["cannot create /dev/null/man"]);
}
