//! The configurations of `deploy/`, and of the section about systemd in docs/operations.md, are read by the program, with the
//! simulator's credentials in the place of those that an operator brings.

use std::fs;

use pushpost_simulator::{Settings, Simulator};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::processes::{command, program};

fn file(name: &str) -> String {
    fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The text between two marks.
fn between(text: &str, begin: &str, end: &str) -> String {
    let (_, rest) = text.split_once(begin).expect(begin);
    rest.split(end).next().unwrap().to_owned()
}

/// Each configuration by its place.
fn configurations() -> [(&'static str, String); 3] {
    let map = file("deploy/kubernetes/config.yaml");
    let (_, map) = map.split_once("pushpost.toml: |\n").unwrap();
    let map = map.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    [
        ("deploy/config/pushpost.toml", file("deploy/config/pushpost.toml")),
        ("deploy/kubernetes/config.yaml", map),
        ("docs/operations.md#systemd", between(&file("docs/operations.md"), "```toml\n", "```")),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configurations_of_every_deployment_are_read() {
    let database = TestDatabase::create().await;
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    for (place, toml) in configurations() {
        let folder = tempfile::tempdir().unwrap();
        simulator.write_files(folder.path()).unwrap();
        fs::write(folder.path().join("url"), database.url()).unwrap();
        let key = format!("AuthKey_{}.p8", simulator.settings().apns.key_id);
        let replaced = toml.lines().map(|line| {
            let given = match line.split_once(" = ") {
                Some(("url_file", _)) => "url",
                Some(("key_file", _)) => &key,
                Some(("service_account_file", _)) => "service-account.json",
                _ => return format!("{line}\n"),
            };
            format!("{} = \"{given}\"\n", line.split_once(" = ").unwrap().0)
        });
        let config = folder.path().join("deployed.toml");
        fs::write(&config, replaced.collect::<String>()).unwrap();
        let mut command = command(program());
        let output = command.args(["migrate", "--check", "--config"]).arg(&config).output().await.unwrap();
        assert!(output.status.success(), "{place}: {output:?}");
    }
}
