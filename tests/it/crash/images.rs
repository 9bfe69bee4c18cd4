//! The two images of the Dockerfile, as hardened as `deploy/` runs them: an ordinary user without a capability and without a
//! way to get one, and a root file system that is read-only.

use std::fs;

use serde_json::json;

use super::container::{Container, Image, Writable, shared_machine};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::wait::WAIT_MAX;

const CREATE_KEY: [&str; 6] = ["keys", "create", "--app", "shop", "--scope", "send,read"];
/// Postgres's programs, which the image `slim` lacks.
const POSTGRES: &str =
    "/usr/lib/postgresql/*/bin/postgres /usr/lib/postgresql/*/bin/initdb /usr/lib/postgresql/*/bin/pg_ctl";

/// Makes a key in the container, and sends one notification.
async fn send(container: &Container<'_>) {
    let made = container.run(&CREATE_KEY).await;
    assert!(made.status.success(), "{made:?}");
    let key = String::from_utf8(made.stdout).unwrap();
    let push = json!({"to": {"tokens": [{"platform": "apns", "token": "aa".repeat(32)}]}, "title": "A"});
    let url = format!("{}/v1/notifications", container.url());
    let answer = container.http().post(url).bearer_auth(key.trim_end()).json(&push).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_with_postgres_writes_to_its_volume_and_tmp_only() {
    let machine = shared_machine("").await;
    let image = Image { writable: Writable::Volume, ..Image::named("one") };
    let mut container = image.serve(&machine).await;
    assert_eq!(container.shell("touch /var/tmp/x || echo refused").await, "refused\n");
    assert_eq!(
        container.shell("grep -c '^Cap...:.0*$' /proc/1/status").await,
        "5\n",
        "no capability of any kind"
    );
    send(&container).await;
    assert!(machine.ledger().wait_until(WAIT_MAX, |ledger| ledger.accepted_count() == 1).await);
    container.terminate().await;
    assert_eq!(container.ended().await.code(), Some(0), "{}", container.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slim_image_writes_to_nothing_and_says_that_it_needs_a_database() {
    let machine = shared_machine("").await;
    fs::create_dir(machine.data_dir()).unwrap();
    let slim = Image { writable: Writable::Nothing, hidden: POSTGRES, ..Image::named("one") };
    let refused = slim.run(&machine, &CREATE_KEY).await;
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("database.url"), "{words}");

    let database = TestDatabase::create().await;
    // By TCP, because the container has a /tmp of its own, in which no socket is.
    let proxy = PostgresProxy::of(&database).await;
    let url: &'static str = Box::leak(proxy.url().to_owned().into_boxed_str());
    let env = Box::leak(Box::new([("PUSHPOST__DATABASE__URL", url)]));
    let mut container = Image { env, ..slim }.serve(&machine).await;
    assert_eq!(container.shell("touch /tmp/x || echo refused").await, "refused\n");
    send(&container).await;
    assert!(machine.ledger().wait_until(WAIT_MAX, |ledger| ledger.accepted_count() == 1).await);
    container.terminate().await;
    assert_eq!(container.ended().await.code(), Some(0), "{}", container.log());
}
