//! `docs/runbook.md`: every command works on a healthy service with two lanes.

use std::fs;

use pushpost_testkit::database::TestDatabase;

use super::{Block, blocks, free_port, run, runnable};

/// Blocks of the page that are not run: the reader's own variables, and one that needs systemd.
const MARKED: usize = 2;

/// Starts the stand-ins and a node with a listener for operators, sends a notification, and waits until the node's
/// leadership shows in its metrics.
const START: &str = r#"
pushpost simulate --apns-port 0 --fcm-port 0 --control-port 0 > simulator.log &
until grep -qs pushpost.toml simulator.log; do sleep 0.2; done
export PUSHPOST_CONFIG="$PWD/pushpost-simulator/pushpost.toml" PUSHPOST_URL="http://localhost:$INTERNAL"
export PUSHPOST__SERVER__INTERNAL_LISTEN="127.0.0.1:$INTERNAL"
export PUSHPOST_KEY=$(pushpost keys create --app shop --scope admin)
pushpost serve 2> pushpost.log &
until pushpost healthcheck --ready --url "$PUSHPOST_URL" 2> healthcheck.log; do sleep 0.2; done
until curl -sS "$PUSHPOST_URL/metrics" | grep -q '^pushpost_partitions_ahead'; do sleep 0.2; done
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_the_runbook_work() {
    let runbook = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbook.md")).unwrap();
    assert_eq!(runbook.matches("<!-- not run: ").count(), MARKED);
    let commands = runnable(blocks(&runbook));
    assert_eq!(commands.len() + MARKED, runbook.matches("\n```sh\n").count());
    let database = TestDatabase::empty().await;
    let start = format!("INTERNAL={}\nexport DATABASE_URL='{}'\n{START}", free_port(), database.url());
    let start = Block { language: "sh".to_owned(), code: start, output: String::new() };
    let all: Vec<_> = [start].into_iter().chain(commands).collect();
    let printed = run(&all, free_port(), &[]).await;
    for (block, printed) in all.iter().zip(&printed).skip(1) {
        let (_, answer) = printed.split_once('\n').unwrap();
        assert!(!answer.trim().is_empty(), "this prints nothing:\n{}", block.code);
    }
}
