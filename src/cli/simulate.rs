//! `pushpost simulate`: the stand-ins for APNs, FCM and Google's OAuth, alone.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::output;
use super::signals::Signals;
use crate::simulator::{self, Ports, Simulator};

/// Run stand-ins for APNs, FCM and Google's OAuth
///
/// They speak TLS and HTTP/2 and are as strict as the providers. DIR gets a CA, a .p8, a service account and a
/// ready configuration for `pushpost serve`; the control port takes scripts and shows what was received.
#[derive(Args, Debug)]
pub(super) struct Simulate {
    /// Where to write what a sender needs
    #[arg(long, value_name = "DIR", default_value = "./pushpost-simulator")]
    dir: PathBuf,
    /// Port of APNs; 0: a free one
    #[arg(long, value_name = "N", default_value_t = 9443)]
    apns_port: u16,
    /// Port of FCM and OAuth; 0: a free one
    #[arg(long, value_name = "N", default_value_t = 9444)]
    fcm_port: u16,
    /// Port of scripts and ledger, plain HTTP; 0: a free one
    #[arg(long, value_name = "N", default_value_t = 9445)]
    control_port: u16,
    /// Say where everything is as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Simulate {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let ports = Ports { apns: self.apns_port, fcm: self.fcm_port, control: self.control_port };
        let mut signals = Signals::catch()?;
        let ready = |simulator: &Simulator| {
            // Nobody to tell is no reason not to serve.
            let _ = output::line(&self.where_it_is(simulator));
        };
        let ran = simulator::run_simulate(&self.dir, ports, ready, signals.next()).await;
        Ok(ran.map_err(anyhow::Error::from)?)
    }

    fn where_it_is(&self, simulator: &Simulator) -> String {
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
