//! `pushpost demo`: everything on one machine, with no configuration.

use clap::Args;

use super::failure::Failure;

/// Show everything on one machine, with no configuration
///
/// Starts a Postgres of its own, stand-ins for APNs and FCM, the API and the workers; registers devices, sends, and
/// ends with a table that is checked against what the stand-ins received.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// Devices to register
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    devices: u32,
    /// Notifications to send
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    notifications: u32,
    /// End when all is sent: 0 only if every device's outcome is what the stand-ins' ledger says
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { devices, notifications, once } = self;
        Err(Failure::failed(format_args!(
            "STUB: demo of {devices} devices, {notifications} notifications ({once})"
        )))
    }
}
