//! A batch of registrations, carried out one after the other on devices that a transaction has locked. The transaction
//! then writes the result of the whole batch with a few statements. `registry::register` loads and stores it.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::replacement::{Takeover, claimed_device, quarantine_replaced, settle_claim};
use super::topics::{DeviceTopics, end_bound_topics, keep_former_topics, state_topics, take_over_topics};
use super::{IgnoredPart, IgnoredReason, RegisteredInFuture, Registrar, Registration};
use crate::domain::{App, DeviceId, DeviceToken, SubscriptionTerm, TopicName, UserId};
use crate::store::devices::{Device, InsertedDevice, TokenKey};
use crate::store::topics::{SubscribedTopic, Subscription};

/// The keys that find the tokens of a registration. They are computed once, because digests cost time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegistrationKeys {
    own: TokenKey,
    replaced: Option<TokenKey>,
}

/// The result of a registration that was carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistrationResult {
    /// Was the token unknown before?
    pub is_new: bool,
    /// The parts of the registration that were ignored.
    pub ignored: Vec<IgnoredPart>,
}

/// Devices with their subscriptions: as they are stored, and as they will be stored.
#[derive(Debug)]
pub struct RegistrationBatch<'a> {
    app: &'a App,
    caller: Registrar,
    now: DateTime<Utc>,
    entries: HashMap<TokenKey, Entry>,
    /// The keys of the devices that were registered, without those that they replace or claim to replace.
    registered: HashSet<TokenKey>,
    /// The keys of the devices that are stored already.
    keys: HashMap<DeviceId, TokenKey>,
}

#[derive(Debug)]
struct Entry {
    device: Device,
    topics: DeviceTopics,
    /// None: the device is new.
    stored: Option<Device>,
    stored_topics: DeviceTopics,
}

/// The subscriptions that a transaction adds and removes.
#[derive(Debug, Default)]
pub struct SubscriptionChanges<'a> {
    /// The subscriptions that are new or have another term.
    pub added: Vec<(Subscription<'a>, SubscriptionTerm)>,
    /// Subscriptions that end.
    pub removed: Vec<Subscription<'a>>,
}

impl RegistrationKeys {
    /// Computes the keys of a registration. A `replaces` that names the same device is left out.
    pub fn of(registration: &Registration) -> Self {
        let key = |token: &DeviceToken| (registration.platform, token.digest());
        let own = key(&registration.token);
        let replaced = registration.replaces.as_ref().map(key).filter(|old| *old != own);
        Self { own, replaced }
    }

    /// The key of the token.
    pub fn own(self) -> TokenKey {
        self.own
    }

    /// The key of the token, and of the token that it replaces.
    pub fn all(self) -> impl Iterator<Item = TokenKey> {
        [Some(self.own), self.replaced].into_iter().flatten()
    }
}

impl<'a> RegistrationBatch<'a> {
    /// An empty batch; `now` is the time of the transaction by Postgres's clock.
    pub fn new(app: &'a App, caller: Registrar, now: DateTime<Utc>) -> Self {
        Self { app, caller, now, entries: HashMap::new(), registered: HashSet::new(), keys: HashMap::new() }
    }

    /// Adds a stored device, with those of its topics that were read.
    pub fn add_stored(&mut self, device: Device, topics: Vec<SubscribedTopic>) {
        let topics: DeviceTopics = topics.into_iter().collect();
        let key = (device.platform, device.token.digest());
        self.keys.insert(device.id, key);
        let (stored, stored_topics) = (Some(device.clone()), topics.clone());
        self.entries.insert(key, Entry { device, topics, stored, stored_topics });
    }

    /// Carries out one registration.
    ///
    /// # Errors
    /// Its time lies in the future. Nothing was changed.
    pub fn register(
        &mut self,
        registration: &Registration,
        keys: RegistrationKeys,
    ) -> Result<RegistrationResult, RegisteredInFuture> {
        let at = registration.effective_time(self.now, self.caller)?;
        self.registered.insert(keys.own);
        let mut ignored = registration.details.ignored.clone();
        ignored.extend(self.ignored_replacement(registration, keys));
        let replaced = keys.replaced.and_then(|old| self.replace_device(old, registration.proven_user()));
        let is_new = !self.entries.contains_key(&keys.own);
        let (app, caller) = (self.app, self.caller);
        let entry = self.entries.entry(keys.own).or_insert_with(|| Entry {
            device: registration.new_device(app, at, caller),
            topics: BTreeMap::new(),
            stored: None,
            stored_topics: BTreeMap::new(),
        });
        let user_before = entry.device.user.clone();
        if !is_new {
            registration.update_device(&mut entry.device, app, at, caller);
        }
        if let Some((takeover, old, _)) = &replaced {
            registration.take_over(&mut entry.device, old, *takeover, is_new, self.now);
        }
        if user_before != entry.device.user {
            match user_before.is_some() && !caller.is_trusted() {
                true => keep_former_topics(&mut entry.topics),
                false => end_bound_topics(&mut entry.topics),
            }
        }
        if let Some((takeover, old, mut topics)) = replaced {
            if old.user != entry.device.user {
                end_bound_topics(&mut topics);
            }
            let is_complete = take_over_topics(registration, caller, takeover, topics, &mut entry.topics);
            if !is_complete {
                ignored.push(IgnoredPart::member("replaces", IgnoredReason::TooManyTopics));
            }
        }
        state_topics(registration, caller, &mut entry.topics);
        self.settle_claim(keys.own);
        Ok(RegistrationResult { is_new, ignored })
    }

