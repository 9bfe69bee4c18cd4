//! Builds apps with database rows, and senders with credentials, from the configuration. Used at start and at reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;

use crate::config::{ApnsSettings, AppSettings, Config, FcmSettings, GoogleCredential, NetworkSettings};
use crate::domain::{App, AppLane, Apps, Environment, LaneKey, Platform, ProviderDefaults};
use crate::provider::proxy::Proxy;
use crate::provider::{Sender, SetupError, apns, fcm};
use crate::settings::Secret;
use crate::store;
use crate::store::Session;

/// Loads the configured apps, and inserts the rows of apps and lanes that are missing.
pub(super) async fn apps(conn: &mut Session, config: &Config) -> anyhow::Result<Apps> {
    let names: Vec<String> = config.apps.keys().cloned().collect();
    let rows = store::apps::ensure(conn, &names).await.context("apps can't be entered")?;
    let apps = rows.into_iter().filter_map(|row| {
        let settings = config.apps.get(&row.name)?;
        let lanes: BTreeMap<LaneKey, AppLane> = row
            .lanes
            .into_iter()
            .map(|(key, id)| (key, AppLane { id, configured: is_configured(settings, key.platform()) }))
            .collect();
        let app = App {
            id: row.id,
            name: row.name,
            lanes,
            defaults: defaults(settings),
            topics_max: config.limits.topics,
        };
        Some((app.id, Arc::new(app)))
    });
    Ok(apps.collect())
}

fn defaults(settings: &AppSettings) -> BTreeMap<Platform, ProviderDefaults> {
    let apns = settings.apns.as_ref();
    let apns = apns.map(|apns| (apns::PLATFORM, apns::defaults(apns.environment, &apns.topic)));
    let fcm = settings.fcm.as_ref().map(|fcm| (fcm::PLATFORM, fcm::defaults(fcm.channel.clone())));
    apns.into_iter().chain(fcm).collect()
}

/// Whether the app has credentials for a platform.
pub(super) fn is_configured(settings: &AppSettings, platform: Platform) -> bool {
    platform == apns::PLATFORM && settings.apns.is_some()
        || platform == fcm::PLATFORM && settings.fcm.is_some()
}

/// Most connections to APNs per lane. One carries some thousand requests a second, and Apple asks for few, long-lived
/// connections (docs/providers.md#apns-http2, #connection-failures).
const APNS_CONNECTIONS: usize = 4;
/// Most streams per connection to APNs. APNs may allow fewer.
const APNS_STREAMS: usize = 1000;
/// Most streams per connection to FCM (docs/providers.md#fcm-quotas).
const FCM_STREAMS: usize = 100;

/// Least and most connections to FCM per lane. `fcm_connections` chooses a number between the two.
const FCM_CONNECTIONS: (usize, usize) = (2, 64);
/// Connections of a lane that take no requests: two that drain, one to the token endpoint.
const OTHER_CONNECTIONS: usize = 3;

/// Most simultaneous connections to providers, over all lanes.
pub(super) fn connections_max(config: &Config) -> usize {
    let of_app = |app: &AppSettings| {
        let apns = app.apns.as_ref().map_or(0, |_| 2 * (APNS_CONNECTIONS + OTHER_CONNECTIONS));
        let fcm = app
            .fcm
            .as_ref()
            .map_or(0, |_| fcm_connections(config.delivery.max_in_flight) + OTHER_CONNECTIONS);
        apns + fcm
    };
    config.apps.values().map(of_app).sum()
}

/// Connections to FCM that `max_in_flight` requests need.
fn fcm_connections(max_in_flight: u32) -> usize {
    let in_flight = usize::try_from(max_in_flight).unwrap_or(usize::MAX);
    in_flight.div_ceil(FCM_STREAMS).clamp(FCM_CONNECTIONS.0, FCM_CONNECTIONS.1)
}

/// Every lane that the configuration has credentials for: the app's name and the lane's key.
pub(super) fn lanes(config: &Config) -> impl Iterator<Item = (&String, LaneKey)> {
    config.apps.iter().flat_map(|(name, settings)| {
        let known = crate::provider::built_in_platforms();
        let keys: Vec<LaneKey> =
            known.lanes().filter(|key| is_configured(settings, key.platform())).collect();
        keys.into_iter().map(move |key| (name, key))
    })
}

