//! The demo's client: a backend that knows only the API's address and a key, as a customer's backend does.

mod lanes;

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fleet::Fleet;
use super::progress::Progress;
use pushpost_simulator::Provider;

/// Requests at the same time.
const REQUESTS_MAX: usize = 48;
/// From a request to the end of its answer. No machine is so slow that an answer takes longer.
const TIMEOUT: Duration = Duration::from_secs(120);
/// A request that is answered 503, and a query without a whole answer, is repeated for this long, with this pause:
/// Postgres may be on its way back.
const RETRY_TIME: Duration = Duration::from_secs(120);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Between two queries for notifications that are not done yet.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long after the recorded outcome a device may take to be in quarantine.
const QUARANTINE_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of the API. It connects with its first request.
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
    /// When the request to the API started, in milliseconds since 1970.
    pub(super) at_ms: i64,
}

/// A notification with an outcome for every device.
#[derive(Debug)]
pub(super) struct FinishedNotification {
    pub(super) id: String,
    pub(super) at_ms: i64,
    pub(super) counts: Value,
    pub(super) deliveries: Vec<ReportedDelivery>,
}

/// The outcome of one device, as the API reports it.
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
    /// # Errors
    /// The HTTP client can't be set up.
    pub(super) fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        // No proxy of the environment: the API is on this machine.
        let http =
            Client::builder().no_proxy().timeout(TIMEOUT).pool_max_idle_per_host(REQUESTS_MAX).build()?;
        Ok(Self { http, url: url.to_owned(), key: key.to_owned() })
    }

    /// Registers every device, and notes the ids.
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
            progress.count_request();
            Ok::<_, anyhow::Error>(registered.id)
        });
        let ids: Vec<String> = stream::iter(requests).buffered(REQUESTS_MAX).try_collect().await?;
        for (number, id) in ids.into_iter().enumerate() {
            fleet.devices[number].id.clone_from(&id);
            fleet.by_id.insert(id, number);
        }
        Ok(())
    }

    /// Posts notifications, many at a time.
    ///
    /// # Errors
    /// A request failed or was refused.
    pub(super) async fn post(
        &self,
        posts: &[Value],
        progress: &Progress,
    ) -> anyhow::Result<Vec<SentNotification>> {
        let requests = posts.iter().map(|body| async {
            let sent = self.post_one(body).await?;
            progress.count_request();
            Ok::<_, anyhow::Error>(sent)
        });
        stream::iter(requests).buffered(REQUESTS_MAX).try_collect().await
    }

    /// Posts one notification.
    ///
    /// # Errors
    /// The request failed or was refused.
    pub(super) async fn post_one(&self, body: &Value) -> anyhow::Result<SentNotification> {
        let at_ms = now_ms();
        let Receipt { id, targets } = self.ask(Method::POST, "/v1/notifications", Some(body)).await?;
        Ok(SentNotification { id, targets, at_ms })
    }

    /// Waits until every notification is done, and adds each with its outcomes to `finished` as soon as it is. Where
    /// this is dropped early, `finished` has what was done by then.
    ///
    /// # Errors
    /// A request failed or was refused.
    pub(super) async fn outcomes(
        &self,
        sent: &[SentNotification],
        finished: &mut Vec<FinishedNotification>,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let mut open: Vec<&SentNotification> = sent.iter().collect();
        loop {
            let queries = open.iter().map(|sent| self.outcome(sent));
            {
                let mut found = stream::iter(queries).buffer_unordered(REQUESTS_MAX);
                while let Some(outcome) = found.try_next().await? {
                    finished.extend(outcome);
                    progress.set_done(finished.len());
                }
            }
            let done: HashSet<&str> = finished.iter().map(|finished| &*finished.id).collect();
            open.retain(|sent| !done.contains(&*sent.id));
            if open.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends bytes as the body of a request, and returns the status; none if the connection was closed without an
    /// answer. Repeated while the answer is 503.
    pub(super) async fn post_raw(&self, path: &str, body: Vec<u8>) -> Option<u16> {
        let method = if path == "/v1/devices" { Method::PUT } else { Method::POST };
        let deadline = Instant::now() + RETRY_TIME;
        loop {
            let request =
                self.http.request(method.clone(), format!("{}{path}", self.url)).bearer_auth(&self.key);
            let answer = request.header(CONTENT_TYPE, "application/json").body(body.clone()).send().await;
            let status = answer.ok().map(|answer| answer.status());
            if status != Some(StatusCode::SERVICE_UNAVAILABLE) || Instant::now() > deadline {
                return status.map(|status| status.as_u16());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// A notification with its outcomes; none if it is not done yet.
    ///
    /// # Errors
    /// A request failed or was refused.
    pub(super) async fn outcome(
        &self,
        sent: &SentNotification,
    ) -> anyhow::Result<Option<FinishedNotification>> {
        let path = format!("/v1/notifications/{}", sent.id);
        let status: Value = self.ask(Method::GET, &path, None).await?;
        if status["status"] != "done" {
            return Ok(None);
        }
        let text = self.text(Method::GET, &format!("{path}/deliveries"), None).await?;
        let deliveries = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(Some(FinishedNotification {
            id: sent.id.clone(),
            at_ms: sent.at_ms,
            counts: status["counts"].clone(),
            deliveries: deliveries.context("a delivery is not as docs/api.md describes it")?,
        }))
    }

    /// The ids of the fleet's devices in quarantine. Waits up to 60 s until there are as many as expected.
    ///
    /// # Errors
    /// A request failed or was refused.
    pub(super) async fn quarantined(
        &self,
        fleet: &Fleet,
        expected: usize,
    ) -> anyhow::Result<HashSet<String>> {
        let deadline = Instant::now() + QUARANTINE_TIMEOUT;
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
            if found.len() >= expected || Instant::now() > deadline {
                return Ok(found);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
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
        serde_json::from_str(&text)
            .with_context(|| format!("{}: the answer is not as docs/api.md describes it", what()))
    }

    async fn text(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<String> {
        let deadline = Instant::now() + RETRY_TIME;
        loop {
            let what = format!("{method} {}", path.split('?').next().unwrap_or_default());
            let url = format!("{}{path}", self.url);
            let mut request = self.http.request(method.clone(), url).bearer_auth(&self.key);
            request = match body {
                Some(body) => request.json(body),
                None => request.header(ACCEPT, "application/x-ndjson, application/json"),
            };
            let answered = async {
                let answer = request.send().await?;
                Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
            };
            let may_repeat = Instant::now() < deadline;
            match answered.await {
                Ok((status, text)) if status.is_success() => return Ok(text),
                Ok((StatusCode::SERVICE_UNAVAILABLE, _)) if may_repeat => {}
                // The service cuts a list off that it can't read to its end.
                Err(_) if may_repeat && method == Method::GET => {}
                Ok((status, text)) => anyhow::bail!("{what}: {status} {text}"),
                Err(error) => return Err(error).context(what),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Milliseconds since 1970, by the clock of the stand-ins' ledger.
#[expect(
    clippy::disallowed_methods,
    reason = "compared with the stand-ins' ledger only, which uses this clock"
)]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
