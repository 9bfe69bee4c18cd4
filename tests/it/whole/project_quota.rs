//! The quota of a lane is that of the project that the lane sends through now.

use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, FcmSettings, Rule, Settings, Simulator};
use pushpost_testkit::json::{assert_ended, fcm_targets};
use serde_json::json;

use pushpost_testkit::service::TestService;

const ANOTHER_PROJECT: &str = "shop-2";

/// The account of another project, at a simulator of its own, stands in the configuration of `shop`.
fn change_project(service: &TestService, other: &Simulator) {
    let folder = tempfile::tempdir().unwrap();
    other.write_files(folder.path()).unwrap();
    for file in ["service-account.json", "ca.pem"] {
        service.write(&format!("other-{file}"), &std::fs::read_to_string(folder.path().join(file)).unwrap());
    }
    let toml = service.read("pushpost.toml");
    let (before, fcm) = toml.split_once("[apps.shop.fcm]").unwrap();
    let (_, market) = fcm.split_once("[apps.market.fcm]").unwrap();
    let shop = format!(
        "service_account_file = {:?}\nca_file = {:?}\nendpoint = {:?}\n",
        service.path("other-service-account.json"),
        service.path("other-ca.pem"),
        other.fcm_endpoint()
    );
    service.write("pushpost.toml", &format!("{before}[apps.shop.fcm]\n{shop}\n[apps.market.fcm]{market}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_with_an_account_of_another_project_leaves_the_quota_of_the_first() {
    let mut service = TestService::builder().config("SERVER__RELOAD_INTERVAL", "1h").build().await;
    service.with_another_app_of_the_project("market");
    service.node(Role::All).await;
    let fcm = FcmSettings { project_id: ANOTHER_PROJECT.to_owned(), ..FcmSettings::default() };
    let other = Simulator::start(Settings { fcm, ..Settings::default() }).await.unwrap();
    change_project(&service, &other);
    service.reload().await.unwrap();
    // Devices try the candidate one at a time, and one of them after the provider took a notification from it.
    let mut number = 0;
    while other.ledger().accepted_count() < 2 {
        number += 1;
        let to = json!({"tokens": fcm_targets(&format!("f{number}-"), 1)});
        let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
        assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    }

    let quota = Action::FcmFault {
        fault: FcmFault::ProjectQuota,
        retry_after: Some("86400".to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule::prefix("m", quota));
    let secret = service.key_of("market", "send").await;
    let market = json!({"to": {"tokens": fcm_targets("m", 1)}, "title": "Hi"});
    let sent = service.ask_node(0, &secret, http::Method::POST, "/v1/notifications", Some(market)).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let waits = "select count(*) from lane_reports r join lanes l using (lane_id) join apps a using (app_id)
                 where l.platform = 2 and r.state = 1 and a.name = 'market'";
    service.database.until_count(waits, 1).await;
    let to = json!({"tokens": fcm_targets("g", 1)});
    let id = service.notifications().send(json!({"to": to, "title": "Hi"})).await;
    assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    service.end_nodes().await;
}
