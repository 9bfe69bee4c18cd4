//! The provider token: an ES256 JWT signed with a `.p8` key (docs/providers.md#apns-provider-token).
//!
//! APNs refuses a token older than 60 minutes, and a second token on the same connection within 20 minutes. Therefore
//! a new token is signed every 30 minutes and given to new connections. A connection keeps its first token until the
//! token is 50 minutes old, and then takes the current one. So tokens of one connection are always at least 20 minutes
//! apart.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use tokio::time::Instant;

use crate::domain::pem::{self, PemFault};
use crate::provider::Fingerprint;

/// A new token is signed when the current one is older. New connections get the current token.
const MINT_INTERVAL: Duration = Duration::from_secs(30 * 60);
/// A connection replaces its token at this age, before APNs refuses it at 60 minutes.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(50 * 60);
/// A token younger than this can't have expired. If APNs says so, a clock is wrong and a new token would not help.
const EXPIRY_AGE_MIN: Duration = Duration::from_secs(20 * 60);

/// A key that can't sign for APNs.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key is not a P-256 key in PKCS#8 PEM, which Apple's `.p8` files contain.
    #[error("not a .p8 key as Apple issues them (PKCS#8 PEM, P-256): {0}")]
    Key(PemFault),
    /// The named id is not ten letters and digits.
    #[error("{0} is not ten letters and digits")]
    Id(&'static str),
}

/// One key of one team, and the current token that it signed.
pub(super) struct ApnsCredential {
    key: EncodingKey,
    header: Header,
    team_id: String,
    fingerprint: Fingerprint,
    current: Mutex<Option<Arc<ProviderToken>>>,
}

/// The token that a connection presents. The pool keeps one per connection.
#[derive(Default)]
pub(super) struct ConnectionToken(Mutex<Option<Arc<ProviderToken>>>);

/// The present time by both clocks.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// Postgres's clock, for the `iat` of a token.
    pub(super) now: DateTime<Utc>,
    /// This machine's monotonic clock, for the age of a token.
    pub(super) at: Instant,
}

