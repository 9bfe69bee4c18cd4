//! Finds the environment variables that set a configuration key, and those that only look like it.
//!
//! A misspelt variable is a fault or a warning, because otherwise the service would start with a default, such as an
//! empty database of its own.

use std::collections::BTreeSet;

use super::Config;
use crate::provider::Providers;
use crate::settings::tree::{Node, Table, Value};
use crate::settings::{ConfigFault, ContentHasher, ReadContext, Section, SettingPlace};

/// The prefix of variables that set a key.
const PREFIX: &str = "PUSHPOST__";
/// The prefix of all variables of Pushpost.
const OWN: &str = "PUSHPOST_";
/// The variable in which most platforms pass the URL of a database.
const DATABASE_URL: &str = "DATABASE_URL";
/// Variables that other programs use for the URL of a database. They are not read; there is a warning if no database is
/// configured.
const OTHER_DATABASE_URLS: [&str; 6] =
    ["DB_URL", "DATABASE_URI", "DATABASE_DSN", "POSTGRES_URL", "POSTGRESQL_URL", "PG_URL"];
/// Names after [`OWN`] of variables that set no key: for the log, the command line and the tests.
const NOT_KEYS: [&str; 6] = ["CONFIG", "LOG", "LOG_FORMAT", "KEY", "URL", "TEST_SEED"];
/// The placeholder for the name of an app in [`Keys`].
const ANY_APP: &str = "*";

/// A variable that sets a key: the key as `SERVER__LISTEN`, its place and its value.
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) place: SettingPlace,
    pub(super) text: String,
}

/// The settings of an environment, sorted by the names of their variables, and the faults of misspelt variables. An
/// empty variable counts as not set.
pub(super) fn settings(
    environment: impl Iterator<Item = (String, String)>,
    providers: &Providers,
) -> (Vec<Setting>, Vec<ConfigFault>) {
    let mut variables: Vec<_> = environment.filter(|(_, value)| !value.is_empty()).collect();
    variables.sort();
    let has_own_url = variables.iter().any(|(name, _)| {
        name.strip_prefix(PREFIX).is_some_and(|key| matches!(key, "DATABASE__URL" | "DATABASE__URL_FILE"))
    });
    let keys = Keys::known(providers);
    let (mut settings, mut faults) = (Vec::new(), Vec::new());
    for (name, text) in variables {
        let key = match name.strip_prefix(PREFIX) {
            Some(key) => key.to_owned(),
            None if name == DATABASE_URL && !has_own_url => "DATABASE__URL".to_owned(),
            None => match misspelt(&name, &keys) {
                Some(fault) => {
                    faults.push(fault);
                    continue;
                }
                None => continue,
            },
        };
        match keys.misplaced(&key) {
            Some(meant) => faults.push(unknown(&name, &meant)),
            None => settings.push(Setting { key, place: SettingPlace::Variable(name), text }),
        }
    }
    (settings, faults)
}

/// The variables that look like those of Pushpost or of a database and have no effect, each with the variable that may
/// be meant. For the log of a start.
pub(super) fn without_effect<'a>(
    names: impl Iterator<Item = &'a str>,
    has_database: bool,
    providers: &Providers,
) -> impl Iterator<Item = (&'a str, Option<String>)> {
    let keys = Keys::known(providers);
    names.filter_map(move |name| match name.strip_prefix(OWN) {
        Some(rest) => {
            let is_ours = !rest.starts_with('_') && !NOT_KEYS.contains(&rest) && !is_set_by_kubernetes(rest);
            is_ours.then(|| (name, keys.ending_with(rest)))
        }
        None => {
            let is_database = !has_database && OTHER_DATABASE_URLS.contains(&name);
            is_database.then(|| (name, Some(DATABASE_URL.to_owned())))
        }
    })
}

/// The fault of a variable that is a key with single underscores, such as `PUSHPOST_DATABASE_URL`.
fn misspelt(name: &str, keys: &Keys) -> Option<ConfigFault> {
    let rest = name.strip_prefix(OWN)?;
    if NOT_KEYS.contains(&rest) || is_set_by_kubernetes(rest) {
        return None;
    }
    keys.with_words_of(rest).map(|meant| unknown(name, &meant))
}

