//! The demo's backend: knows nothing but the API's address and a key, as any other would.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::fleet::Fleet;
use super::progress::Progress;
use pushpost_simulator::Provider;

/// Requests under way at once.
const AT_ONCE: usize = 48;
/// Nobody waits longer for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A 503 says that nothing was stored: so often it is asked again.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at what is not done yet.
const LOOK: Duration = Duration::from_millis(250);
/// How long what was recorded may take to set a device aside.
const ASIDE: Duration = Duration::from_secs(15);

/// A client of the API.
pub(super) struct ApiClient {
    http: Client,
    url: String,
    key: String,
}

/// A notification that was accepted.
#[derive(Debug)]
pub(super) struct SentNotification {
    pub(super) id: String,
    pub(super) targets: u64,
    /// When the request began, in milliseconds since 1970.
    pub(super) at_ms: i64,
}

/// A notification with every outcome.
#[derive(Debug)]
pub(super) struct FinishedNotification {
    pub(super) id: String,
    pub(super) at_ms: i64,
    pub(super) counts: Value,
    pub(super) deliveries: Vec<ReportedDelivery>,
}

/// What became of one device.
#[derive(Deserialize, Debug)]
pub(super) struct ReportedDelivery {
    pub(super) device: String,
    pub(super) status: String,
    pub(super) attempts: u32,
    pub(super) reason: Option<String>,
    pub(super) provider_id: Option<String>,
}

#[derive(Deserialize)]
struct Receipt {
    id: String,
    targets: u64,
}

#[derive(Deserialize)]
struct Registered {
    id: String,
}

#[derive(Deserialize)]
struct Listed {
    items: Vec<Registered>,
    next_cursor: Option<String>,
}

