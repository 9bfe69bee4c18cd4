//! Builds apps with database rows, and senders with credentials, from the configuration. Used at start and at reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;

use crate::config::{AppSettings, Config, NetworkSettings};
use crate::domain::{App, AppLane, Apps, LaneKey};
use crate::provider::proxy::Proxy;
use crate::provider::{LaneOptions, Sender};
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
            .map(|(key, id)| {
                let configured = settings.providers.contains_key(&key.platform());
                (key, AppLane { id, configured })
            })
            .collect();
        let defaults = settings.providers.iter().map(|(platform, of)| (*platform, of.defaults())).collect();
        let user_tokens = settings.user_tokens.as_ref().map(|tokens| Arc::new(tokens.verifier()));
        let topics_max = config.limits.topics;
        let cleanups = settings.cleanups.clone();
        let app = App { id: row.id, name: row.name, lanes, defaults, topics_max, user_tokens, cleanups };
        Some((app.id, Arc::new(app)))
    });
    Ok(apps.collect())
}

/// Most simultaneous connections to providers, over all lanes.
pub(super) fn connections_max(config: &Config) -> usize {
    let sections = config.apps.values().flat_map(|app| app.providers.values());
    sections.map(|settings| settings.connections_max(config.delivery.max_in_flight)).sum()
}

/// Every lane that the configuration has credentials for: the app's name and the lane's key.
pub(super) fn lanes(config: &Config) -> impl Iterator<Item = (&String, LaneKey)> {
    config.apps.iter().flat_map(|(name, settings)| {
        settings.providers.keys().flat_map(|platform| platform.lanes()).map(move |key| (name, key))
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
    let Some(settings) = settings.providers.get(&key.platform()) else { return Ok(None) };
    let sender = settings.open(LaneOptions { key, max_in_flight, proxy }).await;
    sender.map(Some).with_context(|| format!("lane {app}/{key} can't be set up"))
}

/// The configured HTTP proxy, if any.
pub fn proxy(network: &NetworkSettings) -> Option<Arc<Proxy>> {
    let proxy = network.proxy.as_ref()?;
    Some(Arc::new(Proxy::new(proxy.expose(), &network.no_proxy)))
}
