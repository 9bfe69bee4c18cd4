//! The event log under `kill -9` of nodes and restarts of Postgres.

use std::sync::Arc;
use std::time::Duration;

use pushpost_testkit::database::{MIGRATIONS, TestDatabase};
use pushpost_testkit::processes::{TestCluster, TestNode};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::rounds;
use crate::crash::event_readers::{Pace, Reading, assert_alike};
use crate::crash::events::{DEVICES, post};
use crate::crash::memory::memory;
use crate::crash::own_server::Server;

const BETWEEN_FAULTS: Duration = Duration::from_secs(5);
/// Postgres is restarted in each round of this number.
const RESTART_EACH: usize = 3;
/// Most that the memory of a node may grow after the first rounds.
const GROWTH_MAX: usize = 48 << 20;
const SLOW: f64 = 1024.0;

#[ignore = "minutes long: make chaos"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_sees_every_event_once_while_nodes_are_killed_and_postgres_restarts() {
    let mut server = Server::create().await;
    server.start("primary").await;
    MIGRATIONS.run(&mut server.connect().await).await.unwrap();
    let delivery = [("node_timeout", "3s"), ("retry_initial", "50ms")];
    let cluster = Arc::new(TestCluster::on(TestDatabase::existing(server.url()), &delivery).await);
    let url = server.url();
    let mut nodes = vec![cluster.node(&url).await, cluster.node(&url).await];
    // Streams of this node last, and its memory is watched.
    let lasting = cluster.node(&url).await;
    let listening = |nodes: &[TestNode]| {
        let killed = nodes.iter().map(|node| node.address().to_owned());
        killed.chain([lasting.address().to_owned()]).collect::<Vec<_>>()
    };
    let (addresses, known_addresses) = watch::channel(listening(&nodes));
    let (ends, known_ends) = watch::channel(None);
    let reading =
        Reading { key: cluster.full_key().to_owned(), addresses: known_addresses, ends: known_ends };
    let mut readers = JoinSet::new();
    readers.spawn(reading.clone().tail(Pace::Free));
    readers.spawn(reading.clone().tail(Pace::BytesPerSecond(SLOW)));
    readers.spawn(reading.clone().follow());
    readers.spawn(reading.turn_pages());

    let (rounds, mut at_first) = (rounds(), 0);
    for round in 0..rounds {
        post(&cluster, &nodes, round).await;
        let killed = round % nodes.len();
        nodes[killed].kill().await;
        nodes[killed] = cluster.node(&url).await;
        addresses.send_replace(listening(&nodes));
        if round % RESTART_EACH == RESTART_EACH - 1 {
            server.stop("-INT").await;
            server.start("primary").await;
        }
        sleep(BETWEEN_FAULTS).await;
        if round == rounds / 3 {
            at_first = memory(lasting.pid(), "VmRSS");
        }
    }
    let grown = memory(lasting.pid(), "VmRSS").saturating_sub(at_first);
    let pending = "select (select count(*) from jobs) + (select count(*) from event_outbox) + (select count(*) from event_ending)";
    cluster.database.until_count(pending, 0).await;
    let accepted = cluster.database.count("select count(*) from notifications").await;
    ends.send_replace(Some(usize::try_from(accepted).unwrap()));
    assert_alike(readers, usize::try_from(accepted).unwrap(), DEVICES).await;
    println!(
        "{rounds} rounds, {accepted} notifications; memory of the node that lasted: {} MiB more",
        grown >> 20
    );
    assert!(grown < GROWTH_MAX, "{} MiB more than after a third of the rounds", grown >> 20);
}