impl ApiClient {
    /// Connects with the first request.
    ///
    /// # Errors
    /// There is no HTTP client to be had.
    pub(super) fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        // Whatever proxy the environment names, this is on this machine.
        let http = Client::builder().no_proxy().timeout(TIMEOUT).pool_max_idle_per_host(AT_ONCE).build()?;
        Ok(Self { http, url: url.to_owned(), key: key.to_owned() })
    }

    /// Registers every device.
    ///
    /// # Errors
    /// A request failed or was refused.
    pub(super) async fn register(&self, fleet: &mut Fleet, progress: &Progress) -> anyhow::Result<()> {
        let shown: &Fleet = fleet;
        let requests = shown.devices.iter().map(|device| async {
            let platform = match device.provider {
                Provider::Apns => "apns",
                _ => "fcm",
            };
            let user = &shown.users[device.user].id;
            let body = json!({"platform": platform, "token": device.token, "user": user});
            let registered: Registered = self.ask(Method::PUT, "/v1/devices", Some(&body)).await?;
            progress.counted();
            Ok::<_, anyhow::Error>(registered.id)
        });
        let ids: Vec<String> = stream::iter(requests).buffered(AT_ONCE).try_collect().await?;
        for (number, id) in ids.into_iter().enumerate() {
            fleet.devices[number].id.clone_from(&id);
            fleet.by_id.insert(id, number);
        }
        Ok(())
    }

    /// Posts notifications; each answer is a 202.
    ///
    /// # Errors
    /// A request failed or was refused.
    pub(super) async fn post(
        &self,
        posts: &[Value],
        progress: &Progress,
    ) -> anyhow::Result<Vec<SentNotification>> {
        let requests = posts.iter().map(|body| async {
            let posted = self.post_one(body).await?;
            progress.counted();
            Ok::<_, anyhow::Error>(posted)
        });
        stream::iter(requests).buffered(AT_ONCE).try_collect().await
    }

    /// Posts one.
    ///
    /// # Errors
    /// The request failed or was refused.
    pub(super) async fn post_one(&self, body: &Value) -> anyhow::Result<SentNotification> {
        let at_ms = now_ms();
        let Receipt { id, targets } = self.ask(Method::POST, "/v1/notifications", Some(body)).await?;
        Ok(SentNotification { id, targets, at_ms })
    }

    /// Asks until every notification is done, and then what became of each device. What is there already when the
    /// caller loses patience stays in `ended`.
    ///
    /// # Errors
    /// A request failed or was refused.
    pub(super) async fn outcomes(
        &self,
        posted: &[SentNotification],
        ended: &mut Vec<FinishedNotification>,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let mut open: Vec<&SentNotification> = posted.iter().collect();
        loop {
            let looks = open.iter().map(|posted| self.outcome(posted));
            {
                let mut found = stream::iter(looks).buffer_unordered(AT_ONCE);
                while let Some(outcome) = found.try_next().await? {
                    ended.extend(outcome);
                    progress.done(ended.len());
                }
            }
            let done: HashSet<&str> = ended.iter().map(|ended| &*ended.id).collect();
            open.retain(|posted| !done.contains(&*posted.id));
            if open.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether some of its devices wait for a lane in this state.
    ///
    /// # Errors
    /// The request failed or was refused.
    pub(super) async fn is_held(&self, posted: &SentNotification, state: &str) -> anyhow::Result<bool> {
        let status: Value = self.ask(Method::GET, &format!("/v1/notifications/{}", posted.id), None).await?;
        Ok(status["held"].as_array().into_iter().flatten().any(|held| held["state"] == state))
    }

    /// Posts bytes as they are; answers the status, or none if it was hung up on.
    pub(super) async fn post_raw(&self, path: &str, body: Vec<u8>) -> Option<u16> {
        let method = if path == "/v1/devices" { Method::PUT } else { Method::POST };
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        let answer = request.header(CONTENT_TYPE, "application/json").body(body).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    }

    /// Resumes a lane, as its operator would.
    ///
    /// # Errors
    /// There was no answer.
    pub(super) async fn resume(&self, lane: &str) -> anyhow::Result<()> {
        let url = format!("{}/v1/admin/lanes/{lane}/resume", self.url);
        // Refused, the lane finds out by its own next probe.
        self.http.post(url).bearer_auth(&self.key).send().await.context("POST …/resume")?;
        Ok(())
    }

    /// None: it is not done yet.
    ///
    /// # Errors
    /// A request failed or was refused.
    pub(super) async fn outcome(
        &self,
        posted: &SentNotification,
    ) -> anyhow::Result<Option<FinishedNotification>> {
        let path = format!("/v1/notifications/{}", posted.id);
        let status: Value = self.ask(Method::GET, &path, None).await?;
        if status["status"] != "done" {
            return Ok(None);
        }
        let text = self.text(Method::GET, &format!("{path}/deliveries"), None).await?;
        let deliveries = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(Some(FinishedNotification {
            id: posted.id.clone(),
            at_ms: posted.at_ms,
            counts: status["counts"].clone(),
            deliveries: deliveries.context("a delivery is not as documented")?,
        }))
    }

    /// The ids of this fleet's devices that are set aside; waits a little for as many as expected.
    ///
    /// # Errors
    /// A request failed or was refused.
    pub(super) async fn quarantined(
        &self,
        fleet: &Fleet,
        expected: usize,
    ) -> anyhow::Result<HashSet<String>> {
        let give_up = tokio::time::Instant::now() + ASIDE;
        loop {
            let mut found = HashSet::new();
            let mut cursor = String::new();
            loop {
                let path = format!("/v1/devices?status=quarantined&limit=1000{cursor}");
                let Listed { items, next_cursor } = self.ask(Method::GET, &path, None).await?;
                let ids = items.into_iter().map(|device| device.id);
                found.extend(ids.filter(|id| fleet.by_id.contains_key(id)));
                match next_cursor {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            if found.len() >= expected || tokio::time::Instant::now() > give_up {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<T> {
        let what = || format!("{method} {path}");
        let text = self.text(method.clone(), path, body).await?;
        serde_json::from_str(&text).with_context(|| format!("{}: the answer is not as documented", what()))
    }

    async fn text(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<String> {
        let mut tries = 0;
        loop {
            let what = format!("{method} {}", path.split('?').next().unwrap_or_default());
            let url = format!("{}{path}", self.url);
            let mut request = self.http.request(method.clone(), url).bearer_auth(&self.key);
            request = match body {
                Some(body) => request.json(body),
                None => request.header(ACCEPT, "application/x-ndjson, application/json"),
            };
            let answer = request.send().await.with_context(|| what.clone())?;
            let status = answer.status();
            let text = answer.text().await.with_context(|| what.clone())?;
            tries += 1;
            match status {
                status if status.is_success() => return Ok(text),
                StatusCode::SERVICE_UNAVAILABLE if tries < TRIES => tokio::time::sleep(PAUSE).await,
                status => anyhow::bail!("{what}: {status} {text}"),
            }
        }
    }
}

/// The ledger's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "compared with the stand-ins' ledger only, which has this clock"
)]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
