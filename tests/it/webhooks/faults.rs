//! Receivers that refuse one event for ever, are gone, or fail for too long.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::{PostedMessage, Reply, WebhookReceiver};
use serde_json::json;

use super::{command, done, event_ids, push, service, until_state, until_told, webhook, webhooks};

/// The receiver refuses every message with an event about this notification.
fn poison(receiver: &WebhookReceiver, notification: &str) {
    let notification = notification.to_owned();
    receiver.decide(move |message: &PostedMessage| {
        Reply::Status(if message.body.contains(&notification) { 500 } else { 200 })
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_event_is_set_aside_and_the_others_arrive() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Close);
    let good = WebhookReceiver::start().await;
    let types = ", types=[\"notification.done\"]";
    let setting = webhooks(&[("picky", &receiver.url(), types), ("good", &good.url(), types)]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    service.expect_log("events were set aside, because the receiver refuses them and takes others");
    let (first, poisoned) = (push(&service, "a").await, push(&service, "b").await);
    let (third, last) = (push(&service, "c").await, push(&service, "d").await);
    good.until("all ends at the good one", |all| done(all).len() == 4).await;
    poison(&receiver, &poisoned);
    let set_aside = wait::until_some("it is set aside", async || {
        let shown = webhook(&service, "picky").await;
        (shown["set_aside"] == 1 && shown["state"] == "active").then_some(shown)
    })
    .await;
    let taken = |all: &[PostedMessage]| -> Vec<PostedMessage> {
        all.iter().filter(|message| !message.body.contains(&poisoned)).cloned().collect()
    };
    receiver
        .until("the others", |all| [&first, &third, &last].iter().all(|id| done(&taken(all)).contains(*id)))
        .await;
    let path = format!("/v1/admin/webhooks/{}/set-aside", set_aside["id"].as_str().unwrap());
    let listed = service.by_admin(Method::GET, &path).await.body;
    let event = listed["items"][0]["event"].as_str().unwrap().to_owned();
    let log = service.get("/v1/events?type=notification.done").await.body;
    assert_eq!(log["items"][1]["id"], json!(event), "{listed}");
    let told = until_told(&service, "webhook.set_aside", 1).await;
    assert_eq!(told[0]["data"]["event"], json!(event));

    // The receiver is mended: on command the event comes late, alone, with its id.
    receiver.reply(Reply::Status(200));
    let before = receiver.posted().len();
    let retried = service.by_admin(Method::POST, &format!("{path}/{event}/retry")).await;
    assert_eq!(retried.status, 202, "{}", retried.body);
    let all = receiver.until("the late event", |all| event_ids(&all[before..]).contains(&event)).await;
    let late =
        all[before..].iter().find(|message| event_ids(&[(*message).clone()]).contains(&event)).unwrap();
    assert_eq!((late.events().len(), &late.events()[0]["late"]), (1, &json!(true)));
    wait::until("nothing is set aside", async || webhook(&service, "picky").await["set_aside"] == 0).await;
    assert_eq!(service.by_admin(Method::POST, &format!("{path}/{event}/retry")).await.status, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_down_loses_its_place_to_no_probe() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Status(500));
    let setting = webhooks(&[("backend", &receiver.url(), ", types=[\"notification.done\"], batch_max=2")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    let mut sent = Vec::new();
    for token in ["a", "b", "c", "d", "e"] {
        sent.push(push(&service, token).await);
    }
    // Long enough for the message to be cut, and for several events to be tried ahead.
    receiver.until("events ahead are tried", |all| done(all).len() >= 4).await;
    let shown = webhook(&service, "backend").await;
    assert_eq!((&shown["set_aside"], &shown["state"]), (&json!(0), &json!("failing")));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_410_disables_and_a_resume_goes_on_where_it_stopped() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Status(410));
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook is disabled");
    let id = push(&service, "a").await;
    let disabled = until_state(&service, "backend", "disabled").await;
    assert_eq!(disabled["why"], "status 410");
    assert_eq!(receiver.posted().len(), 1, "one answer is enough");
    receiver.reply(Reply::Status(200));
    assert_eq!(command(&service, "backend", "resume").await.status, 200);
    receiver.until("the end", |all| done(all).contains(&id) && all.len() > 1).await;
    until_state(&service, "backend", "active").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_tell_what_came_of_them() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Bytes("HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\ntry later".to_owned()));
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    push(&service, "a").await;
    until_state(&service, "backend", "failing").await;
    receiver.reply(Reply::Status(200));
    until_state(&service, "backend", "active").await;
    let path =
        format!("/v1/admin/webhooks/{}/attempts", webhook(&service, "backend").await["id"].as_str().unwrap());
    let failed = service.by_admin(Method::GET, &format!("{path}?result=failed&limit=2")).await.body;
    let attempt = &failed["items"][0];
    assert_eq!(
        (&attempt["status"], &attempt["error"], &attempt["response"]),
        (&json!(503), &json!("status 503"), &json!("try later"))
    );
    let next = failed["next_cursor"].as_str().unwrap();
    let rest = service.by_admin(Method::GET, &format!("{path}?result=failed&cursor={next}")).await.body;
    assert_eq!(rest["items"].as_array().unwrap().last().unwrap()["attempt"], 1);
    let succeeded = service.by_admin(Method::GET, &format!("{path}?result=succeeded")).await.body;
    assert_eq!(succeeded["items"][0]["error"], json!(null));
    let all = service.by_admin(Method::GET, &path).await.body;
    assert!(all["items"].as_array().unwrap().len() >= 4);
    assert_eq!(service.by_admin(Method::GET, &format!("{path}?result=x")).await.status, 400);
    service.stop().await;
}
