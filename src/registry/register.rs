//! Registrations in one transaction: of one device, or of as many as an import has at a time.
//!
//! What there is is locked, the rules are carried out in memory in the order given, and what has changed is written: for
//! devices that are all new or as they were that is two statements, however many there are.

use std::collections::BTreeSet;

use super::devices::Error;
use super::registration::{
    IgnoredPart, RegisteredInFuture, Registrar, Registration, RegistrationBatch, RegistrationKeys,
    RegistrationResult,
};
use super::subscriptions;
use crate::domain::{App, DeviceId, TopicName};
use crate::store;
use crate::store::commits::{self, TransactionMark};
use crate::store::devices::TokenKey;
use crate::store::{Session, SessionPool};

/// How often registrations may lose a race against others for the same tokens.
pub(super) const ATTEMPTS: usize = 5;

/// What goes on after a registration that can't be carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnFailure {
    /// The next one.
    Continue,
    /// Nothing: those after it are not carried out.
    Stop,
}

/// What became of a registration.
pub type Outcome = Result<RegistrationResult, RegisteredInFuture>;

/// Carries out registrations as if one after the other, in one transaction: all of them, but those that fail, or none.
/// Outcomes are in the order given; where it stopped, there are none of those after the failure.
///
/// # Errors
/// See [`Error`]; nothing was changed, unless the outcome is unknown.
pub async fn register_all(
    pool: &SessionPool,
    app: &App,
    registrations: &[Registration],
    caller: Registrar,
    after: OnFailure,
) -> Result<Vec<Outcome>, Error> {
    Ok(register_with_devices(pool, app, registrations, caller, after).await?.outcomes)
}

/// Registrations that were carried out.
pub(super) struct RegisteredBatch<'a> {
    pub(super) outcomes: Vec<Outcome>,
    /// The devices in question as they are now.
    pub(super) roll: RegistrationBatch<'a>,
}

/// As [`register_all`].
pub(super) async fn register_with_devices<'a>(
    pool: &SessionPool,
    app: &'a App,
    registrations: &[Registration],
    caller: Registrar,
    after: OnFailure,
) -> Result<RegisteredBatch<'a>, Error> {
    let tokens: Vec<RegistrationKeys> = registrations.iter().map(RegistrationKeys::of).collect();
    let batch = Batch { app, registrations, tokens: &tokens, caller, after };
    for _ in 0..ATTEMPTS {
        let mut transaction = store::begin(pool).await?;
        let (mut enrolled, mark) = batch.carry_out(&mut transaction).await?;
        if !is_behind(&mut transaction, app, &enrolled.roll).await?
            && write(&mut transaction, batch, &mut enrolled).await?
        {
            commits::commit_marked(pool, transaction, &mark).await?;
            return Ok(enrolled);
        }
        transaction.rollback().await?;
    }
    Err(store::Error::Contended.into())
}

#[derive(Clone, Copy)]
struct Batch<'a, 'b> {
    app: &'a App,
    registrations: &'b [Registration],
    tokens: &'b [RegistrationKeys],
    caller: Registrar,
    after: OnFailure,
}

impl<'a> Batch<'a, '_> {
    /// In memory, on what is stored, which stays locked.
    async fn carry_out(
        self,
        conn: &mut Session,
    ) -> Result<(RegisteredBatch<'a>, TransactionMark), store::Error> {
        let mark = commits::mark(conn).await?;
        let mut roll = RegistrationBatch::new(self.app, self.caller, mark.begun_at);
        self.call(conn, &mut roll).await?;
        let mut outcomes = Vec::with_capacity(self.registrations.len());
        for (registration, tokens) in self.registrations.iter().zip(self.tokens) {
            let outcome = roll.register(registration, *tokens);
            let ends = outcome.is_err() && self.after == OnFailure::Stop;
            outcomes.push(outcome);
            if ends {
                break;
            }
        }
        Ok((RegisteredBatch { outcomes, roll }, mark))
    }

    /// Puts on the roll whoever is there.
    async fn call(self, conn: &mut Session, roll: &mut RegistrationBatch<'_>) -> Result<(), store::Error> {
        let tokens: BTreeSet<TokenKey> = self.tokens.iter().flat_map(|tokens| tokens.all()).collect();
        let tokens: Vec<TokenKey> = tokens.into_iter().collect();
        let devices = store::devices::lock_tokens(conn, self.app.id, &tokens).await?;
        let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        let mut topics = match self.needs_topics() && !ids.is_empty() {
            true => store::topics::of_devices(conn, &ids).await?,
            false => Default::default(),
        };
        for device in devices {
            let topics = topics.remove(&device.id).unwrap_or_default();
            roll.put(device, topics);
        }
        Ok(())
    }

    /// Whoever registers one device is told its topics. An import reads them only where it may change them.
    fn needs_topics(self) -> bool {
        let says = |one: &Registration| one.details.topics.is_some() || one.replaces.is_some();
        self.caller != Registrar::Import || self.registrations.iter().any(says)
    }
}

/// Has a device on the roll come to claim the place of another device while the transaction waited to lock it? The other
/// one is not locked; all of it again, then.
async fn is_behind(
    conn: &mut Session,
    app: &App,
    roll: &RegistrationBatch<'_>,
) -> Result<bool, store::Error> {
    let missing = roll.missing();
    Ok(!missing.is_empty() && store::devices::is_any(conn, app.id, &missing).await?)
}

/// False: somebody else made one of the devices meanwhile; all of it again, then.
async fn write(
    conn: &mut Session,
    batch: Batch<'_, '_>,
    RegisteredBatch { outcomes, roll }: &mut RegisteredBatch<'_>,
) -> Result<bool, Error> {
    let app = batch.app;
    let new = roll.new_devices();
    if !new.is_empty() {
        let inserted = store::devices::insert_all(conn, app.id, &new).await?;
        if inserted.len() < new.len() {
            return Ok(false);
        }
        roll.number(inserted);
    }
    let changed = roll.changed_devices();
    if !changed.is_empty() {
        store::devices::save_all(conn, &changed).await?;
    }
    let subscriptions = roll.subscriptions();
    let refused = subscriptions::write(conn, app, batch.caller, &subscriptions).await?;
    if !refused.is_empty() {
        roll.refuse(&refused);
        for (registration, outcome) in batch.registrations.iter().zip(outcomes) {
            if let Ok(done) = outcome {
                done.ignored.extend(refused_topics(registration, &refused));
            }
        }
    }
    Ok(true)
}

/// The topics of a registration that were refused, each where the request names it first.
fn refused_topics(registration: &Registration, refused: &[TopicName]) -> Vec<IgnoredPart> {
    let topics = registration.details.topics.as_deref().unwrap_or_default();
    let place = |name| topics.iter().position(|topic| topic == name);
    let places: BTreeSet<usize> = refused.iter().filter_map(place).collect();
    places.into_iter().map(IgnoredPart::topic).collect()
}
