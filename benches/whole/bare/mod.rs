//! What the machine allows: a client that does nothing but write requests and read answers, on `h2` over rustls.
//!
//! One task per connection drives its many streams, so that nothing is woken, locked or handed over for a request. The
//! requests are a real notification's: the heads and bodies that the service would send, to tokens that differ.
//!
//! | file | what it is |
//! |---|---|
//! | `link` | one connection; `gather` makes few large writes of its many small ones |
//! | `credential` | a provider token for APNs, an access token for FCM |
//! | `push` | the requests |
//! | `rush` | as many as it can |
//! | `steady` | so many a second, one by one measured |

mod credential;
mod gather;
mod link;
mod push;
mod rush;
mod steady;

use std::time::Duration;

use anyhow::Context as _;
use pushpost::domain::Platform;
use pushpost::provider::apns;
use pushpost::provider::transport;
use serde_json::{Value, json};

use crate::simulator::{Places, Simulator};
use crate::usage::{Cpu, Meter};
use crate::wait::{SHORT, within};
use link::{Link, Origin};
use push::Push;

pub(crate) use steady::Sample;

/// As the service has it for APNs.
const CONNECTIONS: usize = 4;
/// In flight on all of them together.
const IN_FLIGHT: usize = 1000;
/// Before anything is counted: connections begin slowly, and so do caches.
const WARM_UP: u64 = 10_000;
/// A machine that can't do a thousand a second is not worth the wait.
const SLOWEST: u64 = 1000;

/// A bare client of one provider.
pub(crate) struct Bare {
    platform: Platform,
    origin: Origin,
    push: Push,
    in_flight: usize,
}

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    /// Requests a second.
    pub(crate) rate: f64,
    requests: u64,
    cpu: Cpu,
}

impl Speed {
    /// For the report.
    pub(crate) fn facts(&self) -> Value {
        let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / self.requests as f64;
        json!({
            "rate": self.rate,
            "client_cpu_s_per_million": per_million(self.cpu.harness),
            "simulator_cpu_s_per_million": per_million(self.cpu.simulator),
        })
    }

    /// CPU seconds of client and server for a million requests.
    pub(crate) fn cpu_text(&self) -> String {
        let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / self.requests as f64;
        let (client, server) = (per_million(self.cpu.harness), per_million(self.cpu.simulator));
        format!("client {client:.1}, simulator {server:.1} CPU s per million")
    }
}

impl Bare {
    /// Reads the credentials that the simulator wrote.
    pub(crate) async fn new(platform: Platform, simulator: &Simulator) -> anyhow::Result<Self> {
        let places: &Places = simulator.places();
        let tls = transport::tls(Some(&places.dir.join("ca.pem")))?;
        let is_apns = platform == apns::PLATFORM;
        let endpoint = if is_apns { &places.apns } else { &places.fcm };
        let origin = Origin::new(endpoint, tls)?;
        let bearer = if is_apns {
            credential::provider_token(&places.dir)?
        } else {
            let asked = credential::access_token(&places.dir, &origin);
            within(SHORT, "getting an access token", asked).await?
        };
        let push = Push::new(platform, origin.authority().clone(), &bearer)?;
        Ok(Self { platform, origin, push, in_flight: IN_FLIGHT })
    }

    /// With so many in flight on all connections together.
    pub(crate) fn with_in_flight(self, in_flight: usize) -> Self {
        Self { in_flight, ..self }
    }

    /// So many requests, as fast as it can.
    pub(crate) async fn rush(&self, requests: u64, meter: &Meter) -> anyhow::Result<Speed> {
        let limit = SHORT + Duration::from_secs((requests + WARM_UP) / SLOWEST);
        let each = self.in_flight / CONNECTIONS;
        let rushed = async {
            let links = self.links().await?;
            let (links, _) = rush::run(links, &self.push, WARM_UP, each).await?;
            let before = meter.read()?;
            let (_, took) = rush::run(links, &self.push, requests, each).await?;
            let cpu = meter.read()? - before;
            Ok(Speed { rate: requests as f64 / took.as_secs_f64(), requests, cpu })
        };
        within(limit, &format!("the bare client of {}", self.platform), rushed).await
    }

    /// So many requests a second for so long, each with a notification's id of its own.
    pub(crate) async fn steady(&self, rate: u64, time: Duration) -> anyhow::Result<Vec<Sample>> {
        let measured = async {
            let (links, _) = rush::run(self.links().await?, &self.push, WARM_UP, 1).await?;
            steady::run(links, &self.push, rate, time).await
        };
        within(SHORT + time, &format!("the bare client of {} at {rate}/s", self.platform), measured).await
    }

    async fn links(&self) -> anyhow::Result<Vec<Link>> {
        let mut links = Vec::new();
        for _ in 0..CONNECTIONS {
            links.push(Link::open(&self.origin).await.context("the bare client can't connect")?);
        }
        Ok(links)
    }
}
