//! The receivers of the README, in Python and Node with the libraries of Standard Webhooks: they get every event in order, with the
//! old and with the new secret, and after they were killed.

use pushpost::runtime::Role;
use pushpost_testkit::wait;

use super::readme_receiver::{Language, OTHER_SECRET, ReadmeReceiver};
use super::{SECRET, push, service, until_told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_of_the_readme_get_every_event_in_order_during_a_rotation_and_after_a_kill() {
    // One receiver has the new secret already, the other one still the old one.
    let mut in_python = ReadmeReceiver::start(Language::Python, SECRET);
    let mut in_node = ReadmeReceiver::start(Language::Node, OTHER_SECRET);
    let webhook = |name: &str, url: String| {
        format!("{{name=\"{name}\", url=\"{url}\", secrets=[\"{SECRET}\", \"{OTHER_SECRET}\"], batch_max=3}}")
    };
    let setting = format!("[{}, {}]", webhook("py", in_python.url()), webhook("js", in_node.url()));
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    // A receiver that is not up yet, or is killed, may refuse three times.
    service.expect_log("webhook fails");
    let mut sent = 0;
    for round in 0..3 {
        for number in 0..4 {
            push(&service, &format!("t{round}-{number}")).await;
            sent += 1;
        }
        for (receiver, secret) in [(&mut in_python, SECRET), (&mut in_node, OTHER_SECRET)] {
            receiver.kill().await;
            receiver.start_again(secret);
        }
    }
    // A notification is done a moment before its end is in the log.
    let log = until_told(&service, "notification.done", sent).await;
    let logged: Vec<String> = log.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    for (name, receiver) in [("Python", &in_python), ("Node", &in_node)] {
        wait::until(&format!("all events in {name}"), async || receiver.done().len() >= sent).await;
        assert_eq!(receiver.done(), logged, "{name}");
    }
    service.stop().await;
}