fn unknown(name: &str, meant: &str) -> ConfigFault {
    ConfigFault {
        place: Some(SettingPlace::Variable(name.to_owned())),
        key: String::new(),
        message: "not a configuration key".to_owned(),
        suggestion: Some(meant.to_owned()),
    }
}

/// Whether Kubernetes sets this variable, as it does for every service of a namespace, for example one named `pushpost`
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_set_by_kubernetes(rest: &str) -> bool {
    // As `*SERVICE_HOST`, `*SERVICE_PORT*`, `*PORT` and `*PORT_<n>_*`.
    let has_numbered_port = || {
        rest.match_indices("PORT_").any(|(at, port)| {
            let after = rest.get(at + port.len()..).unwrap_or_default();
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            digits > 0 && after.as_bytes().get(digits) == Some(&b'_')
        })
    };
    rest.ends_with("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest.ends_with("PORT")
        || has_numbered_port()
}

/// Every key that a variable can set: `database.url`, or `apps.*.apns.key_id` for any app.
struct Keys(BTreeSet<String>);

impl Keys {
    /// Runs the readers of all sections and collects the keys that they look up, so that there is no second list of
    /// keys.
    fn known(providers: &Providers) -> Self {
        let empty = || Node { value: Value::Table(Table::new()), place: None };
        let sections = providers.iter().map(|provider| provider.platform().as_str()).chain(["user_tokens"]);
        let sections = sections.map(|name| (name.to_owned(), empty())).collect();
        let app = Node { value: Value::Table(sections), place: None };
        let apps = Node { value: Value::Table(Table::from([(ANY_APP.to_owned(), app)])), place: None };
        let table = Table::from([("apps".to_owned(), apps)]);
        let hasher = ContentHasher::default();
        let reading = ReadContext::new(std::path::PathBuf::new(), Vec::new(), &hasher);
        let root = Section::root(&reading, &table);
        let _defaults = Config::read(root, &[], providers.clone(), &mut Vec::new());
        let all = reading.into_keys();
        let is_table = |key: &String| all.iter().any(|other| other.starts_with(&format!("{key}.")));
        Self(all.iter().filter(|key| !is_table(key)).cloned().collect())
    }

    /// The variable for the key that has the words of `rest` (`DATABASE_URL`), however they are separated.
    fn with_words_of(&self, rest: &str) -> Option<String> {
        let rest = flat(rest);
        self.0.iter().find_map(|key| match key.split_once(ANY_APP) {
            None => (flat(key) == rest).then(|| variable(key)),
            Some((before, after)) => {
                let app = rest.strip_prefix(&flat(before))?.strip_suffix(&flat(after))?;
                let app = app.strip_prefix('_')?.strip_suffix('_')?;
                (!app.is_empty()).then(|| variable(&key.replace(ANY_APP, app)))
            }
        })
    }

    /// The variable for the key that ends with `rest`, if there is one such key outside of apps: `database.data_dir`
    /// for `DATA_DIR`.
    fn ending_with(&self, rest: &str) -> Option<String> {
        if OTHER_DATABASE_URLS.contains(&rest) {
            return Some(variable("database.url"));
        }
        let end = format!("_{}", flat(rest));
        let mut found = self.0.iter().filter(|key| !key.contains(ANY_APP) && flat(key).ends_with(&end));
        let only = found.next()?;
        found.next().is_none().then(|| variable(only))
    }

    /// The variable that is meant by `SERVER_LISTEN` or `DATABASE__MAX__CONNECTIONS`; none if `key` is right.
    fn misplaced(&self, key: &str) -> Option<String> {
        let own = format!("{PREFIX}{key}");
        let meant = self.with_words_of(key)?;
        // The name of an app may contain underscores.
        (!meant.eq_ignore_ascii_case(&own) && !self.is_key(key)).then_some(meant)
    }

    fn is_key(&self, key: &str) -> bool {
        let path = key.to_lowercase().replace("__", ".");
        let mut parts: Vec<_> = path.split('.').collect();
        if parts.first() == Some(&"apps") && parts.len() > 2 {
            parts[1] = ANY_APP;
        }
        self.0.contains(&parts.join("."))
    }
}

/// Lower case, with one underscore between words.
fn flat(key: &str) -> String {
    let words = key.split(['.', '_', '-']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_lowercase()
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unused<'a>(
        names: impl IntoIterator<Item = &'a str>,
        has_database: bool,
    ) -> Vec<(&'a str, Option<String>)> {
        without_effect(names.into_iter(), has_database, &Providers::default()).collect()
    }

    fn meant(name: &str) -> Vec<String> {
        let variables = [(name.to_owned(), "x".to_owned())].into_iter();
        settings(variables, &Providers::default())
            .1
            .into_iter()
            .filter_map(|fault| fault.suggestion)
            .collect()
    }

    #[test]
    fn keys_with_single_underscores_are_faults_with_the_right_variable() {
        for (name, right) in [
            ("PUSHPOST_DATABASE_URL", "PUSHPOST__DATABASE__URL"),
            ("PUSHPOST_DATABASE__URL", "PUSHPOST__DATABASE__URL"),
            ("PUSHPOST__DATABASE_URL", "PUSHPOST__DATABASE__URL"),
            ("PUSHPOST_SERVER_LISTEN", "PUSHPOST__SERVER__LISTEN"),
            ("PUSHPOST__DATABASE__MAX__CONNECTIONS", "PUSHPOST__DATABASE__MAX_CONNECTIONS"),
            ("PUSHPOST_APPS_SHOP_APNS_KEY_ID", "PUSHPOST__APPS__SHOP__APNS__KEY_ID"),
            (
                "PUSHPOST_APPS_MY_SHOP_FCM_SERVICE_ACCOUNT_FILE",
                "PUSHPOST__APPS__MY_SHOP__FCM__SERVICE_ACCOUNT_FILE",
            ),
        ] {
            assert_eq!(meant(name), [right], "{name}");
        }
    }

    #[test]
    fn valid_and_foreign_variables_are_no_faults() {
        for name in [
            "PUSHPOST__DATABASE__URL",
            "PUSHPOST__APPS__MY_SHOP__APNS__KEY_ID",
            "PUSHPOST_CONFIG",
            "PUSHPOST_LOG",
            "PUSHPOST_URL",
            "PUSHPOST_COLOUR",
            "PUSHPOST_SERVER",
            "DATABASE_URL",
            "HOME",
        ] {
            assert_eq!(meant(name), [""; 0], "{name}");
        }
    }

    /// The variables of a pod beside services `pushpost`, `pushpost-server` and `pushpost-db`.
    const KUBERNETES: [&str; 10] = [
        "PUSHPOST_SERVICE_HOST",
        "PUSHPOST_SERVICE_PORT",
        "PUSHPOST_SERVICE_PORT_HTTP",
        "PUSHPOST_PORT",
        "PUSHPOST_PORT_8080_TCP",
        "PUSHPOST_PORT_8080_TCP_ADDR",
        "PUSHPOST_SERVER_SERVICE_HOST",
        "PUSHPOST_SERVER_PORT_80_TCP_PROTO",
        "PUSHPOST_DB_PORT",
        "PUSHPOST_DB_PORT_5432_TCP_PORT",
    ];

    #[test]
    fn variables_of_kubernetes_are_ignored() {
        for name in KUBERNETES {
            assert_eq!(meant(name), [""; 0], "{name}");
        }
        assert_eq!(unused(KUBERNETES, false), []);
    }

    #[test]
    fn variables_without_effect_are_found() {
        let names = ["PUSHPOST_COLOUR", "PUSHPOST_PORTS", "PUSHPOST_LOG", "PUSHPOST__X", "DB_URL", "HOME"];
        let found: Vec<_> = unused(names, false).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, ["PUSHPOST_COLOUR", "PUSHPOST_PORTS", "DB_URL"]);
        let found: Vec<_> = unused(names, true).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, ["PUSHPOST_COLOUR", "PUSHPOST_PORTS"]);
    }

    #[test]
    fn key_with_the_same_end_is_suggested() {
        for (name, meant) in [
            ("PUSHPOST_DATA_DIR", Some("PUSHPOST__DATABASE__DATA_DIR")),
            ("PUSHPOST_KEEP_ALIVE", Some("PUSHPOST__SERVER__KEEP_ALIVE")),
            ("PUSHPOST_DB_URL", Some("PUSHPOST__DATABASE__URL")),
            ("DB_URL", Some("DATABASE_URL")),
            // Keys of several sections end like this.
            ("PUSHPOST_TIMEOUT", None),
            ("PUSHPOST_COLOUR", None),
        ] {
            assert_eq!(unused([name], false), [(name, meant.map(str::to_owned))]);
        }
    }
}
