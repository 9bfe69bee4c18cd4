//! Devices as the API shows them: registering, updating, finding, listing and removing them, each with its topics.

use std::collections::{BTreeSet, HashMap};

use super::register::{ATTEMPTS_MAX, OnFailure, register_with_devices};
use super::registration::{
    DeviceDetails, DeviceTopics, IgnoredPart, RegisteredInFuture, Registrar, Registration, RegistrationKeys,
    SubscriptionChanges, UnsupportedDetail, claimed_device, end_bound_topics, settle_claim,
};
use super::{quarantine_facts, subscriptions};
use crate::domain::{
    App, AppId, CorrectionCause, DeviceId, DeviceToken, Platform, SubscriptionTerm, TopicName, UserId,
};
use crate::store;
use crate::store::devices::Device;
use crate::store::{Session, SessionPool};

/// A device with its subscriptions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceWithTopics {
    /// The stored device.
    pub device: Device,
    /// The names of its own topics, ascending.
    pub topics: Vec<TopicName>,
    /// The names of the topics of its user, ascending.
    pub user_topics: Vec<TopicName>,
}

/// The result of a registration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisteredDevice {
    /// The device as it is stored now.
    pub known: DeviceWithTopics,
    /// Was the token unknown before?
    pub is_new: bool,
    /// The parts of the registration that were ignored.
    pub ignored: Vec<IgnoredPart>,
}

