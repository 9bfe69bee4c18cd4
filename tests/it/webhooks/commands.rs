//! `pushpost webhooks` by the real program: what it prints, its exit codes, and its receiver for development.

use std::process::Stdio;

use pushpost::runtime::Role;
use pushpost_testkit::processes::{command, program};
use pushpost_testkit::webhook_receiver::{Reply, WebhookReceiver};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{SECRET, push, service, until_state, webhooks};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_shows_webhooks_and_carries_out_verbs() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    let key = service.key("admin").await;
    let run = async |arguments: &str| {
        let mut command = command(program());
        command.arg("webhooks").args(arguments.split_whitespace());
        command.env("PUSHPOST_URL", service.url("")).env("PUSHPOST_KEY", &key);
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    push(&service, "a").await;
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
    assert!(code == 0 && out.contains("status 200"), "{code} {out}");
    let (code, out, _) = run("attempts backend").await;
    assert!(code == 0 && out.contains("msg_"), "{code} {out}");
    let (code, _, error) = run("test other").await;
    assert!(code == 1 && error.contains("known: backend"), "{code} {error}");
    receiver.reply(Reply::Status(500));
    let (code, _, error) = run("test backend").await;
    assert!(code == 1 && error.contains("status 500"), "{code} {error}");
    assert_eq!(run("replay backend").await.0, 64);
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
