//! The keys, service accounts and subject tokens that are good right now. Their owners make new ones and revoke old ones at Apple and
//! Google while senders run.

use std::collections::{HashMap, HashSet};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::DecodingKey;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};

use super::Error;
use super::settings::Settings;

/// What is good right now.
pub(super) struct Keyring {
    /// Provider keys by their ids.
    provider_keys: RwLock<HashMap<String, DecodingKey>>,
    /// Service accounts by their addresses. All sign with the one RSA key.
    accounts: RwLock<HashSet<String>>,
    /// Tokens of another issuer, which workload identities show.
    subject_tokens: RwLock<HashSet<String>>,
    round: AtomicU64,
}

impl Keyring {
    /// The key and the account that the settings name.
    pub(super) fn new(settings: &Settings, first: DecodingKey) -> Self {
        Self {
            provider_keys: RwLock::new(HashMap::from([(settings.apns.key_id.clone(), first)])),
            accounts: RwLock::new(HashSet::from([settings.fcm.client_email.clone()])),
            subject_tokens: RwLock::default(),
            round: AtomicU64::new(0),
        }
    }

    /// Counts revocations of provider keys: what was remembered under an earlier number is checked again.
    pub(super) fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// The provider key of this id.
    pub(super) fn provider_key(&self, id: &str) -> Option<DecodingKey> {
        self.provider_keys.read().expect("no holder panics").get(id).cloned()
    }

    /// Makes another provider key; answers its PEM.
    pub(super) fn issue_provider_key(&self, id: &str) -> Result<String, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let public = DecodingKey::from_ec_der(key.der_bytes());
        self.provider_keys.write().expect("no holder panics").insert(id.to_owned(), public);
        Ok(key.serialize_pem())
    }

    pub(super) fn revoke_provider_key(&self, id: &str) {
        self.provider_keys.write().expect("no holder panics").remove(id);
        self.round.fetch_add(1, Ordering::Release);
    }

    /// Is this a service account of ours?
    pub(super) fn has_account(&self, address: &str) -> bool {
        self.accounts.read().expect("no holder panics").contains(address)
    }

    pub(super) fn issue_account(&self, address: &str) {
        self.accounts.write().expect("no holder panics").insert(address.to_owned());
    }

    pub(super) fn revoke_account(&self, address: &str) {
        self.accounts.write().expect("no holder panics").remove(address);
    }

    /// Makes a subject token. It looks like a JWT; here it is known by itself.
    pub(super) fn issue_subject_token(&self) -> String {
        let token =
            format!("eyJhbGciOiJSUzI1NiJ9.{:032x}.{:032x}", rand::random::<u128>(), rand::random::<u128>());
        self.subject_tokens.write().expect("no holder panics").insert(token.clone());
        token
    }

    /// Is this a subject token of ours?
    pub(super) fn has_subject_token(&self, token: &str) -> bool {
        self.subject_tokens.read().expect("no holder panics").contains(token)
    }

    pub(super) fn revoke_subject_token(&self, token: &str) {
        self.subject_tokens.write().expect("no holder panics").remove(token);
    }
}
