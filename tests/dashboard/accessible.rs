//! Every page: by the rules of axe in both schemes, within 360 pixels, within its policy, and without a device's token.

use std::fs;
use std::path::Path;

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::json::hex;
use pushpost_testkit::service::TestService;
use pushpost_testkit::webhook_receiver::WebhookReceiver;
use serde_json::{Value, json};

use crate::{Browser, Hand, shop};

/// Pages of a `read` session; the rest is for `admin`.
const READ_PAGES: usize = 7;

/// A service with something on each page, and the paths of the pages.
pub(super) async fn furnished(receiver: &WebhookReceiver) -> (TestService, Vec<String>) {
    let mut service = TestService::builder();
    for (name, value) in shop::webhook(receiver) {
        service = service.config(name, &value);
    }
    let service = service.node(Role::All).build().await;
    let device = json!({"platform": "apns", "token": hex("a1"), "user": "u1", "topics": ["news"]});
    let device = service.devices().register(device).await;
    let push = json!({"to": {"users": ["u1"]}, "title": "Your order", "label": "orders", "metadata": {"order": "789"}});
    let notification = service.notifications().send(push).await;
    service.notifications().until_done(&notification).await;
    let run = json!({"inactive_days": 30, "dry_run": true});
    let run = service.ask_by_admin(Method::POST, "/v1/admin/cleanups", run).await;
    let hooks = service.by_admin(Method::GET, "/v1/admin/webhooks").await;
    let (run, hook) = (run.body["id"].as_str().unwrap(), hooks.body["items"][0]["id"].as_str().unwrap());
    let below = ["", "lanes/fcm", "notifications", &format!("notifications/{notification}"), "devices"];
    let more = [&format!("devices/{device}"), "lanes", "cleanups", &format!("cleanups/{run}"), "webhooks"];
    let last = [&format!("webhooks/{hook}"), "keys"];
    let pages = below.iter().chain(&more).chain(&last).map(|page| format!("/dashboard/{page}")).collect();
    (service, pages)
}

/// Logs in with a key of these scopes.
pub(super) async fn log_in(service: &TestService, browser: &Browser, scopes: &str) {
    browser.until_page("Log in").await;
    browser.fill("Key", &service.key(scopes).await).await;
    browser.press("Log in").await;
    browser.until(".live.up", "live").await;
}

/// Opens a page, and waits until it is whole.
pub(super) async fn visit(browser: &Browser, page: &str) {
    browser.go(page).await;
    browser.until(".live.up", "live").await;
    let is_whole = "return document.querySelector('main:not([aria-busy]) h1') !== null && !document.body.innerText.includes('Waiting for')";
    pushpost_testkit::wait::until("the page is whole", async || {
        browser.ask(is_whole, Vec::new()).await == true
    })
    .await;
}

/// What axe finds, each with the places.
async fn axe(browser: &Browser) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/npm/node_modules/axe-core/axe.min.js");
    let source = fs::read_to_string(path).expect("axe-core is installed: scripts/ensure-npm");
    browser.ask(&source, Vec::new()).await;
    let run = "
        const told = ({ id, nodes }) => [id, ...nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`)];
        axe.run().then(({ violations }) => arguments[0](violations.map(told)), (error) => arguments[0](String(error)));";
    browser.ask_later(run).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_accessible_and_keeps_its_policy() {
    let receiver = WebhookReceiver::start().await;
    let (service, pages) = furnished(&receiver).await;
    let browser = Browser::open(Hand::Mouse, &service.url("")).await;
    assert_eq!(axe(&browser).await, json!([]), "the login");
    log_in(&service, &browser, "admin").await;
    for page in &pages {
        visit(&browser, page).await;
        for scheme in ["light", "dark"] {
            let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
            browser.command("Emulation.setEmulatedMedia", scheme.clone()).await;
            assert_eq!(axe(&browser).await, json!([]), "{page} {scheme}");
        }
        let narrow = json!({"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": false});
        browser.command("Emulation.setDeviceMetricsOverride", narrow).await;
        let width = browser.ask("return document.documentElement.scrollWidth", Vec::new()).await;
        assert_eq!(width, 360, "{page}");
        browser.command("Emulation.clearDeviceMetricsOverride", json!({})).await;
        assert_holds_no_token(&browser, page).await;
    }
    visit(&browser, "/dashboard/").await;
    browser.press("Pause fcm").await;
    assert_eq!(axe(&browser).await, json!([]), "the dialog");
    browser.quit().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_session_shows_no_token_and_changes_nothing() {
    let receiver = WebhookReceiver::start().await;
    let (service, pages) = furnished(&receiver).await;
    let browser = Browser::open(Hand::Mouse, &service.url("")).await;
    log_in(&service, &browser, "read").await;
    for page in &pages[..READ_PAGES] {
        visit(&browser, page).await;
        assert_holds_no_token(&browser, page).await;
        let buttons = browser
            .ask("return [...document.querySelectorAll('button')].map((one) => one.textContent)", Vec::new())
            .await;
        let harmless = ["Log out", "Copy id", "Show", "Find"];
        let others: Vec<_> = buttons
            .as_array()
            .unwrap()
            .iter()
            .filter(|name| !harmless.contains(&name.as_str().unwrap()))
            .collect();
        assert!(others.is_empty(), "{page}: {others:?}");
    }
    browser.go("/dashboard/keys").await;
    browser.until("main", "needs a key with the scope admin").await;
    browser.quit().await;
    service.stop().await;
}

/// A token of a device has no way into the page, not even into an attribute.
async fn assert_holds_no_token(browser: &Browser, page: &str) {
    let document = browser.ask("return document.documentElement.outerHTML", Vec::new()).await;
    let document = document.as_str().unwrap();
    assert!(
        document.contains("</main>") && !document.to_lowercase().contains(&hex("a1").to_lowercase()),
        "{page}"
    );
}
