//! Storing registrations: one of `PUT /v1/devices`, or a batch of an import, in one transaction.
//!
//! The stored devices are locked, the rules are carried out in memory, and the changes are written. Where all devices
//! are new or unchanged, that takes two statements for the whole batch.

use std::collections::{BTreeSet, HashMap};

use super::devices::Error;
use super::registration::{
    IgnoredPart, RegisteredInFuture, Registrar, Registration, RegistrationBatch, RegistrationKeys,
    RegistrationResult,
};
use super::{quarantine_facts, subscriptions};
use crate::domain::{App, CorrectionCause, DeviceId, TopicName, UserId};
use crate::store;
use crate::store::commits::{self, TransactionMark};
use crate::store::devices::{Device, TokenKey};
use crate::store::{Session, SessionPool};

/// How often a transaction may lose a race for the same tokens before it fails as contended.
pub(super) const ATTEMPTS_MAX: usize = 5;

/// What to do after a registration that fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnFailure {
    /// Carry out the next one.
    Continue,
    /// Carry out no more of them.
    Stop,
}

/// Carries out registrations one after the other, in one transaction. All of them are stored, except those that fail.
/// The results are in the order given; after a stop there are none for the registrations that follow the failure.
///
/// # Errors
/// See [`Error`]; nothing was changed, unless the outcome is unknown.
pub async fn register_all(
    pool: &SessionPool,
    app: &App,
    registrations: &[Registration],
    caller: Registrar,
    on_failure: OnFailure,
) -> Result<Vec<Result<RegistrationResult, RegisteredInFuture>>, Error> {
    Ok(register_with_devices(pool, app, registrations, caller, on_failure).await?.results)
}

/// Registrations that were carried out.
pub(super) struct RegisteredBatch<'a> {
    pub(super) results: Vec<Result<RegistrationResult, RegisteredInFuture>>,
    /// The devices as they are now.
    pub(super) devices: RegistrationBatch<'a>,
}

/// Like [`register_all`], and returns the devices as well.
pub(super) async fn register_with_devices<'a>(
    pool: &SessionPool,
    app: &'a App,
    registrations: &[Registration],
    caller: Registrar,
    on_failure: OnFailure,
) -> Result<RegisteredBatch<'a>, Error> {
    let keys: Vec<RegistrationKeys> = registrations.iter().map(RegistrationKeys::of).collect();
    let work = Work { app, registrations, keys: &keys, caller, on_failure };
    for _ in 0..ATTEMPTS_MAX {
        let mut transaction = store::begin(pool).await?;
        let (mut batch, mark) = work.carry_out(&mut transaction).await?;
        if !has_missing_devices(&mut transaction, app, &batch.devices).await?
            && write(&mut transaction, work, &mut batch).await?
        {
            commits::commit_marked(pool, transaction, &mark).await?;
            return Ok(batch);
        }
        transaction.rollback().await?;
    }
    Err(store::Error::Contended.into())
}

#[derive(Clone, Copy)]
struct Work<'a, 'b> {
    app: &'a App,
    registrations: &'b [Registration],
    keys: &'b [RegistrationKeys],
    caller: Registrar,
    on_failure: OnFailure,
}

