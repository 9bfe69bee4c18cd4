//! Devices as their callers know them: registered, described, listed, removed.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use super::registration::{Caller, Details, Registration, Unfit, is_replaced, replace};
use crate::domain::{App, AppId, DeviceId, DeviceToken, Platform, TopicName};
use crate::store;
use crate::store::devices::{Device, Filter, Page};

/// How far a caller's clock may be ahead of Postgres's: what it calls now is taken as now.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(5);
/// How often a registration may lose a race against others for the same token.
const ATTEMPTS: usize = 5;

/// A device with its topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownDevice {
    /// The device.
    pub device: Device,
    /// Its own subscriptions, by name.
    pub topics: Vec<TopicName>,
}

/// What a registration came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// The device as it is now.
    pub known: KnownDevice,
    /// Was its token unknown?
    pub is_new: bool,
}

/// Why a device was not registered or described. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `registered_at` lies in the future.
    #[error("registered_at lies in the future")]
    FromTheFuture,
    /// Details that a device of its platform can't have.
    #[error("not for a device of this platform")]
    Unfit(Vec<Unfit>),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Registers a token: an upsert by platform and token, in one transaction. What the caller may not say at all has been
/// refused before.
///
/// # Errors
/// See [`Error`].
pub async fn register(
    pool: &PgPool,
    app: &App,
    registration: &Registration,
    caller: Caller,
) -> Result<Registered, Error> {
    let unfit = registration.details.unfit(registration.platform);
    if !unfit.is_empty() {
        return Err(Error::Unfit(unfit));
    }
    for _ in 0..ATTEMPTS {
        let mut transaction = store::begin(pool).await?;
        if let Some(registered) = try_register(&mut transaction, app, registration, caller).await? {
            transaction.commit().await?;
            return Ok(registered);
        }
    }
    Err(store::Error::Contended.into())
}

/// Changes what is said of a device. No registration: neither its time nor a quarantine changes. None: no such device.
///
/// # Errors
/// See [`Error`].
pub async fn describe(
    pool: &PgPool,
    app: &App,
    id: DeviceId,
    details: &Details,
) -> Result<Option<KnownDevice>, Error> {
    let mut transaction = store::begin(pool).await?;
    let Some(mut device) = store::devices::lock(&mut transaction, app.id, id).await? else {
        return Ok(None);
    };
    let unfit = details.unfit(device.platform);
    if !unfit.is_empty() {
        return Err(Error::Unfit(unfit));
    }
    details.describe(&mut device, app, Caller::Backend);
    store::devices::save(&mut transaction, &device).await?;
    if let Some(names) = &details.topics {
        store::topics::unsubscribe_others(&mut transaction, app.id, id, names, false).await?;
        store::topics::subscribe(&mut transaction, app.id, id, names).await?;
    }
    let known = with_topics(&mut transaction, vec![device]).await?.pop();
    transaction.commit().await?;
    Ok(known)
}

/// Finds a device.
///
/// # Errors
/// The database's.
pub async fn find(pool: &PgPool, app: AppId, id: DeviceId) -> Result<Option<KnownDevice>, store::Error> {
    let mut conn = pool.acquire().await?;
    let device = store::devices::find(&mut conn, app, id).await?;
    Ok(with_topics(&mut conn, device.into_iter().collect()).await?.pop())
}

/// One page of an app's devices, in id order.
///
/// # Errors
/// The database's.
pub async fn list(
    pool: &PgPool,
    app: AppId,
    filter: &Filter,
    page: Page,
) -> Result<Vec<KnownDevice>, store::Error> {
    let mut conn = pool.acquire().await?;
    let devices = store::devices::list(&mut conn, app, filter, page).await?;
    with_topics(&mut conn, devices).await
}

/// The devices with these tokens of one platform, in no particular order; unknown tokens are missing.
///
/// # Errors
/// The database's.
pub async fn find_by_tokens(
    pool: &PgPool,
    app: AppId,
    platform: Platform,
    tokens: &[DeviceToken],
) -> Result<Vec<KnownDevice>, store::Error> {
    let digests: Vec<_> = tokens.iter().map(DeviceToken::digest).collect();
    let mut conn = pool.acquire().await?;
    let devices = store::devices::by_tokens(&mut conn, app, platform, &digests).await?;
    with_topics(&mut conn, devices).await
}