    /// Quarantines the replaced device, unless the claim must wait. Returns how much is taken over, and the device and
    /// its topics as they were before.
    fn replace_device(
        &mut self,
        old: TokenKey,
        proven_user: Option<&UserId>,
    ) -> Option<(Takeover, Device, DeviceTopics)> {
        let entry = self.entries.get_mut(&old)?;
        let takeover = Takeover::of(&entry.device, self.caller, proven_user)?;
        let before = (takeover, entry.device.clone(), entry.topics.clone());
        if takeover != Takeover::Pending {
            quarantine_replaced(&mut entry.device, self.now);
        }
        Some(before)
    }

    /// Quarantines the device that a registered device claims to replace, if both have the same user now.
    fn settle_claim(&mut self, own: TokenKey) {
        let Some(mut device) = self.entries.get(&own).map(|entry| entry.device.clone()) else { return };
        let old = claimed_device(&device, self.now).and_then(|id| self.keys.get(&id));
        if let Some(old) = old.and_then(|key| self.entries.get_mut(key)) {
            settle_claim(&mut device, &mut old.device, self.now);
            self.entries.entry(own).and_modify(|entry| entry.device = device);
        }
    }

    /// Devices that registered devices claim to replace, and that are not in the batch, so that they are not locked. The
    /// claims of other devices of the batch are not settled, so what they claim need not be locked.
    pub fn missing_claimed_devices(&self) -> Vec<DeviceId> {
        let registered = self.registered.iter().filter_map(|key| self.entries.get(key));
        let claimed = registered.filter_map(|entry| claimed_device(&entry.device, self.now));
        claimed.filter(|id| !self.keys.contains_key(id)).collect()
    }

    /// Says why `replaces` is ignored, if it is.
    fn ignored_replacement(
        &self,
        registration: &Registration,
        keys: RegistrationKeys,
    ) -> Option<IgnoredPart> {
        let reason = match keys.replaced {
            None if registration.replaces.is_none() => return None,
            None => IgnoredReason::SameToken,
            Some(old) if self.entries.contains_key(&old) => return None,
            Some(_) => IgnoredReason::UnknownToken,
        };
        Some(IgnoredPart::member("replaces", reason))
    }

    /// Removes these topics from all devices of the batch.
    pub fn remove_topics(&mut self, names: &[TopicName]) {
        for entry in self.entries.values_mut() {
            entry.topics.retain(|topic, _| !names.contains(topic));
        }
    }

    /// The registered device with its topics, as they will be stored.
    pub fn find(&self, keys: RegistrationKeys) -> Option<(&Device, impl Iterator<Item = &TopicName>)> {
        self.entries.get(&keys.own).map(|entry| (&entry.device, entry.topics.keys()))
    }

    /// The devices to insert, in the order in which their rows may be locked.
    pub fn new_devices(&self) -> Vec<(TokenKey, &Device)> {
        let new = self.entries.iter().filter(|(_, entry)| entry.stored.is_none());
        let mut new: Vec<_> = new.map(|(key, entry)| (*key, &entry.device)).collect();
        new.sort_unstable_by_key(|(key, _)| *key);
        new
    }

    /// The stored devices to update.
    pub fn changed_devices(&self) -> Vec<&Device> {
        let is_changed = |entry: &&Entry| entry.stored.as_ref().is_some_and(|before| *before != entry.device);
        self.entries.values().filter(is_changed).map(|entry| &entry.device).collect()
    }

    /// Devices that leave their quarantine, and devices that get into one because another device replaces them. New devices
    /// must have their ids.
    pub fn quarantine_changes(&self) -> (Vec<DeviceId>, Vec<&Device>) {
        let (mut restored, mut replaced) = (Vec::new(), Vec::new());
        for Entry { device, stored, .. } in self.entries.values() {
            let was_quarantined = stored.as_ref().is_some_and(|before| before.quarantine.is_some());
            match (was_quarantined, &device.quarantine) {
                (true, None) => restored.push(device.id),
                (false, Some(_)) => replaced.push(device),
                _ => {}
            }
        }
        (restored, replaced)
    }

    /// Sets the ids and creation times of new devices, once they are inserted.
    pub fn set_ids(&mut self, inserted: Vec<InsertedDevice>) {
        for InsertedDevice { token, id, created_at } in inserted {
            if let Some(entry) = self.entries.get_mut(&token) {
                entry.device.id = id;
                entry.device.created_at = created_at;
            }
        }
    }

    /// The subscriptions to write. New devices must have their ids.
    pub fn subscription_changes(&self) -> SubscriptionChanges<'_> {
        let mut changes = SubscriptionChanges::default();
        for Entry { device, topics, stored_topics, .. } in self.entries.values() {
            changes.add(device.id, stored_topics, topics);
        }
        changes
    }
}

impl<'a> SubscriptionChanges<'a> {
    /// The changes of one device.
    pub(in crate::registry) fn between(
        device: DeviceId,
        before: &'a DeviceTopics,
        after: &'a DeviceTopics,
    ) -> Self {
        let mut changes = Self::default();
        changes.add(device, before, after);
        changes
    }

    fn add(&mut self, device: DeviceId, before: &'a DeviceTopics, after: &'a DeviceTopics) {
        let is_new = |(topic, term): &(&TopicName, &SubscriptionTerm)| before.get(*topic) != Some(*term);
        self.added.extend(after.iter().filter(is_new).map(|(topic, term)| ((device, topic), *term)));
        let removed = before.keys().filter(|topic| !after.contains_key(*topic));
        self.removed.extend(removed.map(|topic| (device, topic)));
    }
}
