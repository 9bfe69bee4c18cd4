//! Checks a configuration further than reading it does: each lane's client is made, so that keys and certificates are
//! parsed, and a fault in one section hides none in another.

use super::app::ProviderSection;
use super::{Config, Error, Sources};
use crate::provider::{LaneOptions, SetupError};
use crate::settings::tree::{self, Table};
use crate::settings::{ConfigFault, ConfigFile, ContentHasher};

/// A configuration with all its faults.
#[derive(Debug)]
pub struct CheckedConfig {
    /// What could be read. Apps with a fault are left out, and other faulty values are the defaults.
    pub config: Config,
    /// Every fault, in the order of the places.
    pub faults: Vec<ConfigFault>,
    /// The files that the configuration names, and its own file where that holds a secret.
    pub files: Vec<ConfigFile>,
}

impl Sources {
    /// Reads the configuration, and parses the keys and certificates that it names. Asks nothing over the network.
    ///
    /// # Errors
    /// [`Error::Unreadable`]: the file can't be read.
    pub async fn check(&self) -> Result<CheckedConfig, Error> {
        let read = match self.read_with_faults(&ContentHasher::default()) {
            Ok(read) => read,
            // The file is not TOML.
            Err(Error::Faults(faults)) => {
                return Ok(CheckedConfig { config: Config::default(), faults, files: Vec::new() });
            }
            Err(unreadable) => return Err(unreadable),
        };
        let mut faults = read.faults;
        let max_in_flight = read.config.delivery.max_in_flight;
        for section in &read.sections {
            for fault in faults_of(section, max_in_flight, &read.table).await {
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(CheckedConfig { config: read.config, faults, files: read.files })
    }
}

/// The faults by which a lane of the section can't be set up. The lanes of a section may have the same fault.
async fn faults_of(section: &ProviderSection, max_in_flight: u32, table: &Table) -> Vec<ConfigFault> {
    let mut faults = Vec::new();
    for key in section.platform.lanes() {
        let opened = section.settings.open(LaneOptions { key, max_in_flight, proxy: None }).await;
        let path = format!("apps.{}.{}", section.app, section.platform);
        faults.extend(opened.err().map(|error| fault(&error, &path, table)));
    }
    faults
}

/// `section` is the section's path.
fn fault(error: &SetupError, section: &str, table: &Table) -> ConfigFault {
    let (key, message) = match error {
        SetupError::Credential { setting, source } => {
            // The setting has the file, the variable or the line behind the key.
            let key = setting.split(" (").next().unwrap_or(setting);
            let key = if key.starts_with(section) { key.to_owned() } else { format!("{section}.{key}") };
            (key, format!("can't be used: {source}"))
        }
        SetupError::Tls(error) => (format!("{section}.ca_file"), error.to_string()),
        SetupError::Setting(text) => {
            let first = text.split([' ', ':']).next().unwrap_or_default();
            let key = format!("{section}.{first}");
            let rest = text[first.len()..].trim_start_matches([' ', ':']);
            match tree::place_of(table, &key) {
                Some(_) => (key, rest.to_owned()),
                None => (section.to_owned(), text.clone()),
            }
        }
    };
    let place = tree::place_of(table, &key).or_else(|| tree::place_of(table, section)).cloned();
    ConfigFault { place, key, message, suggestion: None }
}
