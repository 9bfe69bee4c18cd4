//! Successes are noted together, and soon.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::{Reply, WebhookReceiver};
use serde_json::Value;

use super::{command, done, event_ids, push, service, until_told, webhook, webhooks};

/// The successes that are noted, the latest first.
async fn successes(service: &TestService, name: &str) -> Vec<Value> {
    let id = webhook(service, name).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/admin/webhooks/{id}/attempts?result=succeeded&limit=100");
    service.by_admin(Method::GET, &path).await.body["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn successes_of_a_lease_are_noted_together_and_none_is_lost() {
    let receiver = WebhookReceiver::start().await;
    let more = ", types=[\"notification.done\"], batch_max=1";
    let setting = webhooks(&[("backend", &receiver.url(), more)]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    command(&service, "backend", "pause").await;
    for number in 0..30 {
        push(&service, &format!("t{number}")).await;
    }
    until_told(&service, "notification.done", 30).await;
    command(&service, "backend", "resume").await;
    let messages = receiver.until("all ends", |all| done(all).len() == 30).await;
    wait::until("all successes are noted", async || successes(&service, "backend").await.len() == 30).await;
    let noted = successes(&service, "backend").await;
    let of = |attempt: &Value| attempt["message"].as_str().unwrap().to_owned();
    let posted: Vec<_> = messages.iter().rev().map(|message| message.id().to_owned()).collect();
    assert_eq!(noted.iter().map(of).collect::<Vec<_>>(), posted, "in their order");
    assert!(noted.is_sorted_by_key(|attempt| std::cmp::Reverse(attempt["at"].as_str().unwrap().to_owned())));
    assert_eq!(event_ids(&messages).len(), 30);
    let transactions =
        service.database.count("select count(distinct xmin::text) from webhook_attempts").await;
    assert!(transactions <= 15, "30 successes are noted by {transactions} transactions");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_shows_while_the_next_message_is_under_way() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Held(200));
    let more = ", types=[\"notification.done\"], batch_max=1";
    let setting = webhooks(&[("slow", &receiver.url(), more)]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    command(&service, "slow", "pause").await;
    for token in ["a", "b"] {
        push(&service, token).await;
    }
    until_told(&service, "notification.done", 2).await;
    command(&service, "slow", "resume").await;
    receiver.until("the first message", |all| all.len() == 1).await;
    receiver.let_answer(1);
    let two = receiver.until("the second message", |all| all.len() == 2).await;
    let noted = wait::until_some("the first success is noted", async || {
        successes(&service, "slow").await.first().cloned()
    })
    .await;
    assert_eq!(noted["message"], two[0].id());
    receiver.let_answer(100);
    wait::until("the second success is noted", async || successes(&service, "slow").await.len() == 2).await;
    service.stop().await;
}
