//! An operator's night: a paused lane, a late push, a webhook that is to send again, and a node that dies meanwhile.

use http::Method;
use pushpost_testkit::processes::TestCluster;
use pushpost_testkit::webhook_receiver::{PostedMessage, WebhookReceiver};
use serde_json::json;

use crate::address::SharedAddress;
use crate::{Browser, Hand, shop};

/// The text of the row of lane fcm.
const ROW: &str = "tr[data-key=fcm]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_works_by_mouse() {
    work(Hand::Mouse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_works_by_keyboard_alone() {
    work(Hand::Keyboard).await;
}

async fn work(hand: Hand) {
    let receiver = WebhookReceiver::start().await;
    let mut cluster = TestCluster::create(&[]).await;
    for (name, value) in shop::webhook(&receiver) {
        cluster.variable(&format!("PUSHPOST__{name}"), &value);
    }
    let mut first = cluster.node(cluster.database.url()).await;
    let second = cluster.node(cluster.database.url()).await;
    let address = SharedAddress::of(&[first.address(), second.address()]).await;
    let browser = Browser::open(hand, address.url()).await;

    browser.until_page("Log in").await;
    browser.fill("Key", cluster.full_key()).await;
    browser.press("Log in").await;
    browser.until(".live.up", "live").await;

    browser.until(ROW, "running").await;
    browser.press("Pause fcm").await;
    browser.until("dialog[open]", "Pause the lane fcm?").await;
    browser.press("Pause fcm").await;
    browser.until(ROW, "paused").await;
    // By keyboard the work goes on where the button was.
    browser.until_focused("Resume fcm").await;

    let push =
        json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "Hi", "label": "order"});
    let id = cluster.notify(&second, &push).await;
    for sql in shop::earlier("1 hour") {
        cluster.database.execute(&sql).await;
    }
    // What another operator does is seen as well.
    cluster.ask(&second, Method::POST, "/v1/admin/lanes/fcm/resume", None).await;
    browser.until(ROW, "running").await;
    let is_done = |messages: &[PostedMessage]| done(messages, &id).len() == 1;
    receiver.until("the webhook tells the end", is_done).await;

    browser.press("Notifications").await;
    browser.until_page("Notifications").await;
    browser.until("main", "60 min, late").await;
    browser.press(&format!("{}…", &id[..14])).await;
    browser.until("main", "lane paused").await;
    browser.until("main", "Then accepted at attempt 1.").await;

    browser.press("Webhooks").await;
    browser.press("backend").await;
    browser.until_page("backend").await;
    browser.press("Replay").await;
    browser.press("Replay to backend").await;
    let posted = receiver.until("the end is told again", |messages| done(messages, &id).len() == 2).await;
    let events = done(&posted, &id);
    assert_eq!(events[0], events[1], "the same event");

    first.kill().await;
    browser.until("#banner", "Figures are old since").await;
    browser.until(".live.up", "live").await;
    browser.press("Lanes").await;
    browser.until_page("Lanes").await;
    browser.press("Pause fcm").await;
    browser.press("Pause fcm").await;
    browser.until(ROW, "paused").await;

    browser.press("Log out").await;
    browser.until_page("Log in").await;
    browser.quit().await;
}

/// The events that told the end of a notification.
fn done(messages: &[PostedMessage], id: &str) -> Vec<serde_json::Value> {
    let events = messages.iter().flat_map(PostedMessage::events);
    events
        .filter(|event| event["type"] == "notification.done" && event["data"]["notification"] == id)
        .collect()
}
