//! Webhooks: the client, its guard, signatures as receivers' libraries verify them, delivery and its faults.

mod addresses;
mod all_at_once;
mod client;
mod commands;
mod delivery;
mod endpoints;
mod faults;
mod kills;
mod libraries;
pub(crate) mod nodes;
mod notes;
pub(crate) mod readme_receiver;
mod receivers;
mod sharing;
mod slow;
mod test_bounds;

use std::collections::BTreeSet;

use http::Method;
use pushpost::domain::WebhookSecret;
use pushpost_testkit::answer::Answer;
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::service::{TestService, TestServiceBuilder};
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::PostedMessage;
use serde_json::{Value, json};

/// The secret of every webhook of the configuration here.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A service that reaches receivers on this machine and repeats messages soon.
fn service() -> TestServiceBuilder {
    TestService::builder()
        .config("WEBHOOKS__ALLOW_NETWORKS", "[\"127.0.0.0/8\"]")
        .config("WEBHOOKS__RETRY_AFTER", "[\"20ms\"]")
}

/// The setting of webhooks, each a name with its URL and further settings.
fn webhooks(all: &[(&str, &str, &str)]) -> String {
    let of = |(name, url, more): &(&str, &str, &str)| {
        format!("{{name=\"{name}\", url=\"{url}\", secrets=[\"{SECRET}\"]{more}}}")
    };
    format!("[{}]", all.iter().map(of).collect::<Vec<_>>().join(", "))
}

/// Sends to one token, and waits for the outcome.
async fn push(service: &TestService, token: &str) -> String {
    let body = json!({"to": {"tokens": [{"platform": "fcm", "token": token}]}, "title": "Hi"});
    let id = service.notifications().send(body).await;
    service.notifications().until_done(&id).await;
    id
}

/// The ids of the events of messages, in the order in which they came.
fn event_ids(messages: &[PostedMessage]) -> Vec<String> {
    let events = messages.iter().flat_map(PostedMessage::events);
    events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// The notifications that `notification.done` was told of.
fn done(messages: &[PostedMessage]) -> BTreeSet<String> {
    let events = messages.iter().flat_map(PostedMessage::events);
    let done = events.filter(|event| event["type"] == "notification.done");
    done.map(|event| event["data"]["notification"].as_str().unwrap().to_owned()).collect()
}

/// Whether the message is signed with this secret.
fn is_signed(message: &PostedMessage, secret: &str) -> bool {
    let timestamp = message.headers["webhook-timestamp"].parse().unwrap();
    let secret = WebhookSecret::parse(secret).unwrap();
    secret.verifies(message.id(), timestamp, message.body.as_bytes(), &message.headers["webhook-signature"])
}

/// The webhook of this name.
async fn webhook(service: &TestService, name: &str) -> Value {
    let list = service.by_admin(Method::GET, "/v1/admin/webhooks").await;
    assert_eq!(list.status, 200, "{}", list.body);
    let items = list.body["items"].as_array().unwrap();
    items.iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("{name} in {items:?}")).clone()
}

/// A command of an operator.
async fn command(service: &TestService, name: &str, what: &str) -> Answer {
    let id = webhook(service, name).await["id"].as_str().unwrap().to_owned();
    service.by_admin(Method::POST, &format!("/v1/admin/webhooks/{id}/{what}")).await
}

async fn until_state(service: &TestService, name: &str, state: &str) -> Value {
    let found = async || Some(webhook(service, name).await).filter(|webhook| webhook["state"] == state);
    wait::until_some(&format!("webhook {name} is {state}"), found).await
}

/// A request of an operator with a body.
async fn ask(service: &TestService, method: Method, path: &str, body: Value) -> Answer {
    service.ask_by_admin(method, path, body).await
}

/// Many devices in one notification.
async fn push_many(service: &TestService, count: usize) -> String {
    let body = json!({"to": {"tokens": fcm_targets("m", count)}, "title": "Hi"});
    let id = service.notifications().send(body).await;
    service.notifications().until_done(&id).await;
    id
}

/// Waits until so many events of these types are in the log, and returns them.
async fn until_told(service: &TestService, types: &str, count: usize) -> Vec<Value> {
    wait::until_some(&format!("{count} {types}"), async || {
        let page = service.by_admin(Method::GET, &format!("/v1/events?type={types}")).await.body;
        let items = page["items"].as_array().unwrap();
        (items.len() >= count).then(|| items.clone())
    })
    .await
}
