//! User tokens, as a backend makes them for its app.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pushpost::domain::{UserTokenAlgorithm, UserTokenVerifier, VerificationKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::database::TestDatabase;

pub const HEADER: &str = "pushpost-user-token";

/// A pair of ES256 keys, and the time at which it was made.
pub struct UserTokenSigner {
    pair: KeyPair,
    now: i64,
}

impl UserTokenSigner {
    pub async fn new(database: &TestDatabase) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self { pair, now: database.now_ms().await / 1000 }
    }

    /// The claims of a token that is right for the app `shop`, with changes; a change to null removes a claim.
    pub fn claims(&self, user: &str, changes: &Value) -> Value {
        let mut claims = json!({"sub": user, "aud": "pushpost:shop", "exp": self.now + 3600});
        let members = claims.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => _ = members.shift_remove(name),
                value => _ = members.insert(name.clone(), value.clone()),
            }
        }
        claims
    }

    /// Seconds since 1970, so many after the key was made.
    pub fn after(&self, seconds: i64) -> i64 {
        self.now + seconds
    }

    /// A token of this user that is right.
    pub fn token(&self, user: &str) -> String {
        self.sign(&self.claims(user, &json!({})))
    }

    /// As [`Self::token`], and it opens these topics.
    pub fn token_with_topics(&self, user: &str, topics: &[&str]) -> String {
        self.sign(&self.claims(user, &json!({"topics": topics})))
    }

    pub fn sign(&self, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &key).unwrap()
    }

    /// A token that is signed with HS256, with the text of the public key as secret.
    pub fn sign_with_public_pem(&self, claims: &Value) -> String {
        let key = EncodingKey::from_secret(self.public_pem().as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    }

    pub fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    /// The section of the configuration for the app `shop`.
    pub fn settings(&self) -> String {
        format!(
            "\n[[apps.shop.user_tokens.keys]]\nalgorithm = \"ES256\"\npublic_key = '''{}'''\n",
            self.public_pem()
        )
    }

    /// What the settings are in an app that a test makes itself.
    pub fn verifier(&self) -> Arc<UserTokenVerifier> {
        let key = VerificationKey::new(None, UserTokenAlgorithm::Es256, &self.public_pem()).unwrap();
        let (audience, max_age) = ("pushpost:shop".to_owned(), Duration::from_secs(86_400));
        Arc::new(UserTokenVerifier { audience, max_age, keys: vec![key] })
    }
}