/// Why a device was not registered or updated. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `registered_at` lies in the future.
    #[error(transparent)]
    RegisteredInFuture(#[from] RegisteredInFuture),
    /// Details that a device of its platform can't have.
    #[error("not for a device of this platform")]
    UnsupportedDetail(Vec<UnsupportedDetail>),
    /// The app would have more topics than this limit.
    #[error("the app would have more than {0} topics")]
    TooManyTopics(u32),
    /// Postgres is out of reach or refused the statement.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Registers a token: an upsert by platform and token, in one transaction. The API has refused fields that the caller
/// may not set.
///
/// # Errors
/// See [`Error`].
pub async fn register(
    pool: &SessionPool,
    app: &App,
    registration: &Registration,
    caller: Registrar,
) -> Result<RegisteredDevice, Error> {
    let unsupported = registration.details.unsupported(registration.platform);
    if !unsupported.is_empty() {
        return Err(Error::UnsupportedDetail(unsupported));
    }
    let one = std::slice::from_ref(registration);
    let mut batch = register_with_devices(pool, app, one, caller, OnFailure::Stop).await?;
    let result = batch.results.pop().expect("one registration has one result")?;
    let (device, topics) =
        batch.devices.find(RegistrationKeys::of(registration)).expect("a device that was registered");
    let (device, topics) = (device.clone(), topics.cloned().collect());
    // An app is not told the topics of a user.
    let user_topics = match &device.user {
        Some(user) if caller != Registrar::App => {
            let mut conn = pool.acquire().await?;
            let users = std::slice::from_ref(user);
            store::topics::of_users(&mut conn, app.id, users).await?.remove(user).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let known = DeviceWithTopics { device, topics, user_topics };
    Ok(RegisteredDevice { known, is_new: result.is_new, ignored: result.ignored })
}

/// Changes the details of a device. It is no registration, so neither the registration time nor a quarantine changes.
/// None: there is no such device.
///
/// # Errors
/// See [`Error`].
pub async fn update(
    pool: &SessionPool,
    app: &App,
    id: DeviceId,
    details: &DeviceDetails,
) -> Result<Option<DeviceWithTopics>, Error> {
    for _ in 1..ATTEMPTS_MAX {
        match update_once(pool, app, id, details).await {
            Err(Error::Store(store::Error::Contended)) => {}
            done => return done,
        }
    }
    update_once(pool, app, id, details).await
}

/// One transaction of [`update`]. It fails with [`store::Error::Contended`] if the device got a claim to replace
/// another device while the transaction waited for its lock.
async fn update_once(
    pool: &SessionPool,
    app: &App,
    id: DeviceId,
    details: &DeviceDetails,
) -> Result<Option<DeviceWithTopics>, Error> {
    let mut transaction = store::begin(pool).await?;
    let mut locked = store::devices::lock(&mut transaction, app.id, id).await?;
    let Some(position) = locked.iter().position(|device| device.id == id) else {
        return Ok(None);
    };
    let mut device = locked.swap_remove(position);
    let unsupported = details.unsupported(device.platform);
    if !unsupported.is_empty() {
        return Err(Error::UnsupportedDetail(unsupported));
    }
    let user_before = device.user.clone();
    details.apply_to(&mut device, app, Registrar::Backend);
    let now = store::devices::transaction_time(&mut transaction).await?;
    if let Some(old) = claimed_device(&device, now) {
        match locked.iter_mut().find(|other| other.id == old) {
            Some(old) => settle_claim(&mut device, old, now),
            // The claim was made while the transaction waited for the lock of the device.
            None if store::devices::is_any(&mut transaction, app.id, &[old]).await? => {
                return Err(store::Error::Contended.into());
            }
            None => {}
        }
    }
    let changed: Vec<&Device> = locked.iter().chain([&device]).collect();
    store::devices::save_all(&mut transaction, &changed).await?;
    // Of the locked devices, settling a claim quarantines those that were active. Their quarantine begins now.
    let is_new = |old: &&Device| old.quarantine.as_ref().is_some_and(|quarantine| quarantine.at == now);
    quarantine_facts::replaced(&mut transaction, app.id, locked.iter().filter(is_new).collect()).await?;
    if details.topics.is_some() || device.user != user_before {
        set_topics(&mut transaction, app, &device, details.topics.as_deref()).await?;
    }
    let known = with_topics(&mut transaction, vec![device]).await?.pop();
    store::commits::commit(pool, transaction).await?;
    Ok(known)
}

/// Ends the quarantine of a device by an operator's decision. It is no registration, so the registration time stays: a
/// provider that calls the token dead again quarantines the device again. Restoring an active device changes nothing.
/// None: there is no such device.
///
/// # Errors
/// Postgres is out of reach.
pub async fn restore(
    pool: &SessionPool,
    app: AppId,
    id: DeviceId,
) -> Result<Option<DeviceWithTopics>, store::Error> {
    let mut transaction = store::begin(pool).await?;
    let locked = store::devices::lock(&mut transaction, app, id).await?;
    let Some(mut device) = locked.into_iter().find(|device| device.id == id) else { return Ok(None) };
    if device.quarantine.take().is_some() {
        store::devices::save_all(&mut transaction, &[&device]).await?;
        quarantine_facts::restored(&mut transaction, app, vec![id], CorrectionCause::Admin).await?;
    }
    let known = with_topics(&mut transaction, vec![device]).await?.pop();
    store::commits::commit(pool, transaction).await?;
    Ok(known)
}

/// Finds a device by its id.
///
/// # Errors
/// Postgres is out of reach.
pub async fn find(
    pool: &SessionPool,
    app: AppId,
    id: DeviceId,
) -> Result<Option<DeviceWithTopics>, store::Error> {
    let mut conn = pool.acquire().await?;
    let device = store::devices::find(&mut conn, app, id).await?;
    Ok(with_topics(&mut conn, device.into_iter().collect()).await?.pop())
}

/// Finds the devices with these tokens of one platform, in no particular order. Unknown tokens are left out.
///
/// # Errors
/// Postgres is out of reach.
pub async fn find_by_tokens(
    pool: &SessionPool,
    app: AppId,
    platform: Platform,
    tokens: &[DeviceToken],
) -> Result<Vec<DeviceWithTopics>, store::Error> {
    let tokens: Vec<_> = tokens.iter().map(|token| (platform, token.digest())).collect();
    let mut conn = pool.acquire().await?;
    let devices = store::devices::by_tokens(&mut conn, app, &tokens).await?;
    with_topics(&mut conn, devices).await
}

/// Deletes a device with its subscriptions. Its pending deliveries end `cancelled` with the reason `device_gone` when
/// they are due. False: there is no such device.
///
/// # Errors
/// Postgres is out of reach.
pub async fn remove(pool: &SessionPool, app: AppId, id: DeviceId) -> Result<bool, store::Error> {
    let mut transaction = store::begin(pool).await?;
    let locked = store::devices::lock_ids(&mut transaction, app, &[id]).await?;
    let [locked] = locked[..] else { return Ok(false) };
    let topics = store::devices::delete(&mut transaction, locked).await?;
    subscriptions::purge(&mut transaction, app, &topics).await?;
    store::commits::commit(pool, transaction).await?;
    Ok(true)
}

/// Deletes the device with this token, if it exists.
///
/// # Errors
/// Postgres is out of reach.
pub async fn unregister(
    pool: &SessionPool,
    app: AppId,
    platform: Platform,
    token: &DeviceToken,
) -> Result<(), store::Error> {
    let mut conn = pool.acquire().await?;
    let devices = store::devices::by_tokens(&mut conn, app, &[(platform, token.digest())]).await?;
    drop(conn);
    for device in devices {
        remove(pool, app, device.id).await?;
    }
    Ok(())
}

/// Replaces the topics of a device by `names`, on behalf of a backend. Without names, those end that belong to the binding
/// to a user, because the device has left that user.
async fn set_topics(
    conn: &mut Session,
    app: &App,
    device: &Device,
    names: Option<&[TopicName]>,
) -> Result<(), Error> {
    let before = store::topics::of_devices(conn, &[device.id]).await?.remove(&device.id).unwrap_or_default();
    let before: DeviceTopics = before.into_iter().collect();
    let mut after = before.clone();
    match names {
        Some(names) => after = names.iter().map(|name| (name.clone(), SubscriptionTerm::Device)).collect(),
        None => end_bound_topics(&mut after),
    }
    let changes = SubscriptionChanges::between(device.id, &before, &after);
    subscriptions::write(conn, app, Registrar::Backend, &changes).await?;
    Ok(())
}

/// Adds the topics of devices of one app.
pub(super) async fn with_topics(
    conn: &mut Session,
    devices: Vec<Device>,
) -> Result<Vec<DeviceWithTopics>, store::Error> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
    let mut topics = store::topics::of_devices(conn, &ids).await?;
    let users: BTreeSet<&UserId> = devices.iter().filter_map(|device| device.user.as_ref()).collect();
    let users: Vec<UserId> = users.into_iter().cloned().collect();
    let topics_of_users = match devices.first().filter(|_| !users.is_empty()) {
        Some(first) => store::topics::of_users(conn, first.app, &users).await?,
        None => HashMap::new(),
    };
    let known = devices.into_iter().map(|device| {
        let topics = topics.remove(&device.id).unwrap_or_default();
        let topics = topics.into_iter().map(|(name, _)| name).collect();
        let user_topics = device.user.as_ref().and_then(|user| topics_of_users.get(user)).cloned();
        DeviceWithTopics { device, topics, user_topics: user_topics.unwrap_or_default() }
    });
    Ok(known.collect())
}
