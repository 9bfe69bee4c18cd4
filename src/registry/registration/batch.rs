//! Registrations carried out one after the other on devices that a transaction has locked, so that it can write what
//! comes of all of them at once.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::replacement::{Takeover, claimed, replace, settle};
use super::{IgnoredPart, IgnoredReason, RegisteredInFuture, Registrar, Registration};
use crate::domain::{App, DeviceId, TopicName};
use crate::store::devices::{Device, InsertedDevice, TokenKey};
use crate::store::topics::Subscription;

/// What the tokens of a registration are found by. Digests cost something, so each is made once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegistrationKeys {
    own: TokenKey,
    replaced: Option<TokenKey>,
}

/// A registration that was carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistrationResult {
    /// Its token was unknown.
    pub is_new: bool,
    /// The parts of it that were left out.
    pub ignored: Vec<IgnoredPart>,
}

/// Devices with their subscriptions, as they are stored and as they are to be.
#[derive(Debug)]
pub struct RegistrationBatch<'a> {
    app: &'a App,
    caller: Registrar,
    now: DateTime<Utc>,
    entries: HashMap<TokenKey, Entry>,
    /// Of the devices that are stored.
    keys: HashMap<DeviceId, TokenKey>,
}

#[derive(Debug)]
struct Entry {
    device: Device,
    topics: BTreeSet<TopicName>,
    /// None: it is new.
    stored: Option<Device>,
    stored_topics: BTreeSet<TopicName>,
}

/// SubscriptionChanges that are to be written.
#[derive(Debug, Default)]
pub struct SubscriptionChanges<'a> {
    /// Those that are new.
    pub added: Vec<Subscription<'a>>,
    /// Those that end.
    pub ended: Vec<Subscription<'a>>,
}

impl RegistrationKeys {
    /// Those of a registration.
    pub fn of(registration: &Registration) -> Self {
        let key = |token: &crate::domain::DeviceToken| (registration.platform, token.digest());
        let replaces = registration.replaces.as_ref().filter(|old| **old != registration.token);
        Self { own: key(&registration.token), replaced: replaces.map(key) }
    }

    /// Each of them.
    pub fn all(self) -> impl Iterator<Item = TokenKey> {
        [Some(self.own), self.replaced].into_iter().flatten()
    }
}

impl<'a> RegistrationBatch<'a> {
    /// An empty one, at `now` by Postgres's clock.
    pub fn new(app: &'a App, caller: Registrar, now: DateTime<Utc>) -> Self {
        Self { app, caller, now, entries: HashMap::new(), keys: HashMap::new() }
    }

    /// Puts a device that is stored on the roll, with those of its topics that are known.
    pub fn put(&mut self, device: Device, topics: Vec<TopicName>) {
        let topics: BTreeSet<_> = topics.into_iter().collect();
        let key = (device.platform, device.token.digest());
        self.keys.insert(device.id, key);
        let (stored, stored_topics) = (Some(device.clone()), topics.clone());
        self.entries.insert(key, Entry { device, topics, stored, stored_topics });
    }

    /// Carries out one registration.
    ///
    /// # Errors
    /// Its time is yet to come; nothing was changed.
    pub fn register(
        &mut self,
        registration: &Registration,
        tokens: RegistrationKeys,
    ) -> Result<RegistrationResult, RegisteredInFuture> {
        let at = registration.time(self.now, self.caller)?;
        let mut ignored = registration.details.ignored.clone();
        ignored.extend(self.unheard_replacement(registration, tokens));
        let heir_to = tokens.replaced.and_then(|old| self.take_place(old));
        let is_new = !self.entries.contains_key(&tokens.own);
        let (app, caller) = (self.app, self.caller);
        let entry = self.entries.entry(tokens.own).or_insert_with(|| Entry {
            device: registration.first(app, at, caller),
            topics: BTreeSet::new(),
            stored: None,
            stored_topics: BTreeSet::new(),
        });
        if !is_new {
            registration.again(&mut entry.device, app, at, caller);
        }
        if let Some((takeover, old, topics)) = heir_to {
            registration.inherit(&mut entry.device, &old, takeover, is_new, self.now);
            if registration.details.topics.is_none() {
                let is_wanted = |topic: &TopicName| takeover.includes(topic) && !entry.topics.contains(topic);
                let mut taken: Vec<_> = topics.into_iter().filter(is_wanted).collect();
                let room = takeover.room(&entry.topics);
                if taken.len() > room {
                    taken.truncate(room);
                    ignored.push(IgnoredPart::member("replaces", IgnoredReason::TooManyTopics));
                }
                entry.topics.extend(taken);
            }
        }
        if let Some(names) = &registration.details.topics {
            // An app sets the open part of them.
            entry.topics.retain(|topic| !caller.is_trusted() && topic.is_closed());
            entry.topics.extend(names.iter().cloned());
        }
        self.settle(tokens.own);
        Ok(RegistrationResult { is_new, ignored })
    }