/// Builds the sender of one lane of an app. `None` if the app has no credentials for the lane.
///
/// # Errors
/// Fails if the credential, the endpoint or the CA file can't be used.
pub(super) async fn sender(
    app: &str,
    settings: &AppSettings,
    key: LaneKey,
    max_in_flight: u32,
    proxy: Option<Arc<Proxy>>,
) -> anyhow::Result<Option<Sender>> {
    let sender = match (key.environment(), &settings.apns, &settings.fcm) {
        (Some(environment), Some(apns), _) if key.platform() == apns::PLATFORM => {
            apns_sender(apns, environment, proxy)
        }
        (None, _, Some(fcm)) if key == fcm::LANE => fcm_sender(fcm, max_in_flight, proxy).await,
        _ => return Ok(None),
    };
    sender.map(Some).with_context(|| format!("lane {app}/{key} can't be set up"))
}

fn apns_sender(
    settings: &ApnsSettings,
    environment: Environment,
    proxy: Option<Arc<Proxy>>,
) -> anyhow::Result<Sender> {
    let client = apns::ApnsClient::new(apns::Settings {
        key: settings.key.expose().as_bytes().to_vec(),
        key_id: settings.key_id.clone(),
        team_id: settings.team_id.clone(),
        topic: settings.topic.clone(),
        environment,
        endpoint: settings.endpoint_of(environment).map(ToString::to_string),
        ca_file: settings.ca_file.as_ref().map(|ca| ca.path.clone()),
        proxy,
        connections: APNS_CONNECTIONS,
        max_streams: APNS_STREAMS,
    })
    .map_err(|error| name_source(error, settings.key.source()))?;
    Ok(client.into())
}

/// Adds the configuration key of the credential to an error about the credential.
fn name_source(error: SetupError, source: &str) -> anyhow::Error {
    let of_secret = match &error {
        SetupError::ApnsKey(error) => matches!(error, apns::KeyError::Key(_)),
        SetupError::GoogleCredential(_) => true,
        _ => false,
    };
    let error = anyhow::Error::new(error);
    if of_secret { error.context(format!("{source} can't be used")) } else { error }
}

async fn fcm_sender(
    settings: &FcmSettings,
    max_in_flight: u32,
    proxy: Option<Arc<Proxy>>,
) -> anyhow::Result<Sender> {
    let (credential, source) = google_credential(settings);
    let client = fcm::FcmClient::new(fcm::Settings {
        credential,
        channel: settings.channel.clone(),
        endpoint: settings.endpoint.as_ref().map(ToString::to_string),
        ca_file: settings.ca_file.as_ref().map(|ca| ca.path.clone()),
        connections: fcm_connections(max_in_flight),
        proxy,
        max_streams: FCM_STREAMS,
    })
    .await
    .map_err(|error| name_source(error, source))?;
    Ok(client.into())
}

/// The credential, and the configuration key that gave it.
fn google_credential(settings: &FcmSettings) -> (fcm::CredentialSettings, &str) {
    let project_id = settings.project_id.clone();
    let text = |secret: &Secret| secret.expose().to_owned();
    match &settings.credential {
        GoogleCredential::ServiceAccount(account) => {
            (fcm::CredentialSettings::ServiceAccount(text(account)), account.source())
        }
        GoogleCredential::ExternalAccount { account, subject_token } => {
            let (account, source) = (text(account), account.source());
            let subject_token = *subject_token;
            (fcm::CredentialSettings::ExternalAccount { account, project_id, subject_token }, source)
        }
        GoogleCredential::MetadataServer(endpoint) => {
            let endpoint = endpoint.clone();
            (fcm::CredentialSettings::MetadataServer { endpoint, project_id }, "credentials")
        }
    }
}

/// The configured HTTP proxy, if any.
pub(super) fn proxy(network: &NetworkSettings) -> Option<Arc<Proxy>> {
    let proxy = network.proxy.as_ref()?;
    Some(Arc::new(Proxy::new(proxy.expose(), &network.no_proxy)))
}
