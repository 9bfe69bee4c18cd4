//! A page of the devices of an app. Devices that no index leads to are looked for in steps, so that a page ends soon.

use std::time::Duration;

use tokio::time::Instant;

use super::devices::{DeviceWithTopics, with_topics};
use crate::domain::{AppId, DeviceId};
use crate::store;
use crate::store::SessionPool;
use crate::store::devices::{DeviceFilter, DevicePage};

/// A page of a list ends after this time, however few devices the filter has let pass.
const TIME_MAX: Duration = Duration::from_secs(1);

/// Part of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceListPage {
    /// In the order in which they became known.
    pub devices: Vec<DeviceWithTopics>,
    /// The last device that was looked at, behind which the next page begins. None: there are no more.
    pub next: Option<DeviceId>,
}

/// Reads at most `limit` devices after `after` that the filter lets pass, in the order in which they became known. The page is
/// shorter if the filter leaves out many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn list(
    pool: &SessionPool,
    app: AppId,
    filter: &DeviceFilter,
    mut after: DeviceId,
    limit: usize,
) -> Result<DeviceListPage, store::Error> {
    let begun = Instant::now();
    let mut conn = pool.acquire().await?;
    let mut devices = Vec::new();
    let next = loop {
        // One more than fits tells whether there is a next page.
        let wanted =
            DevicePage { after, limit: i64::try_from(limit + 1 - devices.len()).unwrap_or(i64::MAX) };
        let part = store::devices::list(&mut conn, app, filter, wanted).await?;
        devices.extend(part.devices);
        if devices.len() > limit {
            devices.truncate(limit);
            break devices.last().map(|device| device.id);
        }
        match part.reached {
            Some(reached) if begun.elapsed() < TIME_MAX => after = reached,
            reached => break reached,
        }
    };
    Ok(DeviceListPage { devices: with_topics(&mut conn, devices).await?, next })
}
