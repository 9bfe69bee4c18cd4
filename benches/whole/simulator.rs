//! The stand-ins for the providers, in a process of their own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::child::Child;
use crate::wait::{SHORT, within};
use crate::watchdog::Watchdog;

/// Streams on a connection to FCM: what a bare client with four connections needs. Pushpost keeps to 100, as FCM has it.
const FCM_STREAMS: &str = "250";
/// The `kid` and the `iss` that its files name.
pub(crate) const KEY_ID: &str = "ABC123DEFG";
pub(crate) const TEAM_ID: &str = "DEF123GHIJ";
pub(crate) const TOPIC: &str = "com.example.shop";

/// What it keeps, and how far away it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// When each notification arrived first, besides counts.
    pub(crate) arrivals: bool,
    /// How long each answer waits.
    pub(crate) latency: Duration,
}

impl Manner {
    /// Answers at once and counts.
    pub(crate) const COUNTS: Self = Self { arrivals: false, latency: Duration::ZERO };
    /// Answers at once and keeps arrivals.
    pub(crate) const ARRIVALS: Self = Self { arrivals: true, ..Self::COUNTS };
}

/// Where everything is, as it says itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Places {
    /// The endpoint of APNs: `https://localhost:PORT`.
    pub(crate) apns: String,
    /// The endpoint of FCM: `https://localhost:PORT`.
    pub(crate) fcm: String,
    /// The control port: `http://127.0.0.1:PORT`.
    control: String,
    /// The configuration that it wrote for `pushpost serve`.
    pub(crate) config: PathBuf,
    /// The folder of its files.
    pub(crate) dir: PathBuf,
}

/// What it has received.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Counts {
    /// Notifications that it took.
    pub(crate) accepted: u64,
}

#[derive(Deserialize)]
struct Arrivals {
    items: Vec<(String, i64)>,
}

/// A running simulator.
pub(crate) struct Simulator {
    child: Child,
    places: Places,
    http: reqwest::Client,
}

impl Simulator {
    /// Starts it on free ports, with its files in `folder`.
    pub(crate) async fn start(
        folder: &Path,
        manner: Manner,
        watchdog: &Arc<Watchdog>,
    ) -> anyhow::Result<Self> {
        let dir = folder.join("simulator");
        let dir = dir.to_str().context("the folder's name is UTF-8")?;
        let latency = format!("{}ms", manner.latency.as_millis());
        let ledger = if manner.arrivals { "arrivals" } else { "counts" };
        let mut arguments =
            vec!["simulate", "--json", "--dir", dir, "--ledger", ledger, "--latency", &latency];
        arguments.extend(["--apns-port", "0", "--fcm-port", "0", "--control-port", "0"]);
        arguments.extend(["--fcm-streams", FCM_STREAMS]);
        let mut child = Child::start(&arguments, &[], &folder.join("simulator.log"), watchdog)?;
        let mut lines = BufReader::new(child.stdout()?).lines();
        let first = async { lines.next_line().await?.context("it said nothing") };
        let first = within(SHORT, "starting the simulator", first).await;
        let first = first.with_context(|| child.end_of_log())?;
        let places = serde_json::from_str(&first).context("where the simulator is")?;
        Ok(Self { child, places, http: client()? })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// What it has received since it was told to forget.
    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        Ok(self.http.get(format!("{}/counts", self.places.control)).send().await?.json().await?)
    }

    /// When each notification arrived for the first time, in microseconds since 1970.
    pub(crate) async fn arrivals(&self) -> anyhow::Result<HashMap<String, i64>> {
        let url = format!("{}/arrivals", self.places.control);
        let arrivals: Arrivals = self.http.get(url).send().await?.json().await?;
        Ok(arrivals.items.into_iter().collect())
    }

    /// Counts from nothing again.
    pub(crate) async fn forget(&self) -> anyhow::Result<()> {
        self.http.delete(format!("{}/ledger", self.places.control)).send().await?.error_for_status()?;
        Ok(())
    }

    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.child.end().await
    }
}

/// For what is asked now and then.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(SHORT).build()?)
}
