//! Leaders that die, that hang, and that are cut off from Postgres: another node leads, frees their jobs, and takes over
//! every duty (docs/queue.md#node-lease).

use pushpost_simulator::{Action, Provider, Rule};
use pushpost_testkit::json::{apns_targets, fcm_targets};
use reqwest::Method;
use serde_json::{Value, json};

use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::wait::WAIT_MAX;

const IN_FLIGHT: usize = 30;

/// Two processes. The first leads, and has jobs in flight that the provider does not answer.
struct TwoNodes {
    cluster: TestCluster,
    proxy: PostgresProxy,
    first: TestNode,
    second: TestNode,
    held: String,
}

impl TwoNodes {
    async fn create() -> Self {
        let cluster = TestCluster::create(&[("node_timeout", "5s"), ("retry_initial", "20ms")]).await;
        let proxy = PostgresProxy::of(&cluster.database).await;
        let first = cluster.node(proxy.url()).await;
        cluster.until("the first process leads", &[&first], async || cluster.is_led_by(&first).await).await;
        let second = cluster.node(cluster.database.url()).await;
        let pause = cluster.ask(&second, Method::POST, "/v1/admin/lanes/apns-production/pause", None).await;
        assert_eq!(pause.0, Some(200), "{pause:?}");
        let silence = Rule::provider(Provider::Fcm, Action::NoAnswer { accepted: false });
        cluster.simulator.add_rule(silence);
        let to_fcm = json!({"to": {"tokens": fcm_targets("f", IN_FLIGHT)}, "title": "Hi"});
        let held = cluster.notify(&first, &to_fcm).await;
        let ledger = cluster.simulator.ledger();
        let under_way = |ledger: &pushpost_simulator::Ledger| {
            let of_fcm = ledger.entries().into_iter().filter(|entry| entry.token.is_some());
            of_fcm.count() >= IN_FLIGHT
        };
        assert!(
            ledger.wait_until(WAIT_MAX, under_way).await,
            "the attempts of the first process are under way"
        );
        Self { cluster, proxy, first, second, held }
    }

    /// Another node leads, what the first one held is sent, and what runs out of time ends.
    async fn assert_succeeded(&self) {
        let Self { cluster, second, held, .. } = self;
        cluster.simulator.clear_rules();
        let brief = json!({"to": {"tokens": apns_targets("a", 1)}, "title": "Hi", "ttl": "1s"});
        let brief = cluster.notify(second, &brief).await;
        cluster.until("another leads", &[second], async || cluster.is_led_by(second).await).await;
        let all_sent = async || cluster.counts(second, held).await["accepted"] == IN_FLIGHT;
        cluster.until("the jobs of the old leader are sent", &[second], all_sent).await;
        let expired = async || cluster.counts(second, &brief).await["expired"] == 1;
        cluster.until("what waits runs out of time", &[second], expired).await;
    }

    /// The first process works again: under another id, as one that does not lead.
    async fn assert_first_follows(&self) {
        let Self { cluster, first, second, held, .. } = self;
        let lives = async || {
            let living: i64 = sqlx::query_scalar("select count(*) from nodes where dead_at is null")
                .fetch_one(&cluster.database.pool)
                .await
                .unwrap();
            living == 2
        };
        cluster.until("the first process lives again", &[first, second], lives).await;
        let serves = async || cluster.ask(first, Method::GET, "/readyz", None).await.0 == Some(200);
        cluster.until("the first process serves again", &[first, second], serves).await;
        let again = json!({"to": {"tokens": fcm_targets("g", 1)}, "title": "Hi"});
        let again = cluster.notify(first, &again).await;
        let sent = async || cluster.counts(first, &again).await["accepted"] == 1;
        cluster.until("the first process sends again", &[first, second], sent).await;
        assert!(cluster.is_led_by(second).await, "leadership does not come back by itself");
        let counts = cluster.counts(first, held).await;
        assert_eq!(
            (&counts["targets"], &counts["accepted"]),
            (&Value::from(IN_FLIGHT), &Value::from(IN_FLIGHT))
        );
    }
}

/// A process that is stopped keeps its sessions, and with them every lock of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hangs_is_followed_by_another() {
    let led = TwoNodes::create().await;
    led.first.hang().await;
    led.assert_succeeded().await;
    led.first.resume().await;
    led.assert_first_follows().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_followed_by_another() {
    let mut led = TwoNodes::create().await;
    led.first.kill().await;
    led.assert_succeeded().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_postgres_is_followed_by_another() {
    let led = TwoNodes::create().await;
    led.proxy.set_away(true);
    led.assert_succeeded().await;
    led.proxy.set_away(false);
    led.assert_first_follows().await;
}
