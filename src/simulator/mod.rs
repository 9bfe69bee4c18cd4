//! STUB until the simulator is merged: what `cli::simulate` calls.

use std::future::Future;
use std::path::Path;

/// STUB.
#[derive(Debug, thiserror::Error)]
#[error("STUB: simulator")]
pub struct Error;

/// STUB.
#[derive(Debug)]
pub struct Simulator;

/// Ports; 0 takes a free one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    /// Production APNs.
    pub apns: u16,
    /// FCM and OAuth.
    pub fcm: u16,
    /// The control port.
    pub control: u16,
}

impl Simulator {
    /// STUB.
    pub fn apns_endpoint(&self) -> String {
        String::new()
    }

    /// STUB.
    pub fn fcm_endpoint(&self) -> String {
        String::new()
    }

    /// STUB.
    pub fn control_url(&self) -> Option<String> {
        None
    }
}

/// STUB.
pub async fn run_simulate(
    _dir: &Path,
    _ports: Ports,
    ready: impl FnOnce(&Simulator),
    _shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    ready(&Simulator);
    Err(Error)
}
