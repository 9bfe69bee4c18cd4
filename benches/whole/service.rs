//! `pushpost serve` in a process of its own, and what a backend asks it now and then.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::child::Child;
use crate::simulator;
use crate::wait::{SHORT, until};
use crate::watchdog::Watchdog;

const STEP: Duration = Duration::from_millis(20);
/// How many of its warnings are worth reading.
const WARNINGS: usize = 5;
/// How it names its address in its log.
const LISTENING: &str = "listening on http://";

/// A running service.
pub(crate) struct Service {
    child: Child,
    address: SocketAddr,
    key: String,
    http: reqwest::Client,
}

impl Service {
    /// Starts it and waits until it is ready. `key` is the secret of a key that its database has.
    pub(crate) async fn start(
        folder: &Path,
        config: &Path,
        variables: &[(String, String)],
        key: String,
        watchdog: &Arc<Watchdog>,
    ) -> anyhow::Result<Self> {
        let config = config.to_str().context("the folder's name is UTF-8")?;
        let log = folder.join("service.log");
        let mut child = Child::start(&["serve", "--config", config], variables, &log, watchdog)?;
        let address = until(SHORT, STEP, "starting the service", async || {
            child.check()?;
            Ok(address_in(&child.log()))
        });
        let address: SocketAddr = address.await?.parse().context("the service's address")?;
        let mut service = Self { child, address, key, http: simulator::client()? };
        let ready = format!("http://{address}/readyz");
        until(SHORT, STEP, "waiting for the service to be ready", async || {
            service.child.check()?;
            let answer = service.http.get(&ready).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })
        .await?;
        Ok(service)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Posts a notification; its id.
    pub(crate) async fn post(&self, body: &Value) -> anyhow::Result<String> {
        let url = format!("http://{}/v1/notifications", self.address);
        let answer = self.http.post(url).bearer_auth(&self.key).json(body).send().await?;
        let (status, document) = (answer.status(), answer.text().await?);
        if status.as_u16() != 202 {
            bail!("POST /v1/notifications was answered {status}: {document}");
        }
        let document: Value = serde_json::from_str(&document)?;
        Ok(document["id"].as_str().context("a 202 names the notification")?.to_owned())
    }

    /// Status and document of a GET.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let url = format!("http://{}{path}", self.address);
        let answer = self.http.get(url).bearer_auth(&self.key).send().await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_slice(&answer.bytes().await?).unwrap_or(Value::Null)))
    }

    /// Stops a notification and waits until it has ended.
    pub(crate) async fn cancel(&self, id: &str) -> anyhow::Result<()> {
        let path = format!("/v1/notifications/{id}");
        let url = format!("http://{}{path}", self.address);
        let status = self.http.delete(url).bearer_auth(&self.key).send().await?.status();
        ensure!(status.is_success(), "the cancellation of {id} was answered {status}");
        until(SHORT, STEP, "the end of a cancelled notification", async || {
            let (_, document) = self.get(&path).await?;
            Ok(["cancelled", "done"].iter().any(|end| document["status"] == *end).then_some(()))
        })
        .await
    }

    /// Is every outcome of a notification on record? Then its counts.
    pub(crate) async fn done(&self, id: &str) -> anyhow::Result<Option<Value>> {
        let (status, document) = self.get(&format!("/v1/notifications/{id}")).await?;
        if status != 200 {
            bail!("the status of {id} was answered {status}: {document}");
        }
        Ok((document["status"] == "done").then(|| document["counts"].clone()))
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.child.log()
    }

    /// The first few of its warnings.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let log = self.child.log();
        let bad = [r#""level":"WARN""#, r#""level":"ERROR""#];
        let warnings = log.lines().filter(|line| bad.iter().any(|level| line.contains(level)));
        warnings.take(WARNINGS).map(str::to_owned).collect()
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.child.end().await
    }
}

fn address_in(log: &str) -> Option<String> {
    let (_, after) = log.split_once(LISTENING)?;
    let end = after.find('"')?;
    Some(after[..end].to_owned())
}
