//! Containers that share a data folder, and what a container lacks.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::container::{Container, Image, shared_site};

const CREATE_KEY: [&str; 6] = ["keys", "create", "--app", "shop", "--scope", "send,read"];

async fn key(container: &Container<'_>) -> String {
    let output = container.run(&CREATE_KEY).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

async fn post(container: &Container<'_>, key: &str) -> String {
    let push = json!({"to": {"tokens": [{"platform": "apns", "token": "aa".repeat(32)}]}, "title": "A"});
    let url = format!("{}/v1/notifications", container.url());
    let answer = container.http().post(url).bearer_auth(key).json(&push).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let answer: Value = answer.json().await.unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

async fn assert_kept(container: &Container<'_>, key: &str, promised: &BTreeSet<String>) {
    for id in promised {
        let url = format!("{}/v1/notifications/{id}", container.url());
        let answer = container.http().get(url).bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{id} was answered 202 and is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_container_waits_for_the_first_and_takes_over_what_it_accepted() {
    let site = shared_site("").await;
    let mut first = Image::named("one").serve(&site).await;
    let key = key(&first).await;
    let mut promised = BTreeSet::from([post(&first, &key).await]);

    let refused = Image::named("three").run(&site, &CREATE_KEY).await;
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("is used by another container (host one, since 20"), "{words}");
    assert!(words.contains("run the command there"), "{words}");

    let mut second = Image::named("two").start(&site);
    second.until_logged("another container uses the data folder").await;
    for _ in 0..20 {
        promised.insert(post(&first, &key).await);
    }
    assert!(first.is_ready().await && !second.is_ready().await);
    assert_kept(&first, &key, &promised).await;

    first.terminate().await;
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.log());
    second.until_ready().await;
    assert_kept(&second, &key, &promised).await;

    // The same when the first one is killed.
    let mut third = Image::named("three").start(&site);
    third.until_logged("another container uses the data folder").await;
    promised.insert(post(&second, &key).await);
    second.kill().await;
    third.until_ready().await;
    assert_kept(&third, &key, &promised).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_outlives_its_service_in_another_container_is_left_alone() {
    let site = shared_site("").await;
    let with_shell = Image { has_shell: true, ..Image::named("one") };
    let first = with_shell.serve(&site).await;
    let key = key(&first).await;
    let mut promised = BTreeSet::from([post(&first, &key).await]);
    promised.insert(post(&first, &key).await);
    first.shell("kill -KILL $(pidof pushpost)").await;

    let image = Image { env: &[("PUSHPOST__DATABASE__START_TIMEOUT", "3s")], ..Image::named("two") };
    let mut second = image.start(&site);
    assert_eq!(second.ended().await.code(), Some(69), "{}", second.log());
    let log = second.log();
    assert!(log.contains("is still used by another container after 3 s (host one, since 20"), "{log}");
    assert_ne!(first.shell("pidof postgres").await, "", "the server of the first still runs");

    first.kill().await;
    let second = image.serve(&site).await;
    assert_kept(&second, &key, &promised).await;
}
