//! `[apps.<name>.user_tokens]`: the keys that verify user tokens, with which a mobile app proves the id of its user.

use std::time::Duration;

use crate::domain::{BadUserTokenKey, UserTokenAlgorithm, UserTokenVerifier, VerificationKey};
use crate::settings::{Secret, Section};

/// The settings of the section `[apps.<name>.user_tokens]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserTokenSettings {
    /// The value that a token's `aud` must have.
    pub audience: String,
    /// How far a token's `exp` may be in the future.
    pub max_age: Duration,
    /// Keys that are valid at the same time. To rotate a key, the new one is added before the old one is removed.
    pub keys: Vec<UserTokenKey>,
}

/// One entry of `[[apps.<name>.user_tokens.keys]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserTokenKey {
    /// The key's id. A token without `kid` is tried with all keys.
    pub kid: Option<String>,
    /// The key's algorithm. A token's `alg` must be equal; it does not choose the algorithm.
    pub algorithm: UserTokenAlgorithm,
    /// A public key in PEM, or for HS256 the shared secret.
    pub material: Secret,
}

impl UserTokenSettings {
    pub(super) fn read(app: &str, mut section: Section<'_>) -> Option<Self> {
        let audience = section.parsed("audience", not_empty).unwrap_or_else(|| format!("pushpost:{app}"));
        const DAY: Duration = Duration::from_secs(86_400);
        let max_age = section.duration("max_age", Duration::from_secs(1)..=3_650 * DAY, DAY);
        let sections = section.section_list("keys");
        if sections.is_empty() && !section.has("keys") {
            section.fault("keys", "needs at least one key");
        }
        let keys: Vec<_> = sections.into_iter().map(UserTokenKey::read).collect();
        let keys: Option<Vec<_>> = keys.into_iter().collect();
        let kids: Vec<_> = keys.iter().flatten().filter_map(|key| key.kid.as_deref()).collect();
        if (1..kids.len()).any(|index| kids[..index].contains(&kids[index])) {
            section.fault("keys", "two keys have the same kid");
        }
        section.finish();
        Some(Self { audience, max_age, keys: keys? })
    }

    /// What tokens are verified with.
    pub fn verifier(&self) -> UserTokenVerifier {
        let key = |key: &UserTokenKey| key.verification_key().expect("reading has checked the key");
        let keys = self.keys.iter().map(key).collect();
        UserTokenVerifier { audience: self.audience.clone(), max_age: self.max_age, keys }
    }
}

impl UserTokenKey {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let kid = section.parsed("kid", not_empty);
        let parse =
            |text: &str| UserTokenAlgorithm::parse(text).ok_or("must be \"ES256\", \"RS256\" or \"HS256\"");
        let algorithm = section.parsed("algorithm", parse);
        let public_key = section.secret("public_key", "public_key_file").map(Secret::into_pem);
        let secret = section.secret("secret", "secret_file");
        let algorithm = section.required("algorithm", algorithm);
        let (name, material) = match algorithm {
            Some(UserTokenAlgorithm::Hs256) => {
                if public_key.is_some() {
                    section.fault("public_key", "HS256 takes a secret, not a public key");
                }
                ("secret", section.required("secret", secret))
            }
            Some(_) => {
                if secret.is_some() {
                    section.fault("secret", "ES256 and RS256 take a public key, not a secret");
                }
                ("public_key", section.required("public_key", public_key))
            }
            None => ("algorithm", None),
        };
        let key = algorithm.zip(material).map(|(algorithm, material)| Self { kid, algorithm, material });
        if let Some(Err(bad)) = key.as_ref().map(Self::verification_key) {
            section.fault(name, bad.to_string());
        }
        section.finish();
        key
    }

    fn verification_key(&self) -> Result<VerificationKey, BadUserTokenKey> {
        VerificationKey::new(self.kid.clone(), self.algorithm, self.material.expose())
    }
}

/// A text that tokens repeat. An empty one can only be a mistake.
fn not_empty(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("must not be empty") } else { Ok(text.to_owned()) }
}
