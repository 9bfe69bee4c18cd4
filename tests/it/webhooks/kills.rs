//! A node that is killed, or stands still, at each step of a delivery: the message is posted again with its id, or it is
//! not, and nothing else is.

use std::collections::BTreeMap;

use http::Method;
use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::{Reply, WebhookReceiver};
use sqlx::{Postgres, Transaction};

use super::nodes::{cluster, first_arrivals, hello, log};
use super::webhooks;

/// A statement that records a success waits for a lock.
const RECORDS: &str = "from pg_stat_activity where wait_event_type = 'Lock' and query like '%update webhooks set cursor_position%'
                       and datname = current_database()";

/// A paused webhook for which three messages wait, and the node that has it.
struct Scene {
    receiver: WebhookReceiver,
    cluster: TestCluster,
    node: TestNode,
}

impl Scene {
    async fn set_up() -> Self {
        let receiver = WebhookReceiver::start().await;
        receiver.reply(Reply::Held(200));
        let cluster = cluster(&webhooks(&[("one", &receiver.url(), ", batch_max=2")])).await;
        let node = cluster.node(cluster.database.url()).await;
        let scene = Self { receiver, cluster, node };
        scene.command("pause").await;
        for number in 0..3 {
            scene.cluster.notify(&scene.node, &hello(number)).await;
        }
        scene.until_ended(3).await;
        scene
    }

    async fn command(&self, what: &str) {
        let path = "/v1/admin/webhooks";
        let (_, list) = self.cluster.ask(&self.node, Method::GET, path, None).await;
        let id = list["items"][0]["id"].as_str().unwrap();
        let (status, answer) =
            self.cluster.ask(&self.node, Method::POST, &format!("{path}/{id}/{what}"), None).await;
        assert_eq!(status, Some(200), "{answer}");
    }

    async fn until_ended(&self, count: usize) {
        wait::until("every notification has ended in the log", async || {
            let path = "/v1/events?type=notification.done&limit=1000";
            let (_, page) = self.cluster.ask(&self.node, Method::GET, path, None).await;
            page["items"].as_array().is_some_and(|items| items.len() == count)
        })
        .await;
    }

    /// Nothing gets past this in the statements that need the tables.
    async fn lock(&self, sql: &'static str) -> Transaction<'static, Postgres> {
        let pool = sqlx::PgPool::connect(self.cluster.database.url()).await.unwrap();
        let mut locking = pool.begin().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut *locking).await.unwrap();
        locking
    }

    async fn until(&self, what: &str, condition: &'static str) {
        let sql = format!("select count(*) {condition}");
        wait::until(what, async || self.cluster.database.count(&sql).await > 0).await;
    }

    /// Another node takes over. Everything arrives in order, and so many messages twice, each with the same body.
    async fn ends_with_doubles(mut self, doubles: usize) {
        self.node = self.cluster.node(self.cluster.database.url()).await;
        self.receiver.reply(Reply::Status(200));
        let log = log(&self.cluster, &self.node).await;
        assert_eq!(log.len(), 6, "{log:?}");
        let all = self.receiver.until("all events", |all| first_arrivals(all).0.len() == log.len()).await;
        assert_eq!(first_arrivals(&all), (log, doubles));
        let mut bodies = BTreeMap::new();
        for message in &all {
            assert_eq!(bodies.entry(message.id()).or_insert(&message.body), &&message.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_the_message_is_known_loses_nothing() {
    let mut scene = Scene::set_up().await;
    let reading = scene.lock("lock table receipts in access exclusive mode").await;
    scene.command("resume").await;
    scene.until("the webhook is leased", "from webhooks where node_id is not null").await;
    assert_eq!(
        scene
            .cluster
            .database
            .count("select count(*) from webhooks where message_position is not null")
            .await,
        0
    );
    scene.node.kill().await;
    reading.rollback().await.unwrap();
    scene.ends_with_doubles(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_message_is_at_the_receiver_posts_it_again_with_its_id() {
    let mut scene = Scene::set_up().await;
    scene.command("resume").await;
    // The second one: its bounds were stored with the success of the first one.
    scene.receiver.let_answer(1);
    scene.receiver.until("the second message", |all| all.len() == 2).await;
    scene.node.kill().await;
    scene.ends_with_doubles(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_an_answer_and_its_record_posts_the_message_again_with_its_id() {
    let mut scene = Scene::set_up().await;
    scene.command("resume").await;
    scene.receiver.until("the first message", |all| all.len() == 1).await;
    let recording = scene.lock("select from webhooks for update").await;
    scene.receiver.let_answer(1);
    scene.until("the success is recorded", RECORDS).await;
    scene.node.kill().await;
    // Its session would go on with the statement.
    let end = format!("select pg_terminate_backend(pid) {RECORDS}");
    scene.cluster.database.execute(&end).await;
    recording.rollback().await.unwrap();
    scene.ends_with_doubles(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_changes_nothing_of_what_another_one_has_delivered() {
    let mut scene = Scene::set_up().await;
    let mut other = scene.cluster.node(scene.cluster.database.url()).await;
    scene.command("resume").await;
    scene.receiver.until("the first message", |all| all.len() == 1).await;
    let holder = "select count(*) from webhooks join nodes using (node_id) where nodes.name like '%-' || ";
    let is_ours = format!("{holder}'{}'", scene.node.pid());
    if scene.cluster.database.count(&is_ours).await == 0 {
        std::mem::swap(&mut scene.node, &mut other);
    }
    scene.node.hang().await;
    let all = scene.receiver.until("the message comes again", |all| all.len() == 2).await;
    assert_eq!((all[0].id(), &all[0].body), (all[1].id(), &all[1].body));
    scene.receiver.reply(Reply::Status(200));
    scene.receiver.let_answer(2);
    scene.receiver.until("all events", |all| first_arrivals(all).0.len() == 6).await;
    // What it had under way is answered, and its lease is another's.
    scene.node.resume().await;
    scene.cluster.notify(&other, &hello(3)).await;
    std::mem::swap(&mut scene.node, &mut other);
    scene.until_ended(4).await;
    let log = log(&scene.cluster, &scene.node).await;
    let all = scene.receiver.until("all events", |all| first_arrivals(all).0.len() == log.len()).await;
    assert_eq!(first_arrivals(&all), (log, 1));
}
