//! Events reach a receiver: all of them, once, in order, signed, and as the webhook wants them.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::{PostedMessage, Reply, WebhookReceiver};
use serde_json::{Value, json};

use super::{
    SECRET, command, done, event_ids, is_signed, push, push_many, service, until_state, until_told, webhook,
    webhooks,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_arrives_once_in_order_and_signed() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    let mut sent = Vec::new();
    for token in ["a", "b", "c", "d", "e"] {
        sent.push(push(&service, token).await);
    }
    let messages = receiver.until("all ends", |all| done(all).len() == 5).await;
    assert_eq!(done(&messages), sent.into_iter().collect());
    for message in &messages {
        assert!(is_signed(message, SECRET), "{message:?}");
        let body = message.json();
        assert_eq!((&body["type"], &body["data"]["app"]), (&json!("pushpost.events"), &json!("shop")));
    }
    let log = service.get("/v1/events?type=notification.*&type=delivery.recorded").await.body;
    let logged: Vec<_> = log["items"].as_array().unwrap().iter().map(|event| event["id"].clone()).collect();
    assert_eq!(json!(event_ids(&messages)), json!(logged));
    // The node records a delivery once it has the answer.
    wait::until("nothing is left for it", async || webhook(&service, "backend").await["lag_seconds"] == 0.0)
        .await;
    let shown = webhook(&service, "backend").await;
    assert_eq!((&shown["state"], &shown["why"]), (&json!("active"), &json!(null)));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_gets_its_types_and_devices_alone_in_messages_of_its_size() {
    let receiver = WebhookReceiver::start().await;
    let more = ", types=[\"delivery.recorded\", \"notification.done\"], devices=\"none\", batch_max=1";
    let setting = webhooks(&[("small", &receiver.url(), more)]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    push_many(&service, 20).await;
    let messages = receiver.until("the end", |all| done(all).len() == 1).await;
    for message in &messages {
        let events = message.events();
        assert_eq!(events.len(), 1);
        let devices = &events[0]["data"]["devices"];
        assert!(devices.is_null() || devices == &json!([]), "{devices}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_webhook_goes_on_where_it_stopped() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    push(&service, "a").await;
    let before = receiver.until("the first end", |all| done(all).len() == 1).await.len();
    assert_eq!(command(&service, "backend", "pause").await.body["state"], "paused");
    let waiting = push(&service, "b").await;
    // The test is sent although the webhook is paused, and moves nothing.
    let test = command(&service, "backend", "test").await;
    assert_eq!(
        (test.status.as_u16(), &test.body["status"], &test.body["error"]),
        (200, &json!(200), &json!(null))
    );
    let paused = receiver.until("the test", |all| all.len() > before).await;
    assert_eq!(paused.last().unwrap().events()[0]["type"], "webhook.test");
    assert!(!done(&paused).contains(&waiting));
    assert_eq!(command(&service, "backend", "resume").await.body["state"], "active");
    receiver.until("what waited", |all| done(all).contains(&waiting)).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_repeats_the_events_and_not_the_messages() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    for token in ["a", "b", "c"] {
        push(&service, token).await;
    }
    let first = receiver.until("all ends", |all| done(all).len() == 3).await;
    let ids = event_ids(&first);
    let path =
        format!("/v1/admin/webhooks/{}/replay", webhook(&service, "backend").await["id"].as_str().unwrap());
    let from = json!({"from": ids[1]});
    let answer = super::ask(&service, Method::POST, &path, from).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let wanted = ids.len() + ids.len() - 1;
    let all = receiver.until("the replay", |all| event_ids(all).len() >= wanted).await;
    assert_eq!(event_ids(&all)[ids.len()..], ids[1..]);
    let message_ids = |messages: &[PostedMessage]| -> Vec<String> {
        messages.iter().map(|message| message.id().to_owned()).collect()
    };
    let (old, new) = (message_ids(&first), message_ids(&all[first.len()..]));
    assert!(new.iter().all(|id| !old.contains(id)), "{old:?} {new:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_from_what_was_not_sent_yet_is_refused_and_skips_nothing() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    assert_eq!(command(&service, "backend", "pause").await.body["state"], "paused");
    let mut waiting = vec![push(&service, "a").await, push(&service, "b").await];
    until_told(&service, "notification.done", 2).await;
    waiting.push(push(&service, "c").await);
    let told = until_told(&service, "notification.done", 3).await;
    let path =
        format!("/v1/admin/webhooks/{}/replay", webhook(&service, "backend").await["id"].as_str().unwrap());
    let future = super::ask(&service, Method::POST, &path, json!({"since": "2999-01-01T00:00:00Z"})).await;
    assert_eq!((future.status.as_u16(), &future.body["errors"][0]["pointer"]), (422, &json!("#/since")));
    let ahead = super::ask(&service, Method::POST, &path, json!({"from": told[1]["id"]})).await;
    assert_eq!((ahead.status.as_u16(), &ahead.body["errors"][0]["pointer"]), (422, &json!("#/from")));
    let ahead = super::ask(&service, Method::POST, &path, json!({"since": told[2]["at"]})).await;
    assert_eq!((ahead.status.as_u16(), &ahead.body["errors"][0]["pointer"]), (422, &json!("#/since")));
    assert_eq!(command(&service, "backend", "resume").await.body["state"], "active");
    receiver.until("all ends", |all| waiting.iter().all(|id| done(all).contains(id))).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_was_down_gets_everything_in_order_with_the_same_message_again() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Close);
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    push(&service, "a").await;
    service.expect_log("webhook fails");
    let failing = until_state(&service, "backend", "failing").await;
    assert!(failing["failing_since"].is_string() && failing["disables_at"].is_string(), "{failing}");
    push(&service, "b").await;
    let refused = receiver.posted();
    assert!(refused.windows(2).all(|two| two[0].id() == two[1].id() && two[0].body == two[1].body));
    receiver.reply(Reply::Status(204));
    until_state(&service, "backend", "active").await;
    let all = receiver.until("both ends", |all| done(&all[refused.len()..]).len() == 2).await;
    let log = service.get("/v1/events?type=notification.*&type=delivery.recorded").await.body;
    let logged: Vec<_> = log["items"].as_array().unwrap().iter().map(|event| event["id"].clone()).collect();
    let taken: Vec<_> = all.iter().skip_while(|message| message.id() == refused[0].id()).cloned().collect();
    let repeated = all.iter().rfind(|message| message.id() == refused[0].id()).unwrap().clone();
    let delivered = [vec![repeated], taken].concat();
    assert_eq!(json!(event_ids(&delivered)), json!(logged));
    let told = until_told(&service, "webhook.*", 2).await;
    let kinds: Vec<_> = told.iter().map(|event| event["type"].clone()).collect();
    assert_eq!(json!(kinds), json!(["webhook.failing", "webhook.recovered"]));
    let data = |event: &Value| -> Value {
        let mut data = event["data"].clone();
        // Why a connection ended is the system's text.
        if let Some(error) = data["last"].get_mut("error") {
            *error = json!(error.as_str().is_some_and(|text| !text.is_empty()));
        }
        data
    };
    let of = |since: &Value, last: Value| json!({"endpoint": failing["id"], "name": "backend", "since": since, "last": last, "event": null});
    let last = json!({"status": null, "error": true});
    assert_eq!(data(&told[0]), of(&failing["failing_since"], last));
    assert_eq!(data(&told[1]), of(&json!(null), json!(null)));
    let seen_by_backend = service.get("/v1/events?type=webhook.*").await;
    assert!(
        seen_by_backend.status == 403 || seen_by_backend.body["items"] == json!([]),
        "{}",
        seen_by_backend.body
    );
    service.stop().await;
}
