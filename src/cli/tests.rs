//! What the command line takes, and what it says about itself.

use clap::{CommandFactory as _, Parser as _};

use super::Cli;

fn args(line: &str) -> Vec<std::ffi::OsString> {
    line.split(' ').map(Into::into).collect()
}

#[test]
fn verify_cli() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_says_what_it_does() {
    let mut top = Cli::command().term_width(100);
    top.build();
    let mut shown = vec![top.render_long_help().to_string()];
    for command in top.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        shown.push(command.render_long_help().to_string());
        for inner in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            shown.push(inner.render_long_help().to_string());
        }
    }
    insta::assert_snapshot!(shown.join("\n────────\n\n"));
}

#[test]
fn wrong_usage_ends_64() {
    let wrong = [
        "pushpost",
        "pushpost fly",
        "pushpost serve --role cook",
        "pushpost serve extra",
        "pushpost demo --devices none",
        "pushpost simulate --latency soon",
        "pushpost keys",
        "pushpost keys create --app shop",
        "pushpost keys create --app shop --scope register,send",
        "pushpost keys create --app shop --scope fly",
        "pushpost send --title A",
        "pushpost send --user u42",
        "pushpost send --token aa --title A",
        "pushpost send --user u42 --token aa --platform apns --title A",
        "pushpost keys create --app shop --scope send --expires 90",
        "pushpost migrate --dry-run",
        "pushpost devices",
        "pushpost devices import",
        "pushpost devices import f --format xml",
        "pushpost devices import f --from-line 0",
        "pushpost devices import f --on-error halt",
        "pushpost devices export f",
        "pushpost queue pause",
        "pushpost queue pause a/b/c",
        "pushpost queue stop fcm",
        "pushpost queue --watch --json",
        "pushpost nodes --watch",
        "pushpost nodes 7",
        "pushpost config",
        "pushpost config check a b",
        "pushpost doctor fcm",
        "pushpost completions",
        "pushpost completions powershell",
        "pushpost man",
        "pushpost tokens",
        "pushpost tokens cleanup",
        "pushpost tokens cleanup --inactive-days 0",
        "pushpost tokens cleanup --inactive-days 3651",
        "pushpost tokens cleanup --inactive-days 30 --platform hms",
        "pushpost tokens cleanup --inactive-days 30 --environment staging",
        "pushpost tokens cleanup --inactive-days 30 --app-version-below v5",
        "pushpost tokens cleanup --inactive-days 30 --max-share 1.5",
        "pushpost tokens list run_x",
        "pushpost tokens show",
        "pushpost tokens restore",
        "pushpost tokens cancel",
    ];
    for line in wrong {
        assert_eq!(super::main(args(line)), std::process::ExitCode::from(64), "{line}");
    }
}

#[tokio::test]
async fn a_secret_given_for_an_id_is_wrong_usage_and_not_repeated() {
    let cli = Cli::try_parse_from(args("pushpost keys revoke pushpost_sk_hunter2")).expect("an argument");
    let super::Command::Keys(keys) = cli.command else { panic!("another command") };
    let failure = keys.run().await.expect_err("no id");
    assert_eq!(failure.code(), std::process::ExitCode::from(64));
    assert!(!failure.to_string().contains("hunter2"), "{failure}");
    assert!(failure.to_string().contains("\nhint: "), "{failure}");
}

#[test]
fn help_that_was_asked_for_ends_0() {
    for line in ["pushpost --help", "pushpost help", "pushpost keys create --help", "pushpost --version"] {
        assert_eq!(super::main(args(line)), std::process::ExitCode::SUCCESS, "{line}");
    }
}

#[test]
fn what_the_contract_promises_is_taken() {
    let right = [
        "pushpost serve",
        "pushpost serve --config c.toml --role worker",
        "pushpost demo --devices 10 --notifications 2 --once",
        "pushpost simulate --dir d --apns-port 0 --fcm-port 0 --control-port 0",
        "pushpost simulate --ledger arrivals --latency 80ms --apns-streams 1000 --fcm-streams 100",
        "pushpost migrate --check --config c.toml",
        "pushpost keys create --app shop --scope send,read --name backend --config c.toml",
        "pushpost keys create --app shop --scope send --expires 90d --json",
        "pushpost keys list --json",
        "pushpost keys revoke key_00000000000000000000000000000001",
        "pushpost devices import devices.ndjson",
        "pushpost devices import - --app shop --format csv --from-line 7 --on-error stop --json --config c.toml",
        "pushpost devices import --check devices.csv --json",
        "pushpost devices export --app shop --all --after dev_1 --config c.toml",
        "pushpost send --app shop --token aa --platform apns --title A --body B --url http://localhost:8080",
        "pushpost send --user u42 --title A --no-wait --json",
        "pushpost send --topic news --body B",
        "pushpost healthcheck --ready",
        "pushpost queue --json --url https://push.example.com",
        "pushpost queue --watch",
        "pushpost config check",
        "pushpost config check pushpost.toml --json",
        "pushpost doctor --live --json --config c.toml",
        "pushpost completions fish",
        "pushpost man docs/man",
        "pushpost nodes --json --url https://push.example.com",
        "pushpost queue pause fcm",
        "pushpost queue resume shop/apns-production --url http://127.0.0.1:8080 --json",
        "pushpost queue retry fcm",
    ];
    for line in right {
        if let Err(error) = Cli::try_parse_from(args(line)) {
            panic!("{line}: {error}");
        }
    }
}
