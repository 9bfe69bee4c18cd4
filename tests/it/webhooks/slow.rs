//! Receivers that hang or are slow: they wait for themselves alone.

use pushpost::runtime::Role;
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::{Reply, WebhookReceiver};
use serde_json::json;

use super::{done, event_ids, push, service, webhook, webhooks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_or_is_slow_delays_no_push_and_no_other_receiver() {
    let hanging = WebhookReceiver::start().await;
    hanging.reply(Reply::Unfinished(String::new()));
    let slow = WebhookReceiver::start().await;
    slow.reply(Reply::Held(200));
    let good = WebhookReceiver::start().await;
    let one = ", types=[\"notification.done\"], batch_max=1";
    let setting =
        webhooks(&[("hanging", &hanging.url(), one), ("slow", &slow.url(), one), ("good", &good.url(), one)]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    let mut sent = Vec::new();
    for token in ["a", "b", "c", "d"] {
        // It ends although two receivers keep their messages.
        sent.push(push(&service, token).await);
    }
    let messages = good.until("all ends at the good one", |all| done(all).len() == 4).await;
    let ids = event_ids(&messages);
    slow.until("the slow one has its first message", |all| all.len() == 1).await;
    assert_eq!((slow.posted().len(), hanging.posted().len()), (1, 1), "one message at a time");
    for answered in 1..=4 {
        slow.let_answer(1);
        let wanted = 4.min(answered + 1);
        slow.until("the next message follows the answer", |all| all.len() >= wanted).await;
        assert_eq!(event_ids(&slow.posted()), ids[..wanted]);
    }
    wait::until("the slow one is done", async || webhook(&service, "slow").await["lag_seconds"] == 0.0).await;
    let shown = webhook(&service, "slow").await;
    assert_eq!((&shown["state"], &shown["why"]), (&json!("active"), &json!(null)), "slow is no failure");

    let shown = wait::until_some("the hanging one is given up", async || {
        Some(webhook(&service, "hanging").await).filter(|shown| !shown["why"].is_null())
    })
    .await;
    assert_eq!((&shown["why"], &shown["state"]), (&json!("no answer within 15 s"), &json!("active")));
    hanging.reply(Reply::Status(200));
    let messages = hanging.until("all ends at the hanging one", |all| done(all).len() == 4).await;
    assert_eq!(messages[0].id(), messages[1].id(), "the same message again");
    // It may have hung twice before it was told to answer.
    let mut got = event_ids(&messages);
    got.dedup();
    assert_eq!(got, ids);
    service.stop().await;
}
