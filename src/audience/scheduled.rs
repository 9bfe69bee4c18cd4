//! Audiences of notifications that are sent later. They are stored as the request names them, and read when they are due.
//!
//! Tokens are the exception: they become devices when the request is accepted, as for any other request. A stored token
//! would outlive its device, and would make a device again of what was deleted or erased meanwhile.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::lookup::{DeviceLookup, LookupKeys};
use super::selector::{Audience, AudienceSelector, NamedDevice, TokenDevice};
use super::{sorted, tokens};
use crate::domain::{
    App, DeviceId, Kind, LaneKey, Platform, References, ScheduledAudience, ScheduledDevice, ScheduledToken,
};
use crate::store;

/// A notification that is sent later.
#[derive(Clone, Copy, Debug)]
pub struct Later<'a> {
    /// The devices that it is for, as the request names them.
    pub audience: &'a Audience,
    /// The kind of token that its content needs, where a platform has several kinds.
    pub kind: Kind,
    /// When it is due.
    pub due_at: DateTime<Utc>,
}

/// What is stored of the audiences of notifications that are sent later, in the order given. Unknown tokens become devices and
/// stay so, whatever becomes of the notifications. Devices that are known from sends alone are kept until they are sent to.
///
/// # Errors
/// Postgres is out of reach, or other transactions kept changing the same tokens. Devices may have been made.
pub async fn schedule_all(
    lookup: &DeviceLookup,
    app: &App,
    wanted: &[Later<'_>],
) -> Result<Vec<ScheduledAudience>, store::Error> {
    let tokens: Vec<_> =
        wanted.iter().map(|later| tokens::distinct(later.audience, later.audience.names().tokens)).collect();
    let keys = tokens
        .iter()
        .map(|tokens| LookupKeys { tokens: tokens.keys().copied().collect(), ..LookupKeys::default() });
    let mut found = lookup.look_up_each(app.id, keys.collect()).await?;
    let kinds: Vec<(&Audience, Kind)> = wanted.iter().map(|later| (later.audience, later.kind)).collect();
    tokens::make_missing(lookup.pool(), app, &kinds, &tokens, &mut found).await?;

    let mut sent_on: BTreeMap<NaiveDate, Vec<DeviceId>> = BTreeMap::new();
    let mut scheduled = Vec::with_capacity(wanted.len());
    for ((later, mut tokens), found) in wanted.iter().zip(tokens).zip(found) {
        let tokens: Vec<ScheduledToken> = found
            .by_token
            .into_iter()
            .map(|device| {
                let references = tokens.remove(&device.token_key()).map(|token| token.references);
                ScheduledToken {
                    device: device.loaded.device,
                    lane: LaneKey::of(device.loaded.platform, device.loaded.environment).to_string(),
                    references: references.unwrap_or_default().names().to_vec(),
                }
            })
            .collect();
        let named = later.audience.devices().filter_map(|device| device.id);
        let devices = sent_on.entry(later.due_at.date_naive()).or_default();
        devices.extend(named.chain(tokens.iter().map(|token| token.device)));
        scheduled.push(to_stored(later.audience, later.kind, tokens));
    }
    for (day, devices) in sent_on.into_iter().filter(|(_, devices)| !devices.is_empty()) {
        let devices = sorted(devices.into_iter());
        store::devices::mark_sent_on(&mut lookup.pool().acquire().await?, &devices, day).await?;
    }
    Ok(scheduled)
}

fn to_stored(audience: &Audience, kind: Kind, tokens: Vec<ScheduledToken>) -> ScheduledAudience {
    let devices = audience
        .devices()
        .map(|NamedDevice { public_id, id }| ScheduledDevice { public_id: public_id.clone(), device: *id });
    ScheduledAudience {
        kind,
        devices: devices.collect(),
        users: audience.users().cloned().collect(),
        tokens,
        parts: audience.parts().collect(),
        platforms: audience
            .platforms
            .as_ref()
            .map(|some| some.iter().map(|platform| platform.as_str().to_owned()).collect()),
        except_users: audience.except_users.clone(),
        except_devices: audience.except_devices.clone(),
        except_topics: audience.except_topics.clone(),
    }
}

/// The audience that was stored. A platform that this node lacks reaches no device here.
pub(super) fn from_stored(stored: ScheduledAudience, app: &App) -> Audience {
    let known = app.platforms();
    let devices = stored
        .devices
        .into_iter()
        .map(|device| NamedDevice { public_id: device.public_id, id: device.device });
    let tokens = stored.tokens.into_iter().map(|token| {
        let mut references = References::default();
        token.references.into_iter().for_each(|name| references.add(name));
        TokenDevice { device: token.device, lane: known.parse_lane(&token.lane), references }
    });
    let mut selectors = vec![
        AudienceSelector::Devices(devices.collect()),
        AudienceSelector::Users(stored.users),
        AudienceSelector::TokenDevices(tokens.collect()),
    ];
    selectors.extend(stored.parts.into_iter().map(AudienceSelector::from));
    let platforms =
        |names: Vec<String>| -> Vec<Platform> { names.iter().filter_map(|name| known.parse(name)).collect() };
    Audience {
        selectors,
        platforms: stored.platforms.map(platforms),
        except_users: stored.except_users,
        except_devices: stored.except_devices,
        except_topics: stored.except_topics,
        rejected_tokens: Vec::new(),
    }
}
