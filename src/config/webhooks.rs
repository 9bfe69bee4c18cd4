//! `[webhooks]`, `[[apps.<name>.webhooks]]` and `webhook_hosts`: where events are posted to, and where they may be.

use std::cell::Cell;
use std::time::Duration;

use crate::domain::{
    EventTypes, Network, WebhookName, WebhookRetryPolicy, WebhookSecret, is_host_name, nearest,
};
use crate::events::DeviceDetail;
use crate::events::webhooks::{
    BATCH_EVENTS_MAX, DeclaredWebhooks, SECRETS_MAX, WebhookSettings, WebhookTypes, WebhookUrl,
};
use crate::settings::{Secret, Section};

/// Webhooks of an app at most. Each has series of metrics.
const WEBHOOKS_MAX: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// The settings of the section `[webhooks]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookLimits {
    /// Networks that are not public and may be connected to all the same.
    pub allow_networks: Vec<Network>,
    /// Webhooks that a node serves at the same time.
    pub max_in_flight: u16,
    /// When failed messages are repeated, and when a webhook is given up.
    pub retry: WebhookRetryPolicy,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self { allow_networks: Vec::new(), max_in_flight: 16, retry: WebhookRetryPolicy::default() }
    }
}

impl WebhookLimits {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let retry_after = section.durations("retry_after", Duration::from_millis(1)..=DAY);
        if retry_after.as_ref().is_some_and(Vec::is_empty) {
            section.fault("retry_after", "must have at least one wait");
        }
        let settings = Self {
            allow_networks: section.parsed_list("allow_networks", Network::parse).unwrap_or_default(),
            max_in_flight: u16::try_from(section.integer("max_in_flight", 1..=256, 16)).unwrap_or(16),
            retry: WebhookRetryPolicy {
                retry_after: retry_after.unwrap_or(default.retry.retry_after),
                disable_after: section.duration(
                    "disable_after",
                    MINUTE..=365 * DAY,
                    default.retry.disable_after,
                ),
            },
        };
        section.finish();
        settings
    }
}

/// What the rest of the configuration does not have, so that some webhooks can't work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WebhookLacks {
    /// It keeps no events, so that no webhook could get any.
    pub(super) events: bool,
    /// It allows no network, so that nothing could be reached by `http`.
    pub(super) networks: bool,
}

/// Reads both keys of an app. None: one of them has a fault.
pub(super) fn read(app: &mut Section<'_>, lacks: WebhookLacks) -> Option<DeclaredWebhooks> {
    let sections = app.section_list("webhooks");
    if lacks.events && !sections.is_empty() {
        app.fault("webhooks", "needs events, but retention.events is \"0s\"");
    }
    if sections.len() > WEBHOOKS_MAX {
        app.fault("webhooks", format!("has more than {WEBHOOKS_MAX} webhooks"));
    }
    let read: Vec<_> = sections.into_iter().map(|section| webhook(section, lacks)).collect();
    let names: Vec<_> = read.iter().flatten().map(|webhook| &webhook.name).collect();
    if let Some(twice) = (1..names.len()).find(|index| names[..*index].contains(&names[*index])) {
        app.fault("webhooks", format!("two webhooks have the name \"{}\"", names[twice]));
    }
    let hosts = app.parsed_list("webhook_hosts", host).unwrap_or_default();
    Some(DeclaredWebhooks { webhooks: read.into_iter().collect::<Option<_>>()?, hosts })
}

fn webhook(mut section: Section<'_>, lacks: WebhookLacks) -> Option<WebhookSettings> {
    let name = section.parsed("name", WebhookName::parse);
    let name = section.required("name", name);
    let url = section.parsed("url", WebhookUrl::parse);
    let url = section.required("url", url);
    if lacks.networks
        && let Some(url) = url.as_ref().filter(|url| !url.is_https())
    {
        section.fault("url", unreachable_by_http(url));
    }
    let secrets = secrets(&mut section);
    let has_type = Cell::new(false);
    let types = section.parsed_list("types", |text| {
        has_type.set(true);
        event_types(text)
    });
    let types = types.map(WebhookTypes::parse);
    if types.is_some() && !has_type.get() {
        section.fault("types", "names none, so nothing would be sent");
    }
    let devices = section.parsed("devices", |text| {
        DeviceDetail::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == text)
            .ok_or("must be \"all\", \"failed\" or \"none\"")
    });
    let batch_max = section.integer("batch_max", 1..=BATCH_EVENTS_MAX.into(), BATCH_EVENTS_MAX.into());
    let ca_file = section.ca_file("ca_file");
    section.finish();
    Some(WebhookSettings {
        name: name?,
        url: url?,
        secrets: secrets?.into(),
        types: types.and_then(Result::ok).unwrap_or_default(),
        devices: devices.unwrap_or_default(),
        batch_max: u16::try_from(batch_max).unwrap_or(BATCH_EVENTS_MAX),
        ca_file,
    })
}

/// The fault of an `http` URL while no network is allowed. It shows neither path nor query.
fn unreachable_by_http(url: &WebhookUrl) -> String {
    let network = url.address().map_or_else(|| "10.0.0.0/8".to_owned(), |address| address.to_string());
    format!(
        "http reaches networks of webhooks.allow_networks alone, which names none; use https, or set webhooks.allow_networks to the \
         network of {}, such as [\"{network}\"]",
        url.host()
    )
}

/// The fault of a secret names the file or the list, never the text.
fn secrets(section: &mut Section<'_>) -> Option<Vec<WebhookSecret>> {
    let given = section.secrets("secrets", "secret_files")?;
    let key = if given.iter().any(|secret| secret.file().is_some()) { "secret_files" } else { "secrets" };
    if !(1..=SECRETS_MAX).contains(&given.len()) {
        section.fault(key, format!("must have 1 to {SECRETS_MAX} secrets"));
    }
    let parse = |secret: &Secret| {
        let parsed = WebhookSecret::parse(secret.expose());
        let place = secret.file().map(|file| format!("{}: ", file.display())).unwrap_or_default();
        parsed.map_err(|error| section.fault(key, format!("{place}{error}"))).ok()
    };
    let secrets: Vec<_> = given.iter().map(parse).collect();
    secrets.into_iter().collect()
}

fn event_types(text: &str) -> Result<String, String> {
    match EventTypes::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => {
            let known = EventTypes::patterns();
            let meant = nearest(text, known.iter().map(String::as_str));
            let meant = meant.map(|meant| format!("; the nearest one is \"{meant}\"")).unwrap_or_default();
            Err(format!("{text:?} is no type of events{meant}"))
        }
    }
}

/// A host name or an address, as URLs have it, without port.
fn host(text: &str) -> Result<String, &'static str> {
    let fault = "must be host names or addresses, without scheme, port and wildcard";
    if is_host_name(text) { Ok(text.to_ascii_lowercase()) } else { Err(fault) }
}
