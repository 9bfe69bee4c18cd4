//! That two nodes together have every metric of `docs/metrics.md`, and no other, under a load that produces each.

use std::collections::BTreeSet;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, Rule};
use pushpost_testkit::json::{apns_targets, fcm_targets, hex};
use pushpost_testkit::scrape::Scrape;
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait::until_some;
use pushpost_testkit::webhook_receiver::WebhookReceiver;
use serde_json::json;

use super::format::assert_valid;

/// Has no series while all lanes send. `lanes.rs` tests it.
const OF_A_STOPPED_LANE: &str = "pushpost_lane_stop_reason";

/// The names in the tables of `docs/metrics.md`.
fn documented() -> BTreeSet<&'static str> {
    let rows = include_str!("../../../docs/metrics.md").lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    names.filter(|name| name.starts_with("pushpost_") || name.starts_with("process_")).collect()
}

/// Series with this label, by its value.
fn series_of<'a>(scrape: &'a Scrape, label: &str, value: &str) -> Vec<&'a str> {
    let pair = format!("{label}=\"{value}\"");
    scrape.text.lines().filter(|line| !line.starts_with('#') && line.contains(&pair)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_together_have_every_documented_metric_and_no_other() {
    let receiver = WebhookReceiver::start().await;
    let webhook = format!(
        "[{{name=\"backend\", url=\"{}\", secrets=[\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]}}]",
        receiver.url()
    );
    let service = TestService::builder().config("WEBHOOKS__ALLOW_NETWORKS", "[\"127.0.0.1\"]");
    let service = service.config("APPS__SHOP__WEBHOOKS", &webhook);
    let service = service.node(Role::All).node(Role::All).build().await;
    let dead = Action::Dead { timestamp_ms: None, timestamp_ago_ms: None };
    service.rule(Rule::token(hex("cc"), dead));
    let mut targets = [apns_targets("a", 5), fcm_targets("f", 5)].concat();
    targets.push(json!({"platform": "apns", "token": hex("cc")}));
    let direct = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    let broadcast = service.notifications().send(json!({"to": {"all": true}, "title": "Hi"})).await;
    for id in [&direct, &broadcast] {
        service.notifications().until_done(id).await;
    }

    let documented = documented();
    assert!(documented.len() > 50, "{documented:?}");
    let always = documented.iter().filter(|name| **name != OF_A_STOPPED_LANE);
    // The leader reads its figures every 15 s, and the pruner counts after the outcome is on record.
    let scrapes = until_some("every metric is there", async || {
        let scrapes = [service.scrape(0).await, service.scrape(1).await];
        let missing = always.clone().any(|name| scrapes.iter().all(|scrape| !scrape.names().contains(name)));
        (!missing).then_some(scrapes)
    })
    .await;
    for scrape in &scrapes {
        let names = scrape.names();
        let undocumented: Vec<_> = names.iter().filter(|name| !documented.contains(*name)).collect();
        assert!(undocumented.is_empty(), "{undocumented:?}");
        assert_valid(&scrape.text).await;
        assert!(scrape.series() <= 1_500, "{} series", scrape.series());
        for lane in ["shop/fcm", "shop/apns-production"] {
            let series = series_of(scrape, "lane", lane);
            assert!(series.len() <= 160, "{} series of {lane}: {series:?}", series.len());
        }
        let of_webhook = series_of(scrape, "endpoint", "backend");
        assert!(of_webhook.len() <= 12, "{} series of a webhook: {of_webhook:?}", of_webhook.len());
        let mut series = series_of(scrape, "app", "shop");
        series.retain(|line| !of_webhook.contains(line));
        assert!(series.len() <= 40, "{} series of an app: {series:?}", series.len());
    }
    service.stop().await;
}
