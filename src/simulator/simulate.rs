//! The simulator as a command: what `pushpost simulate` does, but for printing.

use std::future::Future;
use std::path::Path;

use super::{Error, Settings, Simulator};

/// Ports for [`run_simulate`]; 0 takes a free one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    /// Production APNs.
    pub apns: u16,
    /// FCM and OAuth.
    pub fcm: u16,
    /// The control port.
    pub control: u16,
}

/// `pushpost simulate`: starts, writes the files, tells `ready`, and serves until `shutdown`.
///
/// # Errors
/// As [`Simulator::start`] and [`Simulator::write_files`].
pub async fn run_simulate(
    dir: &Path,
    ports: Ports,
    ready: impl FnOnce(&Simulator),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let settings = Settings {
        apns_port: ports.apns,
        fcm_port: ports.fcm,
        control_port: Some(ports.control),
        ..Settings::default()
    };
    let simulator = Simulator::start(settings).await?;
    simulator.write_files(dir)?;
    ready(&simulator);
    shutdown.await;
    simulator.stop().await;
    Ok(())
}
