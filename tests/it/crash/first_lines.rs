//! The first log lines of the service, and variables that only look like settings.

use std::time::Duration;

use serde_json::Value;

use pushpost_testkit::processes::{TestMachine, providers};

/// What Kubernetes sets in a pod beside services that are called `pushpost` and `pushpost-server`.
const OF_KUBERNETES: [(&str, &str); 5] = [
    ("PUSHPOST_SERVICE_HOST", "10.96.0.7"),
    ("PUSHPOST_SERVICE_PORT_HTTP", "80"),
    ("PUSHPOST_PORT", "tcp://10.96.0.7:80"),
    ("PUSHPOST_PORT_80_TCP_ADDR", "10.96.0.7"),
    ("PUSHPOST_SERVER_SERVICE_PORT", "80"),
];

fn line<'a>(lines: &'a [Value], message: &str) -> Option<&'a Value> {
    lines.iter().find(|line| line["message"] == message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_log_lines_name_version_file_database_and_apps() {
    let machine = TestMachine::new(providers(Duration::ZERO), "").await;
    let mut variables = OF_KUBERNETES.to_vec();
    variables.push(("PUSHPOST_COLOUR", "green"));
    variables.push(("DB_URL", "postgres://elsewhere/x"));
    let _node = machine.serve_with(&variables).await;
    let lines = machine.log_lines();
    let start = line(&lines, "pushpost starts").expect("the program is named");
    assert_eq!((&start["version"], &start["role"]), (&env!("CARGO_PKG_VERSION").into(), &"all".into()));
    let file = line(&lines, "configuration file is read").expect("the file is named");
    assert!(file["file"].as_str().unwrap().ends_with("/pushpost.toml"), "{file}");
    let database = line(&lines, "database is an embedded Postgres").expect("the database is named");
    assert_eq!(database["data_dir"].as_str().unwrap(), machine.data_dir().to_str().unwrap());
    let apps = line(&lines, "apps are configured").expect("the apps are named");
    assert_eq!(
        (&apps["apps"], &apps["lanes"]),
        (&"shop".into(), &"shop/apns-production, shop/apns-sandbox, shop/fcm".into())
    );
    let without_effect = lines.iter().filter(|line| line["message"] == "environment variable has no effect");
    let without_effect: Vec<_> = without_effect.map(|line| line["variable"].as_str().unwrap()).collect();
    assert_eq!(without_effect, ["DB_URL", "PUSHPOST_COLOUR"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_a_misspelt_variable_is_refused_and_nothing_is_made() {
    let machine = TestMachine::new(providers(Duration::ZERO), "").await;
    let misspelt = [("PUSHPOST_DATABASE_URL", "postgres://u:hunter2@db/x")];
    for command in [&["serve"][..], &["migrate"], &["keys", "list"]] {
        let output = machine.run_with(command, &misspelt).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("$PUSHPOST_DATABASE_URL") && said.contains("PUSHPOST__DATABASE__URL"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert!(!machine.data_dir().exists());
}

/// Runs `pushpost serve` in a folder, without `--config` and without programs of Postgres: it ends after its first lines.
/// `prepare` is a shell's command that goes before it, in a mount namespace of its own.
async fn first_lines_in(folder: &std::path::Path, prepare: &str) -> Vec<Value> {
    let script = format!("{prepare} && exec \"$0\" serve");
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--mount", "bash", "-ec", &script, pushpost_testkit::processes::program()]).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("PUSHPOST__DATABASE__POSTGRES_BIN_DIR", "/nowhere").current_dir(folder);
    let output = command.output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(line(&lines, "pushpost starts").is_some() && !output.status.success(), "{said}");
    lines
}

#[tokio::test]
async fn an_address_for_other_hosts_without_a_trusted_proxy_is_warned_of() {
    let warning = "server.listen is reachable from other hosts, and no proxy is trusted";
    let folder = tempfile::tempdir().unwrap();
    // An address of no host (RFC 5737): the process ends when it can not listen there.
    let listen = "export PUSHPOST__SERVER__LISTEN=192.0.2.1:8080";
    assert!(line(&first_lines_in(folder.path(), listen).await, warning).is_some());
    let trusted = format!("{listen} PUSHPOST__SERVER__TRUSTED_PROXIES=192.0.2.2");
    for silent in [&trusted, "true"] {
        assert!(line(&first_lines_in(folder.path(), silent).await, warning).is_none(), "{silent}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_named_and_a_configuration_without_apps_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pushpost.toml"), "").unwrap();
    let lines = first_lines_in(folder.path(), "true").await;
    assert!(line(&lines, "no configuration file; defaults and environment variables apply").is_some());
    let unread = line(&lines, "configuration file is there and not read").expect("a warning");
    assert_eq!((&unread["level"], &unread["file"]), (&"WARN".into(), &"pushpost.toml".into()));
    let no_app = line(&lines, "no app is configured, so every request is refused").expect("a warning");
    assert_eq!(no_app["level"], "WARN");
}

#[tokio::test]
async fn an_app_without_a_provider_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let schedule =
        "[[apps.shpo.cleanups]]\nname = \"stale\"\nschedule = \"0 3 * * 0\"\ninactive_days = 270\n";
    std::fs::write(folder.path().join("c.toml"), schedule).unwrap();
    let lines = first_lines_in(folder.path(), "export PUSHPOST_CONFIG=c.toml").await;
    let warning = line(&lines, "app has no provider, so nothing is sent for it").expect("a warning");
    assert_eq!((&warning["level"], &warning["app"]), (&"WARN".into(), &"shpo".into()));
}

#[tokio::test]
async fn a_data_folder_that_ends_with_its_container_is_warned_of() {
    let message = "data folder is on an overlay file system and ends with its container";
    let folder = tempfile::tempdir().unwrap();
    let overlay = "mkdir l u w pushpost-data && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay pushpost-data";
    let lines = first_lines_in(folder.path(), overlay).await;
    assert_eq!(line(&lines, message).expect("a warning")["level"], "WARN");
    let folder = tempfile::tempdir().unwrap();
    assert!(
        line(&first_lines_in(folder.path(), "mount -t tmpfs tmpfs . && cd \"$PWD\"").await, message)
            .is_none()
    );
}
