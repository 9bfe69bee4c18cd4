//! Several `pushpost serve` on one database with the same providers. Each can be killed, stopped without ending, and cut
//! off from Postgres.

use std::ops::Deref;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::machine::providers;
use super::node::{REQUEST_TIME_MAX, TestNode, command, free_port, program};
use crate::answer::Answer;
use crate::database::TestDatabase;
use crate::installation::Installation;
use crate::wait::{POLL_INTERVAL, WAIT_MAX};

/// An installation, and what its nodes have in common.
pub struct TestCluster {
    installation: Installation,
    /// `PUSHPOST__DELIVERY__…` and others, with a value for each.
    variables: Vec<(String, String)>,
    key: String,
}

impl TestCluster {
    /// No process yet. `delivery`: keys of that section of the configuration.
    pub async fn create(delivery: &[(&str, &str)]) -> Self {
        Self::on(TestDatabase::create().await, delivery).await
    }

    /// As [`Self::create`], on a migrated database.
    pub async fn on(database: TestDatabase, delivery: &[(&str, &str)]) -> Self {
        let installation = Installation::on(database, providers(Duration::ZERO)).await;
        let key = installation.key("send,read,devices,admin").await;
        let variable = |(key, value): &(&str, &str)| {
            (format!("PUSHPOST__DELIVERY__{}", key.to_uppercase()), (*value).to_owned())
        };
        Self { installation, variables: delivery.iter().map(variable).collect(), key }
    }

    /// Sets an environment variable of the processes that are started from now on.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// The key that has every scope but `register`.
    pub fn full_key(&self) -> &str {
        &self.key
    }

    /// Starts a process that reaches Postgres by this URL, and waits until it is ready.
    pub async fn node(&self, database_url: &str) -> TestNode {
        self.node_as(database_url, &[]).await
    }

    /// As [`Self::node`], with further arguments.
    pub async fn node_as(&self, database_url: &str, arguments: &[&str]) -> TestNode {
        let port = free_port();
        let mut command = command(program());
        command.arg("serve").arg("--config").arg(self.config_path()).args(arguments);
        command.current_dir("/");
        command.env("PUSHPOST__SERVER__LISTEN", format!("127.0.0.1:{port}"));
        command.env("PUSHPOST__DATABASE__URL", database_url);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut node = TestNode::spawn(command, self.path(&format!("{port}.log")).as_ref());
        node.set_address(&format!("127.0.0.1:{port}"));
        node.until_ready(&self.http).await;
        node
    }

    /// Asks a process with a key that has every scope. No status: there was no answer.
    pub async fn ask(
        &self,
        node: &TestNode,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (Option<u16>, Value) {
        let mut request = self
            .http
            .request(method.clone(), node.url(path))
            .bearer_auth(&self.key)
            .timeout(REQUEST_TIME_MAX);
        if let Some(body) = body {
            request = request.json(body);
        }
        let Ok(response) = request.send().await else { return (None, Value::Null) };
        let status = response.status().as_u16();
        match Answer::read(&method, response).await {
            Ok(answer) => (Some(status), answer.body),
            Err(_) => (Some(status), Value::Null),
        }
    }

    /// Sends a notification, again where the process asks to come again; answers its id.
    pub async fn notify(&self, node: &TestNode, body: &Value) -> String {
        let begun = Instant::now();
        loop {
            let (status, answer) = self.ask(node, Method::POST, "/v1/notifications", Some(body)).await;
            match status {
                Some(202) => return answer["id"].as_str().unwrap().to_owned(),
                Some(503) if begun.elapsed() < WAIT_MAX => sleep(POLL_INTERVAL).await,
                other => panic!("{other:?} {answer} {}", node.end_of_log()),
            }
        }
    }

    /// How many devices of a notification have which status.
    pub async fn counts(&self, node: &TestNode, id: &str) -> Value {
        self.ask(node, Method::GET, &format!("/v1/notifications/{id}"), None).await.1["counts"].take()
    }

    /// Is this process the leader, and not declared dead?
    pub async fn is_led_by(&self, node: &TestNode) -> bool {
        let leader: Option<String> =
            sqlx::query_scalar("select name from leader join nodes using (node_id) where dead_at is null")
                .fetch_optional(&self.database.pool)
                .await
                .unwrap();
        leader.is_some_and(|name| name.ends_with(&format!("-{}", node.pid())))
    }

    /// Waits until a condition holds; shows the logs of these nodes if it does not.
    pub async fn until(&self, what: &str, nodes: &[&TestNode], is_so: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !is_so().await {
            let logs = || nodes.iter().map(|node| node.end_of_log()).collect::<Vec<_>>().join("\n\n");
            assert!(begun.elapsed() < WAIT_MAX, "in vain: {what}\n{}", logs());
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Deref for TestCluster {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}