    /// How the place of a device is taken, with the device and its topics as they were before.
    fn take_place(&mut self, old: TokenKey) -> Option<(Takeover, Device, BTreeSet<TopicName>)> {
        let entry = self.entries.get_mut(&old)?;
        let takeover = Takeover::of(&entry.device, self.caller)?;
        let before = (takeover, entry.device.clone(), entry.topics.clone());
        if takeover != Takeover::Pending {
            replace(&mut entry.device, self.now);
        }
        Some(before)
    }

    /// Sets the device aside whose place a registered device claims, if both have the same user now.
    fn settle(&mut self, own: TokenKey) {
        let Some(mut device) = self.entries.get(&own).map(|entry| entry.device.clone()) else { return };
        let old = claimed(&device, self.now).and_then(|id| self.keys.get(&id));
        if let Some(old) = old.and_then(|key| self.entries.get_mut(key)) {
            settle(&mut device, &mut old.device, self.now);
            self.entries.entry(own).and_modify(|entry| entry.device = device);
        }
    }

    /// The devices whose places are claimed by devices on the roll, and that are not on it.
    pub fn missing(&self) -> Vec<DeviceId> {
        let claimed = self.entries.values().filter_map(|entry| claimed(&entry.device, self.now));
        claimed.filter(|id| !self.keys.contains_key(id)).collect()
    }

    /// A `replaces` that names no device but its own.
    fn unheard_replacement(
        &self,
        registration: &Registration,
        tokens: RegistrationKeys,
    ) -> Option<IgnoredPart> {
        let reason = match tokens.replaced {
            None if registration.replaces.is_none() => return None,
            None => IgnoredReason::SameToken,
            Some(old) if self.entries.contains_key(&old) => return None,
            Some(_) => IgnoredReason::UnknownToken,
        };
        Some(IgnoredPart::member("replaces", reason))
    }

    /// Takes topics from every device that was to have them.
    pub fn refuse(&mut self, names: &[TopicName]) {
        for entry in self.entries.values_mut() {
            entry.topics.retain(|topic| !names.contains(topic));
        }
    }

    /// A device as it is to be, with its topics by name.
    pub fn find(&self, tokens: RegistrationKeys) -> Option<(&Device, impl Iterator<Item = &TopicName>)> {
        self.entries.get(&tokens.own).map(|entry| (&entry.device, entry.topics.iter()))
    }

    /// The devices that are to be stored, in the order in which they may be.
    pub fn new_devices(&self) -> Vec<(TokenKey, &Device)> {
        let new = self.entries.iter().filter(|(_, entry)| entry.stored.is_none());
        let mut new: Vec<_> = new.map(|(key, entry)| (*key, &entry.device)).collect();
        new.sort_unstable_by_key(|(key, _)| *key);
        new
    }

    /// The devices that were stored and are to be written back.
    pub fn changed_devices(&self) -> Vec<&Device> {
        let changed = |entry: &&Entry| entry.stored.as_ref().is_some_and(|before| *before != entry.device);
        self.entries.values().filter(changed).map(|entry| &entry.device).collect()
    }

    /// Gives new devices the numbers of their rows.
    pub fn number(&mut self, inserted: Vec<InsertedDevice>) {
        for InsertedDevice { token, id, created_at } in inserted {
            if let Some(entry) = self.entries.get_mut(&token) {
                entry.device.id = id;
                entry.device.created_at = created_at;
            }
        }
    }

    /// The subscriptions that are to be written, once each device has its number.
    pub fn subscriptions(&self) -> SubscriptionChanges<'_> {
        let mut subscriptions = SubscriptionChanges::default();
        for Entry { device, topics, stored_topics, .. } in self.entries.values() {
            let of_device = |topic| (device.id, topic);
            subscriptions.added.extend(topics.difference(stored_topics).map(of_device));
            subscriptions.ended.extend(stored_topics.difference(topics).map(of_device));
        }
        subscriptions
    }
}
