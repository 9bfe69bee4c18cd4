//! `docs/operations.md`: every block that needs none of Docker, Kubernetes, systemd or real credentials is run, in order.
//!
//! The page expects a Postgres with a role, and a configuration. Here they are a test's database with a role of its own, and
//! the configuration that `pushpost simulate` writes. An embedded Postgres runs beside them, for the section about it.

use std::fs;

use pushpost_testkit::database::TestDatabase;

use super::{Block, assert_printed, blocks, free_port, run};

/// What a mark may say, in the order of the page.
const NOT_RUN: [&str; 5] =
    ["needs systemd", "needs Docker", "needs Docker", "needs Kubernetes", "needs Kubernetes"];

/// Runs before the first block: the page's commands use files of the repository and the simulator's configuration. A service
/// runs on an embedded Postgres.
const BEFORE: &str = "
cp -r REPOSITORY/deploy . && rm -rf deploy/secrets
pushpost simulate --apns-port 0 --fcm-port 0 --control-port 0 > simulator.log &
until grep -qs pushpost.toml simulator.log; do sleep 0.2; done
cp pushpost-simulator/* .
export PUSHPOST__DATABASE__DATA_DIR=pushpost-data
PUSHPOST_CONFIG=pushpost.toml PUSHPOST__SERVER__LISTEN=127.0.0.1:EMBEDDED pushpost serve 2> embedded.log &
until pushpost healthcheck --ready --url http://localhost:EMBEDDED 2> /dev/null; do sleep 0.2; done
";

fn page() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap()
}

/// The block without the indentation of a list's item.
fn flush(page: &str) -> String {
    page.lines()
        .map(|line| line.strip_prefix("   ").unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blocks_of_the_operations_page_do_what_it_says() {
    let mut found = blocks(&flush(&page()));
    assert!(found.len() >= 18 && found.iter().all(|block| block.language == "sh"), "{found:?}");
    found.insert(0, Block { language: "sh".to_owned(), code: BEFORE.to_owned(), output: String::new() });

    let database = TestDatabase::empty().await;
    let name = format!("ops_{:016x}", rand::random::<u64>());
    let (role, restored) = (format!("{name}_role"), format!("{name}_restored"));
    database.execute(&format!("create role {role} login password 'first'")).await;
    database.execute(&format!("alter database {} owner to {role}", name_of(database.url()))).await;
    let [first, second, embedded] = [(); 3].map(|()| free_port());
    let url = |user: &str, database_name: &str| format!("'{}'", url_of(database.url(), user, database_name));
    let own = name_of(database.url());
    let replaced = [
        (":8080", format!(":{first}")),
        (":8081", format!(":{second}")),
        ("EMBEDDED", embedded.to_string()),
        ("REPOSITORY", env!("CARGO_MANIFEST_DIR").to_owned()),
        ("postgres://postgres@db/postgres", format!("'{}'", database.url())),
        ("postgres://pushpost:$NEW@db/pushpost", url(&format!("{role}:'$NEW'"), own)),
        ("postgres://pushpost@db/restored", url(&format!("{role}:first"), &restored)),
        ("postgres://pushpost@db/pushpost", url(&format!("{role}:first"), own)),
        ("-O pushpost ", format!("-O {role} ")),
        ("ROLE pushpost ", format!("ROLE {role} ")),
        ("template0 restored", format!("template0 {restored}")),
    ];
    let printed = run(&found, first, &replaced).await;
    database.execute(&format!("drop database {restored} with (force)")).await;
    database.execute(&format!("alter database {own} owner to current_user")).await;
    database
        .execute(&format!("reassign owned by {role} to current_user; drop owned by {role}; drop role {role}"))
        .await;

    for (block, printed) in found.iter().zip(&printed) {
        assert_printed(block, printed);
    }
    let of = |code: &str| &printed[found.iter().position(|block| block.code.contains(code)).expect(code)];
    assert!(of("psql pushpost -c").contains("node_id"), "{}", of("psql pushpost -c"));
    assert!(of("keys list").contains("backend-2"), "{}", of("keys list"));
    assert!(of("tokens restore").contains("run_"), "{}", of("tokens restore"));
}

#[test]
fn each_block_that_is_not_run_says_why() {
    let page = flush(&page());
    let lines: Vec<&str> = page.lines().collect();
    let marks: Vec<_> =
        lines.iter().filter_map(|line| line.strip_prefix("<!-- not run: ")?.strip_suffix(" -->")).collect();
    assert_eq!(marks, NOT_RUN);
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("<!-- not run:")) {
        assert_eq!(lines.get(at + 1), Some(&"```sh"), "a mark stands right above its block: {line}");
    }
}

/// The name of the database in a URL.
fn name_of(url: &str) -> &str {
    url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).unwrap().1.split('?').next().unwrap()
}

/// The URL for another user and database of the same server.
fn url_of(url: &str, user: &str, database: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (login, path) = rest.split_once('/').unwrap();
    let (_, server) = login.rsplit_once('@').unwrap();
    let query = path.split_once('?').map_or("", |(_, query)| query);
    format!("{scheme}://{user}@{server}/{database}?{query}")
}