/// A signed token with the time of its signature.
pub(super) struct ProviderToken {
    /// `bearer <jwt>`, marked as sensitive.
    pub(super) header: HeaderValue,
    minted: Moment,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

impl ApnsCredential {
    /// Reads the key and signs once as a test. Line ends of the key may be written as `\n`.
    pub(super) fn new(pem: &[u8], key_id: &str, team_id: &str) -> Result<Self, KeyError> {
        let is_id = |id: &str| id.len() == 10 && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_id(key_id) {
            return Err(KeyError::Id("key_id"));
        }
        if !is_id(team_id) {
            return Err(KeyError::Id("team_id"));
        }
        let pem = String::from_utf8_lossy(pem);
        let pem = pem::with_line_ends(&pem);
        pem::check(&pem, "PRIVATE KEY").map_err(KeyError::Key)?;
        // The error of jsonwebtoken says no more than this, and might quote the key.
        let other = |_| KeyError::Key(PemFault::Content("a P-256 key"));
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(key_id.to_owned());
        header.typ = None;
        let credential = Self {
            key: EncodingKey::from_ec_pem(pem.as_bytes()).map_err(other)?,
            header,
            team_id: team_id.to_owned(),
            fingerprint: Fingerprint::of(&[pem.as_bytes(), key_id.as_bytes(), team_id.as_bytes()]),
            current: Mutex::default(),
        };
        // Only signing shows that the key has another curve.
        credential.sign(0).map_err(other)?;
        Ok(credential)
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The token for the next request on the connection of `presented`.
    pub(super) fn bearer(&self, presented: &ConnectionToken, now: Moment) -> Arc<ProviderToken> {
        let mut presented = presented.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*presented {
            Some(bearer) if bearer.age(now) < TOKEN_AGE_MAX => bearer.clone(),
            _ => presented.insert(self.current(now)).clone(),
        }
    }

    /// Withdraws a token that APNs refused as expired. Says whether a newer token can be tried on another connection.
    ///
    /// It can't if the token is younger than `EXPIRY_AGE_MIN`, because then a clock is wrong.
    pub(super) fn replace_expired(&self, expired: &Arc<ProviderToken>, now: Moment) -> bool {
        let mut current = self.lock();
        if current.as_ref().is_some_and(|current| !Arc::ptr_eq(current, expired)) {
            return true;
        }
        // The larger age counts, because the monotonic clock stops while a machine sleeps.
        let stored = (now.now - expired.minted.now).to_std().unwrap_or_default();
        let age = stored.max(expired.age(now));
        if age < EXPIRY_AGE_MIN {
            return false;
        }
        *current = None;
        true
    }

    fn current(&self, now: Moment) -> Arc<ProviderToken> {
        // Signing takes well under a millisecond. The lock is held meanwhile, so that only one caller signs.
        let mut current = self.lock();
        match &*current {
            Some(bearer) if bearer.age(now) < MINT_INTERVAL => bearer.clone(),
            _ => current.insert(Arc::new(self.mint(now))).clone(),
        }
    }

    fn mint(&self, now: Moment) -> ProviderToken {
        let header = self.sign(now.now.timestamp()).expect("the key has signed before");
        ProviderToken { header, minted: now }
    }

    fn sign(&self, iat: i64) -> Result<HeaderValue, jsonwebtoken::errors::Error> {
        let jwt = jsonwebtoken::encode(&self.header, &Claims { iss: &self.team_id, iat }, &self.key)?;
        let mut header = HeaderValue::try_from(format!("bearer {jwt}")).expect("a JWT is ASCII");
        header.set_sensitive(true);
        Ok(header)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<ProviderToken>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProviderToken {
    pub(super) fn age(&self, now: Moment) -> Duration {
        now.at.saturating_duration_since(self.minted.at)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use chrono::TimeDelta;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData};
    use serde_json::{Value, json};

    use super::*;

    fn key() -> KeyPair {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
    }

    fn credential(key: &KeyPair) -> ApnsCredential {
        ApnsCredential::new(key.serialize_pem().as_bytes(), "ABC123DEFG", "DEF123GHIJ").expect("a good key")
    }

    fn start() -> Moment {
        Moment { now: DateTime::from_timestamp(1_795_000_000, 0).expect("in range"), at: Instant::now() }
    }

    fn later(start: Moment, minutes: i64) -> Moment {
        let passed = TimeDelta::minutes(minutes);
        Moment { now: start.now + passed, at: start.at + passed.to_std().expect("later") }
    }

    fn part(bearer: &ProviderToken, index: usize) -> Vec<u8> {
        let jwt = bearer.header.to_str().expect("ASCII").strip_prefix("bearer ").expect("a bearer");
        URL_SAFE_NO_PAD.decode(jwt.split('.').nth(index).expect("three parts")).expect("base64url")
    }

    fn iat(bearer: &ProviderToken) -> i64 {
        serde_json::from_slice::<Value>(&part(bearer, 1)).expect("JSON")["iat"].as_i64().expect("a number")
    }

    #[test]
    fn the_token_has_exactly_the_claims_that_apple_documents() {
        let key = key();
        let bearer = credential(&key).mint(start());
        let header: Value = serde_json::from_slice(&part(&bearer, 0)).expect("JSON");
        assert_eq!(header, json!({"alg": "ES256", "kid": "ABC123DEFG"}));
        let claims: Value = serde_json::from_slice(&part(&bearer, 1)).expect("JSON");
        assert_eq!(claims, json!({"iss": "DEF123GHIJ", "iat": 1_795_000_000}));
        let signature = part(&bearer, 2);
        assert_eq!(signature.len(), 64, "raw r and s");
        let signed =
            bearer.header.to_str().expect("ASCII")["bearer ".len()..].rsplit_once('.').expect("parts").0;
        aws_verify(key.der_bytes(), signed.as_bytes(), &signature);
        assert_eq!(format!("{:?}", bearer.header), "Sensitive");
    }

    fn aws_verify(point: &[u8], message: &[u8], signature: &[u8]) {
        let key = jsonwebtoken::DecodingKey::from_ec_der(point);
        let signature = URL_SAFE_NO_PAD.encode(signature);
        assert!(jsonwebtoken::crypto::verify(&signature, message, &key, Algorithm::ES256).expect("a key"));
    }

    #[test]
    fn keys_and_ids_that_apple_would_not_issue_are_refused() {
        let good = key().serialize_pem();
        let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key").serialize_pem();
        let refused = |pem: &str, key_id, team_id| ApnsCredential::new(pem.as_bytes(), key_id, team_id).err();
        let fault = |pem: &str| match refused(pem, "ABC123DEFG", "DEF123GHIJ") {
            Some(KeyError::Key(fault)) => fault,
            other => panic!("{:?}", other.map(|error| error.to_string())),
        };
        assert_eq!(fault("no pem"), PemFault::Missing("PRIVATE KEY"));
        assert_eq!(fault(&other), PemFault::Content("a P-256 key"));
        assert!(matches!(refused(&good, "ABC", "DEF123GHIJ"), Some(KeyError::Id("key_id"))));
        assert!(matches!(refused(&good, "ABC123DEFG", "DEF 23GHIJ"), Some(KeyError::Id("team_id"))));
    }

    #[test]
    fn a_key_with_escaped_line_ends_is_the_same_key() {
        let pem = key().serialize_pem();
        let print = |pem: &str| {
            ApnsCredential::new(pem.as_bytes(), "ABC123DEFG", "DEF123GHIJ").expect("a good key").fingerprint()
        };
        assert_eq!(print(&pem), print(&pem.replace('\n', r"\n")));
    }

    #[test]
    fn the_fingerprint_covers_the_key_and_both_ids() {
        let (one, two) = (key().serialize_pem(), key().serialize_pem());
        let print = |pem: &str, key_id, team_id| {
            ApnsCredential::new(pem.as_bytes(), key_id, team_id).expect("a good key").fingerprint()
        };
        let base = print(&one, "ABC123DEFG", "DEF123GHIJ");
        assert_eq!(base, print(&one, "ABC123DEFG", "DEF123GHIJ"));
        assert_ne!(base, print(&two, "ABC123DEFG", "DEF123GHIJ"));
        assert_ne!(base, print(&one, "ABC123DEFH", "DEF123GHIJ"));
        assert_ne!(base, print(&one, "ABC123DEFG", "DEF123GHIK"));
    }

    #[test]
    fn a_connection_keeps_its_token_for_50_minutes_and_new_connections_get_the_current_token() {
        let credential = credential(&key());
        let start = start();
        let (first, second, third) =
            (ConnectionToken::default(), ConnectionToken::default(), ConnectionToken::default());
        let issued = |presented, minutes| {
            (iat(&credential.bearer(presented, later(start, minutes))) - start.now.timestamp()) / 60
        };
        assert_eq!(issued(&first, 0), 0);
        assert_eq!(issued(&second, 29), 0, "not 30 minutes old");
        assert_eq!(issued(&third, 30), 30);
        assert_eq!(issued(&second, 30), 0, "no second one within 20 minutes");
        assert_eq!(issued(&second, 49), 0);
        assert_eq!(issued(&second, 50), 30, "takes the current one");
        assert_eq!(issued(&first, 60), 60);
        assert_eq!(issued(&second, 60), 30);
        assert_eq!(issued(&third, 79), 30);
        assert_eq!(issued(&third, 80), 60);
    }

    #[test]
    fn an_expired_token_is_replaced_once_and_a_young_token_never() {
        let credential = credential(&key());
        let start = start();
        let old = credential.bearer(&ConnectionToken::default(), start);
        assert!(!credential.replace_expired(&old, later(start, 19)));
        let then = later(start, 20);
        assert!(credential.replace_expired(&old, then));
        let new = credential.bearer(&ConnectionToken::default(), then);
        assert_eq!(iat(&new), then.now.timestamp());
        assert!(credential.replace_expired(&old, then), "there is a newer one already");
        assert!(Arc::ptr_eq(&new, &credential.bearer(&ConnectionToken::default(), then)), "and it stays");
        assert!(!credential.replace_expired(&new, then));
    }

    #[test]
    fn after_a_machine_slept_the_database_clock_counts() {
        let credential = credential(&key());
        let start = start();
        let old = credential.bearer(&ConnectionToken::default(), start);
        assert!(credential.replace_expired(&old, Moment { at: start.at, ..later(start, 120) }));
    }
}
