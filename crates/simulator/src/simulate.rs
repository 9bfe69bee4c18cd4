//! The simulator as a command: what `pushpost simulate` does, but for printing.

use std::future::Future;
use std::path::Path;

use super::{Error, Settings, Simulator};

/// `pushpost simulate`: starts, writes the files, tells `ready`, and serves until `shutdown`.
///
/// # Errors
/// As [`Simulator::start`] and [`Simulator::write_files`].
pub async fn run_simulate(
    dir: &Path,
    settings: Settings,
    ready: impl FnOnce(&Simulator),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let simulator = Simulator::start(settings).await?;
    simulator.write_files(dir)?;
    ready(&simulator);
    shutdown.await;
    simulator.stop().await;
    Ok(())
}