/// Deletes a device with its subscriptions; what is pending for it ends `cancelled`, reason `device_gone`, when its
/// turn comes. False: no such device.
///
/// # Errors
/// The database's.
pub async fn remove(pool: &PgPool, app: AppId, id: DeviceId) -> Result<bool, store::Error> {
    let mut conn = pool.acquire().await?;
    store::devices::delete(&mut conn, app, id).await
}

/// Deletes the device with this token, if there is one.
///
/// # Errors
/// The database's.
pub async fn unregister(
    pool: &PgPool,
    app: AppId,
    platform: Platform,
    token: &DeviceToken,
) -> Result<(), store::Error> {
    let mut conn = pool.acquire().await?;
    for device in store::devices::by_tokens(&mut conn, app, platform, &[token.digest()]).await? {
        store::devices::delete(&mut conn, app, device.id).await?;
    }
    Ok(())
}

/// None: somebody else made the same device at the same time; again, then.
async fn try_register(
    conn: &mut PgConnection,
    app: &App,
    registration: &Registration,
    caller: Caller,
) -> Result<Option<Registered>, Error> {
    let now = store::devices::transaction_time(conn).await?;
    let at = match registration.registered_at {
        Some(stated) if stated > now + CLOCK_TOLERANCE => return Err(Error::FromTheFuture),
        stated => stated.map_or(now, |stated| stated.min(now)),
    };
    let (known, old) = lock_both(conn, app.id, registration).await?;
    // A replay must not bring back what has changed since the place was taken.
    let heir_to = old.as_ref().filter(|old| !is_replaced(old));
    let is_new = known.is_none();
    let mut device = match known {
        Some(mut device) => {
            registration.again(&mut device, app, at, caller);
            device
        }
        None => registration.first(app, at, caller),
    };
    if let Some(old) = heir_to {
        registration.inherit(&mut device, old, caller);
    }
    if is_new {
        match store::devices::insert(conn, &device).await? {
            Some(inserted) => device = inserted,
            None => return Ok(None),
        }
    } else {
        store::devices::save(conn, &device).await?;
    }
    set_topics(conn, registration, &device, heir_to, caller).await?;
    if let Some(old) = heir_to {
        retire(conn, old, now).await?;
    }
    let known = with_topics(conn, vec![device]).await?.pop();
    Ok(known.map(|known| Registered { known, is_new }))
}

/// The registered device and the one that it replaces, as far as they are known.
async fn lock_both(
    conn: &mut PgConnection,
    app: AppId,
    registration: &Registration,
) -> Result<(Option<Device>, Option<Device>), store::Error> {
    let replaces = registration.replaces.as_ref().filter(|old| **old != registration.token);
    let digests: Vec<_> =
        [Some(&registration.token), replaces].into_iter().flatten().map(DeviceToken::digest).collect();
    let locked = store::devices::lock_by_tokens(conn, app, registration.platform, &digests).await?;
    let (own, old): (Vec<_>, Vec<_>) =
        locked.into_iter().partition(|device| device.token == registration.token);
    Ok((own.into_iter().next(), old.into_iter().next()))
}

async fn set_topics(
    conn: &mut PgConnection,
    registration: &Registration,
    device: &Device,
    heir_to: Option<&Device>,
    caller: Caller,
) -> Result<(), store::Error> {
    let open_only = caller == Caller::App;
    match (&registration.details.topics, heir_to) {
        (Some(names), _) => {
            store::topics::unsubscribe_others(conn, device.app, device.id, names, open_only).await?;
            store::topics::subscribe(conn, device.app, device.id, names).await
        }
        (None, Some(old)) if caller == Caller::Backend => {
            let mut topics = store::topics::of_devices(conn, &[old.id]).await?;
            let names = topics.remove(&old.id).unwrap_or_default();
            store::topics::subscribe(conn, device.app, device.id, &names).await
        }
        (None, _) => Ok(()),
    }
}

async fn retire(conn: &mut PgConnection, old: &Device, now: DateTime<Utc>) -> Result<(), store::Error> {
    let mut old = old.clone();
    replace(&mut old, now);
    store::devices::save(conn, &old).await
}

async fn with_topics(
    conn: &mut PgConnection,
    devices: Vec<Device>,
) -> Result<Vec<KnownDevice>, store::Error> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
    let mut topics = store::topics::of_devices(conn, &ids).await?;
    let known = devices.into_iter().map(|device| {
        let topics = topics.remove(&device.id).unwrap_or_default();
        KnownDevice { device, topics }
    });
    Ok(known.collect())
}
