//! Incidents as a newcomer meets them: the overview names the cause and the next step of each, without another page.

use http::Method;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, Provider, Rule};
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::service::TestService;
use pushpost_testkit::webhook_receiver::{Reply, WebhookReceiver};
use serde_json::{Value, json};

use crate::accessible::log_in;
use crate::{Browser, Hand, shop};

/// What needs a person, on the overview.
const NEEDS: &str = ".needs";

async fn operator(service: &TestService) -> Browser {
    let browser = Browser::open(Hand::Mouse, &service.url("")).await;
    log_in(service, &browser, "admin").await;
    browser
}

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Sale", "label": "spring-sale"})
}

/// Waits until all of this is said among what needs a person.
async fn until_needed(browser: &Browser, texts: &[&str]) {
    for text in texts {
        browser.until(NEEDS, text).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_over_its_quota_says_what_to_compare() {
    let service = TestService::start().await;
    let quota = Action::FcmFault {
        fault: FcmFault::ProjectQuota,
        retry_after: Some("3000".to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule::provider(Provider::Fcm, quota));
    let id = service.notifications().send(hello(fcm_targets("f", 20))).await;
    let browser = operator(&service).await;
    until_needed(
        &browser,
        &[
            "fcm",
            "throttled",
            "since",
            "RESOURCE_EXHAUSTED",
            "The provider asks for fewer pushes, so the lane waits as long as the provider says.",
            "20 devices wait, counted",
            "Compare messages_per_minute with the project's quota, or ask for a higher quota; the lane tries again by itself",
        ],
    )
    .await;
    service.simulator.clear_rules();
    browser.press("Retry fcm").await;
    browser.press("Retry fcm").await;
    browser.until("tr[data-key=fcm]", "running").await;
    service.notifications().until_done(&id).await;
    browser.quit().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_against_mass_verdicts_says_what_they_mean_and_what_to_compare() {
    let service = TestService::start().await;
    service.rule(Rule::prefix("f", Action::fcm(FcmFault::Unregistered)));
    let id = service.notifications().send(hello(fcm_targets("f", 300))).await;
    let browser = operator(&service).await;
    until_needed(
        &browser,
        &[
            "fcm",
            "braked",
            "since",
            "UNREGISTERED",
            "The provider called so many tokens dead at once that a wrong configuration is likelier.",
            "So no device is quarantined; pushes go on.",
            "Compare the Firebase project of the service account with the app that registers the tokens",
            "If the tokens are dead indeed: press Resume, or run pushpost queue resume fcm",
        ],
    )
    .await;
    browser.press("Resume fcm").await;
    browser.until("dialog[open]", "Resume the lane fcm?").await;
    browser.press("Resume fcm").await;
    browser.until("[data-key=needs]", "Nothing needs you.").await;
    service.notifications().until_done(&id).await;
    browser.quit().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_fails_is_named_with_the_answer_of_its_receiver() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Status(500));
    let mut service = TestService::builder().config("WEBHOOKS__RETRY_AFTER", "[\"20ms\", \"20ms\", \"1h\"]");
    for (name, value) in shop::webhook(&receiver) {
        service = service.config(name, &value);
    }
    let service = service.node(Role::All).build().await;
    let id = service.notifications().send(hello(fcm_targets("f", 1))).await;
    service.notifications().until_done(&id).await;
    let browser = operator(&service).await;
    until_needed(
        &browser,
        &[
            "webhook backend",
            "failing",
            "since",
            "status 500",
            "The receiver does not take its events, which wait; pushes go on.",
            "Look at the receiver's log, and at its answers on the webhook's page. Press Retry there once the receiver is mended",
        ],
    )
    .await;
    browser.press("webhook backend").await;
    browser.until_page("backend").await;
    browser.until("main", "status 500").await;
    receiver.reply(Reply::Status(200));
    browser.press("Retry").await;
    browser.press("Retry backend").await;
    browser.press("Overview").await;
    browser.until("[data-key=needs]", "Nothing needs you.").await;
    let hooks = service.by_admin(Method::GET, "/v1/admin/webhooks").await;
    assert_eq!(hooks.body["items"][0]["state"], "active", "{hooks:?}");
    browser.quit().await;
    service.stop().await;
}
