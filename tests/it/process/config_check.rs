//! `pushpost config check` by the real program: every fault with its line, those of credentials included.

use pushpost_simulator::Settings;
use pushpost_testkit::installation::{CONFIG, Installation};
use serde_json::{Value, json};

use super::commands::{assert_ended, run};

/// The line of the configuration that begins with this text, from 1.
fn line_of(installation: &Installation, beginning: &str, nth: usize) -> usize {
    let text = installation.read(CONFIG);
    let mut lines = text.lines().enumerate().filter(|(_, line)| line.starts_with(beginning));
    lines.nth(nth).unwrap_or_else(|| panic!("no {beginning} in {text}")).0 + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_told_with_its_line_and_a_right_configuration_with_its_apps() {
    let installation = Installation::create(Settings::default()).await;
    let file = installation.config_path();
    let file = file.to_str().unwrap();
    let right = run(&format!("config check {file}"), &[]).await;
    assert_ended(&right, 0, &["no fault; apps: shop (apns, fcm)"], &[]);
    let by_variable = run("config check --json", &[("PUSHPOST_CONFIG", file)]).await;
    assert_ended(&by_variable, 0, &[], &[]);

    // Faults of three kinds: a value, a key that is cut off, and a key of another kind in another section.
    installation.edit("team_id", "team_idd");
    let account = installation.read("service-account.json");
    let broken = account.replace("BEGIN PRIVATE KEY-----\\nMI", "BEGIN PRIVATE KEY-----\\nXX");
    installation.write("service-account.json", &broken);
    installation
        .write(CONFIG, &format!("{}\n[delivery]\nmax_in_flight = \"many\"\n", installation.read(CONFIG)));
    let (team, apns) = (line_of(&installation, "team_idd", 0), line_of(&installation, "[apps.shop.apns]", 0));
    let account = line_of(&installation, "service_account_file", 0);
    let in_flight = line_of(&installation, "max_in_flight", 0);
    let wrong = run(&format!("config check {file}"), &[]).await;
    let said = [
        format!("{file}:{apns}: apps.shop.apns.team_id: is missing"),
        format!("{file}:{team}: apps.shop.apns.team_idd: unknown key; the nearest known key is \"team_id\""),
        format!("{file}:{account}: apps.shop.fcm.service_account_file: can't be used: "),
        format!("{file}:{in_flight}: delivery.max_in_flight: must be a whole number"),
    ];
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    assert_ended(&wrong, 2, &said, &["the configuration has 4 faults", "hint: "]);
    assert!(!String::from_utf8_lossy(&wrong.stdout).contains("PRIVATE KEY"), "nothing is quoted");

    let as_json = run(&format!("config check {file} --json"), &[("PUSHPOST_SERVER_LISTEN", "x")]).await;
    assert_ended(&as_json, 2, &["\"variable\":\"PUSHPOST_SERVER_LISTEN\""], &["5 faults"]);
    let text = String::from_utf8(as_json.stdout).unwrap();
    let faults: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let missing = json!({"file": file, "line": apns, "variable": null, "key": "apps.shop.apns.team_id",
                         "message": "is missing", "suggestion": null});
    assert!(faults.len() == 5 && faults.contains(&missing), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_certificates_are_parsed_and_a_file_that_is_not_there_is_an_error() {
    let installation = Installation::create(Settings::default()).await;
    let file = installation.config_path();
    let file = file.to_str().unwrap();
    let text = installation.read(CONFIG);
    let p8 =
        text.lines().find_map(|line| line.strip_prefix("key_file = ")).unwrap().trim_matches('"').to_owned();
    std::fs::write(&p8, "-----BEGIN PRIVATE KEY-----\nbm90LWEta2V5\n-----END PRIVATE KEY-----\n").unwrap();
    installation.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
    let key = line_of(&installation, "key_file", 0);
    let wrong = run(&format!("config check {file}"), &[]).await;
    let said = [
        &*format!("{file}:{key}: apps.shop.apns.key_file: can't be used: not a .p8 key"),
        &*format!("{file}:{}: apps.shop.fcm.ca_file: CA file ", line_of(&installation, "ca_file", 1)),
    ];
    assert_ended(&wrong, 2, &said, &["the configuration has 2 faults"]);

    installation.write(CONFIG, "[server\nlisten = 5\n");
    let no_toml = run(&format!("config check {file}"), &[]).await;
    assert_ended(&no_toml, 2, &[&format!("{file}:1: ")], &["fault"]);
    let absent = run(&format!("config check {file}.none"), &[]).await;
    assert_ended(&absent, 1, &[], &["cannot read the configuration file", "hint: name the file"]);
}
