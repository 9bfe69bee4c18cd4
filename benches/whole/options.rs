//! What is to be run, and how much of it.

use std::time::Duration;

use anyhow::bail;

/// The command line. Cargo adds `--bench`, which says nothing new.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Small enough to end within three minutes.
    pub(crate) quick: bool,
    /// Only these rows; empty: all.
    pub(crate) only: Vec<String>,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Devices of a broadcast.
    pub(crate) devices: u64,
    /// Devices of the largest broadcast.
    pub(crate) more_devices: u64,
    /// Pairs of bare run and broadcast.
    pub(crate) rounds: u32,
    /// Requests of a bare run.
    pub(crate) bare: u64,
    /// Notifications to one device each, at full speed.
    pub(crate) singles: u64,
    /// How long latencies are measured at a fixed rate.
    pub(crate) steady: Duration,
    /// Deliveries and devices that are there already.
    pub(crate) past_deliveries: u64,
    pub(crate) past_devices: u64,
    /// How long another session holds its snapshot.
    pub(crate) snapshot: Duration,
    /// Devices to import.
    pub(crate) imported: u64,
    /// How long an idle node is watched.
    pub(crate) idle: Duration,
    /// Turns of services that are compared, and notifications to one device each in a turn.
    pub(crate) turns: u32,
    pub(crate) turn_singles: u64,
    /// Pairs of a run with idempotency keys and one without.
    pub(crate) key_pairs: u32,
}

const WHOLE: Sizes = Sizes {
    devices: 1_000_000,
    more_devices: 5_000_000,
    rounds: 2,
    bare: 400_000,
    singles: 200_000,
    steady: Duration::from_secs(20),
    past_deliveries: 50_000_000,
    past_devices: 5_000_000,
    snapshot: Duration::from_secs(180),
    imported: 1_000_000,
    idle: Duration::from_secs(30),
    turns: 15,
    turn_singles: 20_000,
    key_pairs: 9,
};

const QUICK: Sizes = Sizes {
    devices: 100_000,
    more_devices: 200_000,
    rounds: 1,
    bare: 100_000,
    singles: 20_000,
    steady: Duration::from_secs(4),
    past_deliveries: 1_000_000,
    past_devices: 200_000,
    snapshot: Duration::from_secs(5),
    imported: 50_000,
    idle: Duration::from_secs(5),
    turns: 3,
    turn_singles: 5_000,
    key_pairs: 1,
};

impl Options {
    /// Reads the command line.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self { quick: false, only: Vec::new() };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--quick" => options.quick = true,
                "--only" => {
                    let rows = arguments.next().unwrap_or_default();
                    options.only.extend(rows.split(',').map(str::trim).map(str::to_owned));
                }
                other => bail!("{other} is not understood: there are --quick and --only ROW,ROW"),
            }
        }
        options.only.retain(|row| !row.is_empty());
        Ok(options)
    }

    /// How much of everything.
    pub(crate) fn sizes(&self) -> Sizes {
        if self.quick { QUICK } else { WHOLE }
    }

    /// Is this row to be run?
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == row)
    }

    /// The command that does the same.
    pub(crate) fn command(&self) -> String {
        let quick = if self.quick { " QUICK=1" } else { "" };
        let only =
            if self.only.is_empty() { String::new() } else { format!(" ONLY={}", self.only.join(",")) };
        format!("make bench{quick}{only}")
    }
}
