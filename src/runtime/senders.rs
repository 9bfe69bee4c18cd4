//! From the configuration's apps to apps with rows, and lanes with credentials.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;

use crate::config::{AppSettings, Config};
use crate::dispatch::LaneSetup;
use crate::domain::{App, AppLane, Apps, Environment, LaneKey, Platform};
use crate::store;

/// Makes what is missing of the configured apps' rows.
pub(super) async fn apps(conn: &mut sqlx::PgConnection, config: &Config) -> anyhow::Result<Apps> {
    let names: Vec<String> = config.apps.keys().cloned().collect();
    let rows = store::apps::ensure(conn, &names).await.context("apps can't be entered")?;
    let apps = rows.into_iter().filter_map(|row| {
        let settings = config.apps.get(&row.name)?;
        let lanes: BTreeMap<LaneKey, AppLane> = row
            .lanes
            .into_iter()
            .map(|(key, id)| (key, AppLane { id, configured: is_configured(settings, key.platform()) }))
            .collect();
        let apns = settings.apns.as_ref();
        let app = App {
            id: row.id,
            name: row.name,
            lanes,
            apns_environment: apns.map_or(Environment::Production, |apns| apns.environment),
            apns_topics: apns.iter().map(|apns| apns.topic.clone()).collect(),
            fcm_channel: settings.fcm.as_ref().and_then(|fcm| fcm.channel.clone()),
        };
        Some((app.id, Arc::new(app)))
    });
    Ok(apps.collect())
}

fn is_configured(settings: &AppSettings, platform: Platform) -> bool {
    match platform {
        Platform::Apns => settings.apns.is_some(),
        Platform::Fcm => settings.fcm.is_some(),
    }
}
/// TEMP
pub(super) fn lanes(_config: &Config, _apps: &Apps) -> anyhow::Result<Vec<LaneSetup>> {
    Ok(Vec::new())
}
