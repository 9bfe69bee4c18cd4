//! Backups of docs/operations.md#backup: a database with jobs that wait is dumped, or copied by a base backup; restored beside
//! the original; and a node there sends what waited.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use pushpost_simulator::Provider;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::wait::{POLL_INTERVAL, WAIT_MAX};

/// Notifications that wait when the dump is made.
const WAITING: usize = 20;

async fn program(name: &str, arguments: &[&str]) {
    let output =
        Command::new(name).args(arguments).output().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{name}: {output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_when_a_dump_was_made_is_sent_by_a_node_on_the_restored_database() {
    let cluster = TestCluster::create(&[]).await;
    let original = cluster.database.url();
    let mut accepting = cluster.node_as(original, &["--role", "api"]).await;
    let token = |number: usize| format!("{number:064x}");
    let mut ids = Vec::new();
    for number in 0..WAITING {
        let to = json!({"tokens": [{"platform": "apns", "token": token(number)}]});
        ids.push(cluster.notify(&accepting, &json!({"to": to, "title": "A"})).await);
    }
    let to = json!({"tokens": [{"platform": "apns", "token": token(WAITING)}]});
    let short = cluster.notify(&accepting, &json!({"to": to, "title": "A", "ttl": "1s"})).await;
    let dump = cluster.path("pushpost.dump");
    program("pg_dump", &["--format=custom", "--file", &dump, original]).await;
    accepting.terminate().await;
    assert!(accepting.ended().await.success());

    // The original goes on, and sends everything.
    let mut node = cluster.node(original).await;
    assert_sent(&cluster, &node, &ids).await;
    node.terminate().await;
    assert!(node.ended().await.success());
    let first = received(&cluster);
    // Until the time to live of the last notification is over.
    sleep(Duration::from_secs(1)).await;

    let restored = TestDatabase::empty().await;
    program("pg_restore", &["--no-owner", "--exit-on-error", "--dbname", restored.url(), &dump]).await;
    let node = cluster.node(restored.url()).await;
    assert_sent(&cluster, &node, &ids).await;
    cluster
        .until("the notification has expired", &[&node], async || {
            cluster.counts(&node, &short).await["expired"] == 1
        })
        .await;
    let both = received(&cluster);
    for number in 0..WAITING {
        let sent = &both[&token(number)];
        assert_eq!(sent.len(), 2, "once by the original, once by the copy");
        assert_eq!(
            sent.iter().collect::<BTreeSet<_>>().len(),
            1,
            "a phone that got both shows one: {sent:?}"
        );
    }
    assert_eq!(both.get(&token(WAITING)), first.get(&token(WAITING)), "what has expired is not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovered_base_backup_is_on_a_new_timeline_and_its_node_sends_what_waited() {
    let cluster = TestCluster::create(&[]).await;
    let original = cluster.database.url();
    let mut accepting = cluster.node_as(original, &["--role", "api"]).await;
    let to = json!({"tokens": [{"platform": "apns", "token": format!("{:064x}", 1)}]});
    let id = cluster.notify(&accepting, &json!({"to": to, "title": "A"})).await;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let base = folder.path().join("base");
    let arguments = ["-X", "stream", "-c", "fast", "-d", original, "-D", base.to_str().unwrap()];
    program("pg_basebackup", &arguments).await;
    accepting.terminate().await;
    assert!(accepting.ended().await.success());

    File::create(base.join("recovery.signal")).unwrap();
    let auto = base.join("postgresql.auto.conf");
    let settings = fs::read_to_string(&auto).unwrap();
    fs::write(&auto, format!("{settings}restore_command = 'false'\n")).unwrap();
    let mut server = server(&cluster, folder.path()).await;
    let (login, place) = original.rsplit_once('@').unwrap();
    let (_, name) = place.split_once('/').unwrap();
    let url = format!("{login}@localhost/{name}?host={}", folder.path().display());
    let begun = Instant::now();
    while !is_recovered(&url).await {
        let has_ended = server.try_wait().unwrap().is_some() || begun.elapsed() > WAIT_MAX;
        assert!(!has_ended, "{}", fs::read_to_string(folder.path().join("log")).unwrap());
        sleep(POLL_INTERVAL).await;
    }
    let mut node = cluster.node(&url).await;
    node.until_logged("the database is on a new timeline").await;
    assert_sent(&cluster, &node, &[id]).await;
}

/// Has the server ended its recovery, and does it take writes?
async fn is_recovered(url: &str) -> bool {
    let Ok(mut conn) = PgConnection::connect(url).await else { return false };
    let asked = sqlx::query_scalar("select not pg_is_in_recovery()").fetch_one(&mut conn).await;
    asked.unwrap_or(false)
}

/// Starts Postgres on `base` in this folder, where its socket is too. Ends with the test.
async fn server(cluster: &TestCluster, folder: &Path) -> Child {
    let asked = sqlx::query_as(
        "select (select setting from pg_config where name = 'BINDIR'), current_setting('max_connections')",
    );
    let (programs, sessions): (String, String) = asked.fetch_one(&cluster.database.pool).await.unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::getuid().is_root() {
        // Postgres refuses to run as root.
        let [user, group] = [id_of_postgres("-u").await, id_of_postgres("-g").await];
        give(&folder.join("base"), user);
        command.args(["--clear-groups", "--reuid", &user.to_string(), "--regid", &group.to_string()]);
    }
    command.arg(format!("{programs}/postgres")).arg("-D").arg(folder.join("base")).arg("-k").arg(folder);
    // A recovery needs as many connections as the original allows.
    command.args(["-c", "listen_addresses=", "-p", "5432", "-c", &format!("max_connections={sessions}")]);
    command.stdin(Stdio::null());
    command.stderr(File::create(folder.join("log")).unwrap()).kill_on_drop(true).spawn().unwrap()
}

/// The id of the user `postgres` (`-u`), or that of its group (`-g`).
async fn id_of_postgres(which: &str) -> u32 {
    let output = Command::new("id").args([which, "postgres"]).output().await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().expect("there is a user postgres")
}

/// Makes a user the owner of a folder with all that is in it.
fn give(folder: &Path, user: u32) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            give(&path, user);
        } else {
            chown(&path, Some(user), None).unwrap();
        }
    }
    chown(folder, Some(user), None).unwrap();
}

/// Waits until every notification has reached its device, by the records of the node's database.
async fn assert_sent(cluster: &TestCluster, node: &TestNode, ids: &[String]) {
    for id in ids {
        cluster.until("it is sent", &[node], async || cluster.counts(node, id).await["accepted"] == 1).await;
    }
}

/// The `apns-id` of each request that APNs took, by token.
fn received(cluster: &TestCluster) -> BTreeMap<String, Vec<String>> {
    let entries = cluster.simulator.ledger().entries().into_iter();
    let taken = entries.filter(|entry| entry.accepted && entry.provider == Provider::Apns);
    taken.fold(BTreeMap::new(), |mut received: BTreeMap<String, Vec<String>>, entry| {
        let id = entry.header("apns-id").unwrap().to_owned();
        received.entry(entry.token.unwrap()).or_default().push(id);
        received
    })
}