impl<'a> Work<'a, '_> {
    /// Carries out the registrations in memory. The devices stay locked.
    async fn carry_out(
        self,
        conn: &mut Session,
    ) -> Result<(RegisteredBatch<'a>, TransactionMark), store::Error> {
        let mark = commits::mark(conn).await?;
        let mut devices = RegistrationBatch::new(self.app, self.caller, mark.begun_at);
        self.load(conn, &mut devices).await?;
        let mut results = Vec::with_capacity(self.registrations.len());
        for (registration, keys) in self.registrations.iter().zip(self.keys) {
            let result = devices.register(registration, *keys);
            let is_last = result.is_err() && self.on_failure == OnFailure::Stop;
            results.push(result);
            if is_last {
                break;
            }
        }
        Ok((RegisteredBatch { results, devices }, mark))
    }

    /// Locks and reads the devices that are stored already.
    async fn load(self, conn: &mut Session, batch: &mut RegistrationBatch<'_>) -> Result<(), store::Error> {
        let tokens: BTreeSet<TokenKey> = self.keys.iter().flat_map(|keys| keys.all()).collect();
        let tokens: Vec<TokenKey> = tokens.into_iter().collect();
        let devices = store::devices::lock_tokens(conn, self.app.id, &tokens).await?;
        let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        let mut topics = match !ids.is_empty() && self.needs_topics(&devices) {
            true => store::topics::of_devices(conn, &ids).await?,
            false => Default::default(),
        };
        for device in devices {
            let topics = topics.remove(&device.id).unwrap_or_default();
            batch.add_stored(device, topics);
        }
        Ok(())
    }

    /// The answer to a single registration shows the topics. An import reads the topics of the stored `devices` only if
    /// it may change them: a device that leaves its user loses some.
    fn needs_topics(self, devices: &[Device]) -> bool {
        if self.caller != Registrar::Import {
            return true;
        }
        let user =
            |device: &'_ Device| Some(((device.platform, device.token.digest()), device.user.clone()?));
        let users: HashMap<TokenKey, UserId> = devices.iter().filter_map(user).collect();
        let leaves_user = |one: &Registration, keys: &RegistrationKeys| {
            let user = users.get(&keys.own());
            user.is_some() && one.details.user.applied_to(user.cloned()).as_ref() != user
        };
        self.registrations.iter().zip(self.keys).any(|(one, keys)| {
            one.details.topics.is_some() || one.replaces.is_some() || leaves_user(one, keys)
        })
    }
}

/// Did a device get a claim to replace another device, while the transaction waited for its lock? The other device is
/// not locked then, and the transaction must be repeated.
async fn has_missing_devices(
    conn: &mut Session,
    app: &App,
    batch: &RegistrationBatch<'_>,
) -> Result<bool, store::Error> {
    let missing = batch.missing_claimed_devices();
    Ok(!missing.is_empty() && store::devices::is_any(conn, app.id, &missing).await?)
}

/// Writes the changes. False: another transaction has inserted one of the devices meanwhile, and this one must be
/// repeated.
async fn write(
    conn: &mut Session,
    work: Work<'_, '_>,
    RegisteredBatch { results, devices }: &mut RegisteredBatch<'_>,
) -> Result<bool, Error> {
    let app = work.app;
    let new = devices.new_devices();
    if !new.is_empty() {
        let inserted = store::devices::insert_all(conn, app.id, &new).await?;
        if inserted.len() < new.len() {
            return Ok(false);
        }
        devices.set_ids(inserted);
    }
    let changed = devices.changed_devices();
    if !changed.is_empty() {
        store::devices::save_all(conn, &changed).await?;
    }
    let (restored, replaced) = devices.quarantine_changes();
    quarantine_facts::restored(conn, app.id, restored, CorrectionCause::Registration).await?;
    quarantine_facts::replaced(conn, app.id, replaced).await?;
    let changes = devices.subscription_changes();
    let refused = subscriptions::write(conn, app, work.caller, &changes).await?;
    if !refused.is_empty() {
        devices.remove_topics(&refused);
        for (registration, result) in work.registrations.iter().zip(results) {
            if let Ok(result) = result {
                result.ignored.extend(refused_topics(registration, &refused));
            }
        }
    }
    Ok(true)
}

/// The refused topics of a registration. A topic that the request names twice is listed once, at its first place.
fn refused_topics(registration: &Registration, refused: &[TopicName]) -> Vec<IgnoredPart> {
    let topics = registration.details.topics.as_deref().unwrap_or_default();
    let position = |name| topics.iter().position(|topic| topic == name);
    let positions: BTreeSet<usize> = refused.iter().filter_map(position).collect();
    positions.into_iter().map(IgnoredPart::topic).collect()
}
