//! How many tests of webhooks are under way at the same time.

use pushpost::runtime::Role;
use pushpost_testkit::webhook_receiver::{Reply, WebhookReceiver};
use serde_json::json;

use super::{command, service, webhooks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_has_one_test_and_an_app_has_four_at_the_same_time() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Held(200));
    let url = receiver.url();
    let setting = webhooks(&["a", "b", "c", "d", "e"].map(|name| (name, &*url, "")));
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    let test = |name: &'static str| command(&service, name, "test");
    let refused = async {
        receiver.until("four tests", |posted| posted.len() == 4).await;
        for (name, per, limit) in [("a", "webhook", 1), ("e", "app", 4)] {
            let answer = test(name).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.body["code"]),
                (429, &json!("rate_limited")),
                "{name}"
            );
            assert_eq!((&answer.body["per"], &answer.body["limit"]), (&json!(per), &json!(limit)));
            assert_eq!(answer.headers["retry-after"], "15");
        }
        assert_eq!(receiver.posted().len(), 4, "nothing more was posted");
        receiver.let_answer(6);
    };
    let (a, b, c, d, ()) = tokio::join!(test("a"), test("b"), test("c"), test("d"), refused);
    for answer in [a, b, c, d, test("a").await, test("e").await] {
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!(200)), "{answer:?}");
    }
    service.stop().await;
}
