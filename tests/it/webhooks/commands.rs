//! `pushpost webhooks` by the real program: what it prints, its exit codes, and its receiver for development.

use std::process::Stdio;

use http::Method;
use pushpost::domain::WebhookSecret;
use pushpost::runtime::Role;
use pushpost_testkit::processes::{command, program};
use pushpost_testkit::service::TestService;
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::{PostedMessage, Reply, WebhookReceiver};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{SECRET, ask, done, push, service, until_state, until_told, webhook, webhooks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_shows_webhooks_and_carries_out_verbs() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    let key = service.key("admin").await;
    let run = async |arguments: &str| run(&service, &key, arguments).await;
    push(&service, "a").await;
    wait::until("the webhook has taken events", async || {
        webhook(&service, "backend").await["last_success_at"].is_string()
    })
    .await;
    let (code, out, _) = run("").await;
    assert!(code == 0 && out.contains("backend") && out.contains("active"), "{code} {out}");
    let (code, out, _) = run("pause backend").await;
    assert!(code == 0 && out.contains("paused"), "{code} {out}");
    let (code, _, error) = run("list --json").await;
    assert!(code == 2 && error.contains("webhook backend is paused"), "{code} {error}");
    assert_eq!(run("resume backend --json").await.0, 0);
    assert_eq!(run("retry backend").await.0, 0);
    assert_eq!(run("replay backend --since 2026-01-01T00:00:00Z").await.0, 0);
    let (code, out, _) = run("test backend").await;
    assert!(code == 0 && out.starts_with("status 200, ") && out.ends_with(" ms\n"), "{code} {out}");
    let (code, out, _) = run("attempts backend").await;
    assert!(code == 0 && out.contains("msg_"), "{code} {out}");
    let (code, _, error) = run("test other").await;
    assert!(code == 1 && error.contains("known: backend"), "{code} {error}");
    receiver.reply(Reply::Status(500));
    let (code, _, error) = run("test backend").await;
    assert!(code == 1 && error.contains("status 500"), "{code} {error}");
    let (code, _, error) = run("replay backend").await;
    assert!(code == 64 && error.contains("<--from <EVT>|--since <TIME>>"), "{error}");
    service.stop().await;
}

/// Runs `pushpost webhooks` with these arguments: its exit code and what it prints.
async fn run(service: &TestService, key: &str, arguments: &str) -> (i32, String, String) {
    let mut command = command(program());
    command.arg("webhooks").args(arguments.split_whitespace());
    command.env("PUSHPOST_URL", service.url("")).env("PUSHPOST_KEY", key);
    let output = command.stdin(Stdio::null()).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_aside_event_is_shown_and_sent_again() {
    let receiver = WebhookReceiver::start().await;
    let good = WebhookReceiver::start().await;
    receiver.reply(Reply::Close);
    let types = ", types=[\"notification.done\"]";
    let setting = webhooks(&[("picky", &receiver.url(), types), ("good", &good.url(), types)]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    service.expect_log("events were set aside, because the receiver refuses them and takes others");
    let key = service.key("admin").await;
    push(&service, "a").await;
    push(&service, "b").await;
    good.until("both ends", |all| done(all).len() == 2).await;
    // Something follows it in the log.
    let ends = until_told(&service, "notification.done", 2).await;
    let refused = ends[0]["data"]["notification"].as_str().unwrap().to_owned();
    let poison = refused.clone();
    receiver.decide(move |message: &PostedMessage| {
        Reply::Status(if message.body.contains(&poison) { 500 } else { 200 })
    });
    let shown = wait::until_some("it is set aside", async || {
        let (code, out, _) = run(&service, &key, "set-aside picky").await;
        (code == 0 && out.contains("evt_")).then_some(out)
    })
    .await;
    assert!(shown.starts_with("EVENT") && shown.ends_with("status 500\n"), "{shown}");
    let (code, out, _) = run(&service, &key, "set-aside picky --json").await;
    let item: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &item["status"]), (0, &json!(500)), "{out}");
    let event = item["event"].as_str().unwrap();
    receiver.reply(Reply::Status(200));
    let (code, out, error) = run(&service, &key, &format!("retry-event picky {event}")).await;
    assert_eq!((code, out.as_str()), (0, ""), "{error}");
    wait::until("the event is not set aside any more", async || {
        run(&service, &key, "set-aside picky --json").await == (0, String::new(), String::new())
    })
    .await;
    assert!(receiver.posted().last().unwrap().body.contains(&refused));
    let (code, _, error) = run(&service, &key, &format!("retry-event picky {event}")).await;
    assert!(code == 1 && error.contains("nothing with this id"), "{code} {error}");
    assert_eq!(run(&service, &key, "retry-event picky evt_x/../y").await.0, 64);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_prints_the_new_secret_alone() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("declared", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting);
    let service =
        service.config("APPS__SHOP__WEBHOOK_HOSTS", "[\"127.0.0.1\"]").node(Role::Api).build().await;
    let key = service.key("admin").await;
    let body = json!({"name": "made", "url": receiver.url()});
    assert_eq!(ask(&service, Method::POST, "/v1/admin/webhooks", body).await.status, 201);
    for (arguments, old) in [("--keep-old 1h", 1), ("", 2), ("--drop-oldest", 2), ("--keep-old 0s", 0)] {
        let (code, out, error) = run(&service, &key, &format!("rotate made {arguments}")).await;
        assert_eq!((code, error.matches("signs until 2").count()), (0, old), "{arguments}: {out}{error}");
        assert!(WebhookSecret::parse(out.trim_end()).is_ok(), "{arguments}: {out}");
        let newest = &webhook(&service, "made").await["secrets"][0]["hint"];
        assert!(out.trim_end().trim_end_matches('=').ends_with(newest.as_str().unwrap()), "{out} {newest}");
    }
    for _ in 0..2 {
        let (code, out, _) = run(&service, &key, "rotate made --json").await;
        assert!(code == 0 && out.contains("whsec_"), "{out}");
    }
    let (code, _, error) = run(&service, &key, "rotate made").await;
    assert!(code == 1 && error.contains("3 secrets sign already"), "{code} {error}");
    assert!(error.contains("--drop-oldest") && error.contains("--keep-old 0s"), "{error}");
    assert!(!error.contains("drop_oldest") && !error.contains("keep_old"), "{error}");
    let (code, _, error) = run(&service, &key, "rotate made --keep-old 31d").await;
    assert!(code == 1 && error.contains("--keep-old: this must be at most 30d"), "{code} {error}");
    let (code, _, error) = run(&service, &key, "rotate declared").await;
    assert!(code == 1 && error.contains("The configuration declares"), "{code} {error}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_for_development_verifies_and_prints() {
    let mut listen = command(program());
    listen.args(["webhooks", "listen", "--port", "0", "--secret", SECRET]);
    let mut child = listen.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = errors.next_line().await.unwrap().unwrap();
    let url = line.strip_prefix("listening on ").unwrap().to_owned();

    let setting = webhooks(&[("backend", &url, ", types=[\"notification.done\"]")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    let id = push(&service, "a").await;
    let event = printed.next_line().await.unwrap().unwrap();
    assert!(event.contains(&id) && event.contains("notification.done"), "{event}");
    until_state(&service, "backend", "active").await;

    let unsigned = reqwest::Client::new().post(&url).body("{}").send().await.unwrap();
    assert_eq!(unsigned.status(), 401);
    assert_eq!(errors.next_line().await.unwrap().unwrap(), "refused: the header webhook-id is missing");
    service.stop().await;
}
