//! Apps and platforms that a reload of the configuration adds are served at once; a node that does not know them yet fails
//! none of their jobs.

use pushpost::provider::fcm;
use pushpost_testkit::json::{apns_targets, assert_ended, fcm_targets, hex, text};
use std::time::Duration;

use http::Method;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, Provider, Rule, Settings};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use pushpost_testkit::answer::Answer;
use pushpost_testkit::service::{TestService, sent};
use pushpost_testkit::wait::WAIT_MAX;

const POLL: Duration = Duration::from_millis(25);
const MARKET: &str = "select count(*) from apps where name = 'market'";

/// A key of one app, used at one node.
struct Client<'a> {
    service: &'a TestService,
    node: usize,
    secret: String,
}

impl<'a> Client<'a> {
    /// With a new key.
    async fn of(service: &'a TestService, app: &str) -> Self {
        let secret = service.key_of(app, "send,read,devices,admin").await;
        Self { service, node: 0, secret }
    }

    /// The same key at another node.
    fn at(&self, node: usize) -> Self {
        Self { service: self.service, node, secret: self.secret.clone() }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.service.ask_node(self.node, &self.secret, method, path, body).await
    }

    async fn register(&self, device: Value) -> u16 {
        self.ask(Method::PUT, "/v1/devices", Some(device)).await.status.as_u16()
    }

    async fn notify(&self, to: Value) -> Answer {
        self.ask(Method::POST, "/v1/notifications", Some(json!({"to": to, "title": "Hi"}))).await
    }

    /// The id of a notification that must be accepted.
    async fn send(&self, to: Value) -> String {
        let answer = self.notify(to).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        text(&answer.body["id"])
    }

    /// Waits until a notification has so many targets, so many of them are accepted, and the others wait.
    async fn until_counted(&self, id: &str, targets: usize, accepted: usize) {
        let until = Instant::now() + WAIT_MAX;
        let wanted = [targets, accepted, targets - accepted].map(|count| json!(count));
        loop {
            let status = self.ask(Method::GET, &format!("/v1/notifications/{id}"), None).await.body;
            let counted = ["targets", "accepted", "pending"].map(|name| status["counts"][name].clone());
            if counted == wanted {
                return;
            }
            assert!(Instant::now() < until, "not {wanted:?}: {status}");
            sleep(POLL).await;
        }
    }

    /// Waits until so many devices of a notification were accepted, each at its first attempt, and none is left.
    async fn until_accepted(&self, id: &str, devices: usize) {
        self.until_counted(id, devices, devices).await;
        let path = format!("/v1/notifications/{id}/deliveries?limit=1000");
        let deliveries = self.ask(Method::GET, &path, None).await;
        let deliveries = deliveries.body["items"].as_array().unwrap().clone();
        assert_eq!(deliveries.len(), devices);
        deliveries.iter().for_each(|delivery| assert_ended(delivery, "accepted", 1, None));
    }

    async fn lanes(&self) -> Vec<(String, String)> {
        let lanes = self.ask(Method::GET, "/v1/admin/lanes", None).await.body;
        // None while the app is unknown.
        let lanes = lanes["items"].as_array().into_iter().flatten();
        lanes.map(|lane| (text(&lane["lane"]), text(&lane["state"]))).collect()
    }

    /// Waits until operators see these lanes run, and no other ones.
    async fn until_running(&self, lanes: &[&str]) {
        let wanted: Vec<_> = lanes.iter().map(|lane| ((*lane).to_owned(), "running".to_owned())).collect();
        let until = Instant::now() + WAIT_MAX;
        while self.lanes().await != wanted {
            assert!(Instant::now() < until, "not {wanted:?}: {:?}", self.lanes().await);
            sleep(POLL).await;
        }
    }
}

/// The text of a table of the configuration, without its head.
fn table<'a>(toml: &'a str, head: &str) -> &'a str {
    let (_, table) = toml.split_once(head).unwrap();
    table.split("\n[").next().unwrap()
}

/// The service's configuration with an app `market`, which has the credentials of `shop`.
fn with_market(service: &TestService) -> String {
    let toml = service.read("pushpost.toml");
    let (apns, fcm) = (table(&toml, "[apps.shop.apns]"), table(&toml, "[apps.shop.fcm]"));
    format!("{toml}\n[apps.market.apns]{apns}\n[apps.market.fcm]{fcm}\n")
}

fn both(prefix: &str, count: usize) -> Value {
    let tokens = [apns_targets(prefix, count), fcm_targets(prefix, count)].concat();
    json!({"tokens": tokens})
}

