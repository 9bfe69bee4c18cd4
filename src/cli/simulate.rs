//! `pushpost simulate`: runs the stand-ins for APNs, FCM and Google's OAuth, for trying Pushpost without credentials.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::command_error::CommandError;
use super::output;
use super::signals::StopSignals;
use crate::domain::parse_duration;
use pushpost_simulator::{ApnsSettings, FcmSettings, LedgerMode, Settings, Simulator};

/// Run stand-ins for APNs, FCM and Google's OAuth
///
/// They speak TLS and HTTP/2 and check requests as strictly as the providers. DIR gets a CA, a .p8, a service account
/// and a configuration for `pushpost serve`; the control port takes scripts and shows the received requests.
#[derive(Args, Debug)]
pub(super) struct SimulateArgs {
    /// The folder for the files that a sender needs
    #[arg(long, value_name = "DIR", default_value = "./pushpost-simulator")]
    dir: PathBuf,
    /// Port of APNs; 0 for a free one
    #[arg(long, value_name = "N", default_value_t = 9443)]
    apns_port: u16,
    /// Port of FCM and OAuth; 0 for a free one
    #[arg(long, value_name = "N", default_value_t = 9444)]
    fcm_port: u16,
    /// Port for scripts and the ledger, with plain HTTP; 0 for a free one
    #[arg(long, value_name = "N", default_value_t = 9445)]
    control_port: u16,
    /// Delay of each answer
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = parse_duration)]
    latency: Duration,
    /// Concurrent streams that APNs allows on a connection
    #[arg(long, value_name = "N", default_value_t = ApnsSettings::default().streams)]
    apns_streams: u32,
    /// Concurrent streams that FCM allows on a connection
    #[arg(long, value_name = "N", default_value_t = FcmSettings::default().streams)]
    fcm_streams: u32,
    /// What the ledger keeps of the received requests
    #[arg(long, value_enum, default_value = "full")]
    ledger: LedgerContent,
    /// Print the addresses and paths as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum LedgerContent {
    /// Every request with headers and body
    Full,
    /// Counters of requests only
    Counts,
    /// Counters, and the time of each notification's first arrival
    Arrivals,
}

impl SimulateArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let mut signals = StopSignals::catch()?;
        let ready = |simulator: &Simulator| {
            // The stand-ins also run without a reader of stdout.
            let _ = output::line(&self.addresses(simulator));
        };
        let ran = pushpost_simulator::run_simulate(&self.dir, self.settings(), ready, signals.next()).await;
        Ok(ran.map_err(anyhow::Error::from)?)
    }

    fn settings(&self) -> Settings {
        Settings {
            apns_port: self.apns_port,
            fcm_port: self.fcm_port,
            control_port: Some(self.control_port),
            apns: ApnsSettings { streams: self.apns_streams, ..ApnsSettings::default() },
            fcm: FcmSettings { streams: self.fcm_streams, ..FcmSettings::default() },
            latency: self.latency,
            ledger: match self.ledger {
                LedgerContent::Full => LedgerMode::Full,
                LedgerContent::Counts => LedgerMode::Counts,
                LedgerContent::Arrivals => LedgerMode::Arrivals,
            },
            ..Settings::default()
        }
    }

    fn addresses(&self, simulator: &Simulator) -> String {
        let (apns, fcm) = (simulator.apns_endpoint(), simulator.fcm_endpoint());
        let sandbox = simulator.sandbox_endpoint().unwrap_or_default();
        let control = simulator.control_url().unwrap_or_default();
        let dir = self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone());
        let config = dir.join("pushpost.toml");
        if self.json {
            return json!({"apns": apns, "sandbox": sandbox, "fcm": fcm, "control": control, "dir": dir, "config": config})
                .to_string();
        }
        format!(
            "APNs     {apns}\nsandbox  {sandbox}\nFCM      {fcm}\ncontrol  {control}\nconfig   {config}\n\nTry: pushpost serve --config {config}",
            config = config.display()
        )
    }
}
