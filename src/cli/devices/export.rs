//! `pushpost devices export`: prints the devices of an app as NDJSON, page by page.

use std::io::{BufWriter, ErrorKind, IsTerminal as _, Write};

use anyhow::Context as _;
use clap::Args;

use crate::api::devices::export;
use crate::cli::command_error::CommandError;
use crate::cli::config_args::ConfigArgs;
use crate::cli::{database, progress};
use crate::config::Config;
use crate::domain::{App, DeviceId, InstallationKey};
use crate::registry::device_list;
use crate::runtime::{Database, SchemaAccess};
use crate::store::devices::DeviceFilter;

/// Devices per query.
const PAGE: usize = 1000;

/// Export devices as NDJSON on stdout, one line per device, in the format of devices import
///
/// Devices that are quarantined, or known from sends only, are left out, because an import would make active ones of
/// them. With --all they are included, and each line is a device as the API shows it. Lines contain tokens: keep them
/// secret.
#[derive(Args, Debug)]
pub(super) struct Export {
    /// The app, by its name in the configuration; may be left out if there is only one
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// Export every device, as the API shows it
    #[arg(long)]
    all: bool,
    /// Start after this device (dev_…), to continue an export
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What has been exported so far.
struct Written {
    after: DeviceId,
    lines: u64,
}

impl Export {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let config = self.config.load()?;
        let name = database::resolve_app(&config, self.app.as_deref())?;
        let database = database::open(&config, SchemaAccess::Use).await?;
        let exported = self.export(&database, &config, name).await;
        database.close().await?;
        exported
    }

    async fn export(&self, database: &Database, config: &Config, name: &str) -> Result<(), CommandError> {
        let app = database::app(database, config, name).await?;
        let key = database.installation_key().await?;
        let mut written = Written { after: self.after(&app, &key)?, lines: 0 };
        // The bar is hidden if stdout is a terminal too, because both would overwrite each other.
        let bar = progress::bar(None, !std::io::stdout().is_terminal());
        let mut out = BufWriter::new(std::io::stdout().lock());
        let done = loop {
            match self.page(database, &app, &key, &mut written, &mut out).await {
                Ok(true) => bar.set_message(format!("{} devices", written.lines)),
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        bar.finish_and_clear();
        done.map_err(|error| match written.after {
            DeviceId(0) => CommandError::from(error),
            last => {
                let id = key.device_id(app.id, last);
                CommandError::from(error).hint(format!("continue with --after {id}"))
            }
        })
    }

    fn after(&self, app: &App, key: &InstallationKey) -> Result<DeviceId, CommandError> {
        let Some(id) = &self.after else { return Ok(DeviceId(0)) };
        let parsed = key.parse_device_id(app.id, id);
        parsed.map_err(|_| {
            CommandError::usage("that is not the id of a device of this app").hint("an id begins with dev_")
        })
    }

    /// Writes the next page. False: there are no more devices, or stdout is closed.
    async fn page(
        &self,
        database: &Database,
        app: &App,
        key: &InstallationKey,
        written: &mut Written,
        out: &mut impl Write,
    ) -> anyhow::Result<bool> {
        let every = DeviceFilter::default();
        let devices = device_list::list(database.pool(), app.id, &every, written.after, PAGE).await?.devices;
        let Some(last) = devices.last().map(|known| known.device.id) else { return Ok(false) };
        let line = |known| {
            if self.all { Some(export::full_line(key, known)) } else { export::importable_line(known) }
        };
        let lines: Vec<String> = devices.iter().filter_map(line).map(|line| line + "\n").collect();
        match out.write_all(lines.concat().as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => {}
            // A closed pipe, as `head` leaves it, is no failure.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => return Err(error).context("cannot write to stdout"),
        }
        written.lines += lines.len() as u64;
        written.after = last;
        Ok(true)
    }
}