/// A service on which configurations are read again only when a test asks for it.
async fn unhurried(settings: Settings) -> TestService {
    TestService::builder().simulator(settings).config("SERVER__RELOAD_INTERVAL", "1h").build().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_a_reload_adds_registers_sends_and_has_lanes() {
    let mut service = unhurried(Settings::default()).await;
    service.node(Role::All).await;
    let early = Client::of(&service, "market").await;
    let device = json!({"platform": "apns", "token": hex("a1")});
    assert_eq!(early.register(device.clone()).await, 401, "the app is unknown");

    service.write("pushpost.toml", &with_market(&service));
    service.reload().await.unwrap();
    assert_eq!(early.register(device).await, 201, "a key that was refused before");
    let late = Client::of(&service, "market").await;
    assert_eq!(late.register(json!({"platform": "fcm", "token": "f1"})).await, 201);
    late.until_running(&["apns-production", "apns-sandbox", "fcm"]).await;
    let direct = early.send(both("b", 100)).await;
    early.until_accepted(&direct, 200).await;
    let broadcast = late.send(json!({"all": true})).await;
    late.until_accepted(&broadcast, 2).await;

    let shop = service.notifications().send(json!({"to": both("c", 20), "title": "Hi"})).await;
    service
        .notifications()
        .outcomes(&shop)
        .await
        .iter()
        .for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    assert_eq!(sent(&service.ledger()).len(), 242);
    let other = late.ask(Method::GET, &format!("/v1/notifications/{shop}"), None).await;
    assert_eq!(other.status, 404, "another app's");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lanes_of_an_added_app_are_drained_when_the_node_stops() {
    const DEVICES: usize = 400;
    let mut service =
        unhurried(Settings { latency: Duration::from_millis(100), ..Settings::default() }).await;
    service.configure("DELIVERY__MAX_IN_FLIGHT", "10");
    service.node(Role::All).await;
    service.write("pushpost.toml", &with_market(&service));
    service.reload().await.unwrap();
    let secret = Client::of(&service, "market").await.secret;
    let market = Client { service: &service, node: 0, secret: secret.clone() };
    let id = market.send(json!({"tokens": fcm_targets("f", DEVICES)})).await;
    service.until_received(20).await;
    // Checks that nothing stays leased.
    service.end_nodes().await;
    let taken = sent(&service.ledger()).len();
    assert!(taken < DEVICES, "it was stopped in the middle");
    let recorded = service.database.count("select coalesce(sum(accepted), 0)::bigint from receipts").await;
    assert_eq!(recorded, i64::try_from(taken).unwrap(), "what was in flight is on record");

    service.node(Role::All).await;
    let market = Client { service: &service, node: 0, secret };
    market.until_accepted(&id, DEVICES).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_added_platform_is_found_without_a_signal_and_sent_through() {
    let mut service = TestService::builder().config("SERVER__RELOAD_INTERVAL", "100ms").build().await;
    let whole = service.read("pushpost.toml");
    service.without_fcm();
    service.node(Role::All).await;
    let shop = Client::of(&service, "shop").await;
    assert_eq!(shop.register(json!({"platform": "apns", "token": hex("a1")})).await, 201);
    let to_fcm = json!({"tokens": fcm_targets("f", 1)});
    assert_eq!(shop.notify(to_fcm.clone()).await.body["errors"][0]["code"], "platform_not_configured");
    shop.until_running(&["apns-production", "apns-sandbox"]).await;
    let connected = shop.send(json!({"tokens": apns_targets("b", 1)})).await;
    shop.until_accepted(&connected, 1).await;

    service.write("pushpost.toml", &whole);
    shop.until_running(&["apns-production", "apns-sandbox", "fcm"]).await;
    assert_eq!(shop.register(json!({"platform": "fcm", "token": "f1"})).await, 201);
    let broadcast = shop.send(json!({"all": true})).await;
    shop.until_accepted(&broadcast, 2).await;
    let direct = shop.send(both("c", 50)).await;
    shop.until_accepted(&direct, 100).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_can_not_be_used_changes_nothing_until_it_can() {
    let mut service = unhurried(Settings::default()).await;
    service.node(Role::All).await;
    let good = service.read("service-account.json");
    let broken = good.replace("BEGIN PRIVATE KEY-----\\nMI", "BEGIN PRIVATE KEY-----\\nXX");
    service.write("market.json", &broken);
    let fcm = table(&service.read("pushpost.toml"), "[apps.shop.fcm]").to_owned();
    let lines = fcm.lines().map(|line| match line.split_once(" = ") {
        Some(("service_account_file", _)) => "service_account_file = \"market.json\"\n".to_owned(),
        _ => format!("{line}\n"),
    });
    let market = format!("\n[apps.market.fcm]{}", lines.collect::<String>());
    // The first of three apps in order, and the last, are right.
    let toml = service.read("pushpost.toml");
    let apples = format!("\n[apps.apples.fcm]{fcm}");
    service.write("pushpost.toml", &format!("{toml}{apples}{market}"));
    let why = service.reload().await.unwrap_err();
    assert!(why.contains("lane market/fcm can't be set up"), "{why}");
    assert_eq!(
        service.database.count("select count(*) from apps where name <> 'shop'").await,
        0,
        "no app has a row"
    );
    let apples = Client::of(&service, "apples").await;
    assert_eq!(apples.notify(both("a", 1)).await.status, 401);
    let shop = service.notifications().send(json!({"to": both("b", 20), "title": "Hi"})).await;
    service
        .notifications()
        .outcomes(&shop)
        .await
        .iter()
        .for_each(|outcome| assert_ended(outcome, "accepted", 1, None));

    service.write("market.json", &good);
    service.reload().await.unwrap();
    for client in [apples, Client::of(&service, "market").await] {
        let id = client.send(json!({"tokens": fcm_targets("f", 20)})).await;
        client.until_accepted(&id, 20).await;
    }
    service.expect_log("the configuration was not taken over");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_whose_row_can_not_be_made_is_added_as_soon_as_it_can() {
    let service =
        TestService::builder().config("SERVER__RELOAD_INTERVAL", "100ms").node(Role::All).build().await;
    service.database.execute("alter table apps rename to elsewhere").await;
    service.write("pushpost.toml", &with_market(&service));
    let why = service.reload().await.unwrap_err();
    assert!(why.contains("apps can't be entered"), "{why}");
    service.database.execute("alter table elsewhere rename to apps").await;
    // The configuration stays as it was, and is not asked for.
    service.database.until_count(MARKET, 1).await;
    let market = Client::of(&service, "market").await;
    market.until_running(&["apns-production", "apns-sandbox", "fcm"]).await;
    let id = market.send(both("a", 20)).await;
    market.until_accepted(&id, 40).await;
    service.expect_log("the configuration was not taken over");
    service.expect_log("maintenance failed");
    service.expect_log("figures about the database are not read");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_older_configuration_fails_no_job_of_a_newer_one() {
    let mut service = unhurried(Settings::default()).await;
    let whole = service.read("pushpost.toml");
    service.without_fcm();
    service.node(Role::Api).await;
    service.node(Role::All).await;
    let shop = Client::of(&service, "shop").await;
    let market = Client::of(&service, "market").await;
    service.write("pushpost.toml", &whole);
    service.write("pushpost.toml", &with_market(&service));
    // The first node accepts for the new app and the new platform; the second, which sends and finds audiences, does not
    // know of them.
    service.reload_node(0).await;
    assert_eq!(shop.register(json!({"platform": "apns", "token": hex("a1")})).await, 201);
    assert_eq!(shop.register(json!({"platform": "fcm", "token": "f1"})).await, 201);
    assert_eq!(market.register(json!({"platform": "fcm", "token": "f2"})).await, 201);
    assert_eq!(market.at(1).notify(both("a", 1)).await.status, 401);
    let refused = shop.at(1).notify(json!({"tokens": fcm_targets("f", 1)})).await;
    assert_eq!(refused.body["errors"][0]["code"], "platform_not_configured");
    let waiting = [
        (&shop, shop.send(both("b", 10)).await, 20, 10),
        (&shop, shop.send(json!({"all": true})).await, 2, 1),
        (&market, market.send(both("c", 10)).await, 20, 0),
        (&market, market.send(json!({"all": true})).await, 1, 0),
    ];
    // The second node has done what it can do: it sends to APNs for `shop` and no more, and loses nothing.
    service.database.until_count("select count(*) from fan_outs", 1).await;
    let known = shop.at(1).send(json!({"all": true, "platforms": ["apns"]})).await;
    shop.until_accepted(&known, 1).await;
    for (client, id, targets, accepted) in &waiting[..3] {
        client.until_counted(id, *targets, *accepted).await;
    }
    assert!(sent(&service.ledger()).iter().all(|entry| entry.provider == Provider::Apns));

    service.reload_node(1).await;
    for (client, id, targets, _) in &waiting {
        client.at(1).until_accepted(id, *targets).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_added_app_shares_the_quota_of_its_project() {
    let mut service = unhurried(Settings::default()).await;
    service.node(Role::All).await;
    service.with_another_app_of_the_project("market");
    service.reload().await.unwrap();
    let quota = Action::FcmFault {
        fault: FcmFault::ProjectQuota,
        retry_after: Some("86400".to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule::provider(Provider::Fcm, quota));
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi"})).await;
    let waits = "select count(*) from lane_reports r join lanes l using (lane_id)
                 where l.platform = 2 and r.state = 1 and r.reason = 'RESOURCE_EXHAUSTED'";
    service.database.until_count(waits, 2).await;
    service.simulator.clear_rules();
    service.lanes().resume(fcm::LANE).await;
    assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    service.stop().await;
}
