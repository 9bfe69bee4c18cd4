//! What pages say of how old and how sure a figure is, and of what they do not find.

use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use crate::accessible::{log_in, visit};
use crate::{Browser, Hand};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_say_as_of_when_they_are_and_an_act_by_which_key() {
    let service = TestService::start().await;
    let browser = Browser::open(Hand::Mouse, &service.url("")).await;
    log_in(&service, &browser, "admin").await;
    service.database.execute("update api_keys set name = 'ops at night'").await;
    browser.until(".figures", "within 5 s, as of ").await;
    browser.until(".figures", "devices in all lanes, counted ").await;
    browser.until(".figures", "waits at high priority, counted ").await;
    browser.until("[data-key=lanes]", "Waiting and oldest: as counted ").await;

    visit(&browser, "/dashboard/lanes/fcm").await;
    browser
        .until("[data-key=state-history]", "No change is in the log. The lane is in this state since ")
        .await;
    browser.press("Pause fcm").await;
    browser.press("Pause fcm").await;
    browser.until(".needs", "press Resume, or run pushpost queue resume fcm").await;
    browser.press("Overview").await;
    browser.until("[data-key=latest]", "lane.pause fcm: done, by ops at night").await;
    let title = "return document.querySelector('[data-key=latest] span[title]').title";
    let title = browser.ask(title, Vec::new()).await;
    assert!(title.as_str().unwrap().starts_with("key_"), "{title}");
    browser.quit().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_leads_to_its_list() {
    let service = TestService::start().await;
    let browser = Browser::open(Hand::Mouse, &service.url("")).await;
    log_in(&service, &browser, "read").await;
    browser.go("/dashboard/notifications/ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b").await;
    browser.until_page("Not found").await;
    let buttons = "return [...document.querySelectorAll('main button')].map((one) => one.textContent)";
    let buttons: Value = browser.ask(buttons, Vec::new()).await;
    assert_eq!(buttons, json!([]), "trying again finds nothing");
    browser.press("All notifications").await;
    browser.until_page("Notifications").await;
    browser.quit().await;
    service.stop().await;
}
