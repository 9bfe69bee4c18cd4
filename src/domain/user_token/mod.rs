//! User tokens: JSON Web Tokens by which an app proves the id of its user (docs/api.md#user-tokens).
//!
//! The algorithm of a configured key decides how a signature is verified, never the token's `alg`. Header and claims are
//! read from their JSON here: with serde_json's `arbitrary_precision`, the typed readers of `jsonwebtoken` get a decimal
//! as an object. Of members given twice the last counts, which RFC 7519 allows.

mod claims;
mod key;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::exact_json;

pub use claims::UserTokenClaims;
pub use key::{BadUserTokenKey, UserTokenAlgorithm, VerificationKey};

/// What an app's user tokens are verified with. `Debug` shows no key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserTokenVerifier {
    /// The value that a token's `aud` must have.
    pub audience: String,
    /// How far a token's `exp` may be in the future.
    pub max_age: Duration,
    /// Keys that are valid at the same time.
    pub keys: Vec<VerificationKey>,
}

/// The public word for what is wrong with a user token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserTokenReason {
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` is in the future.
    NotYet,
    /// `exp` is further ahead than `max_age`.
    TooLong,
    /// `aud` is missing or names other services.
    Audience,
    /// No key has made the signature.
    Signature,
    /// `alg` is not the algorithm of the key.
    Algorithm,
    /// It is no JSON Web Token, or a claim is missing or has another form.
    Malformed,
}

/// The error of a user token that proves nothing. It repeats nothing of the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadUserToken {
    /// The public word.
    pub reason: UserTokenReason,
    /// A sentence for developers, lower case, no full stop.
    pub detail: &'static str,
}

impl UserTokenReason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Expired,
        Self::NotYet,
        Self::TooLong,
        Self::Audience,
        Self::Signature,
        Self::Algorithm,
        Self::Malformed,
    ];

    /// The word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::TooLong => "too_long",
            Self::Audience => "audience",
            Self::Signature => "signature",
            Self::Algorithm => "algorithm",
            Self::Malformed => "malformed",
        }
    }
}

impl BadUserToken {
    pub(in crate::domain) fn new(reason: UserTokenReason, detail: &'static str) -> Self {
        Self { reason, detail }
    }

    /// A token, or several of them, without the form of a JSON Web Token.
    pub fn malformed(detail: &'static str) -> Self {
        Self::new(UserTokenReason::Malformed, detail)
    }
}

impl fmt::Display for BadUserToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail)
    }
}

impl std::error::Error for BadUserToken {}

impl UserTokenVerifier {
    /// Verifies a token at `now`, by Postgres's clock. Form and signature come first: what a token without a valid
    /// signature claims is not read.
    ///
    /// # Errors
    /// The token proves nothing.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<UserTokenClaims, BadUserToken> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadUserToken::malformed("a JSON Web Token has three parts with dots between them"));
        };
        let header = object(header).ok_or(BadUserToken::malformed("the header is not a JSON object"))?;
        if URL_SAFE_NO_PAD.decode(signature).is_err() {
            return Err(BadUserToken::malformed("the signature is not base64url without padding"));
        }
        let message = &token[..token.len() - signature.len() - 1];
        self.verify_signature(&header, message, signature)?;
        let claims = object(claims).ok_or(BadUserToken::malformed("the claims are not a JSON object"))?;
        claims::read(&claims, self, now)
    }

    fn verify_signature(
        &self,
        header: &Map<String, Value>,
        message: &str,
        signature: &str,
    ) -> Result<(), BadUserToken> {
        // RFC 7515: a reader refuses extensions that it does not know.
        if header.contains_key("crit") {
            return Err(BadUserToken::malformed("the header has \"crit\", which is not supported"));
        }
        let Some(Value::String(algorithm)) = header.get("alg") else {
            return Err(BadUserToken::malformed("the header has no \"alg\""));
        };
        let candidates = self.candidates(header)?;
        if candidates.is_empty() {
            return Err(BadUserToken::new(UserTokenReason::Signature, "no key has the token's \"kid\""));
        }
        let mut fitting = candidates.iter().filter(|key| key.algorithm().as_str() == algorithm).peekable();
        if fitting.peek().is_none() {
            let detail = "the token's \"alg\" is not the algorithm of a key that may verify it";
            return Err(BadUserToken::new(UserTokenReason::Algorithm, detail));
        }
        match fitting.any(|key| key.is_signature(message, signature)) {
            true => Ok(()),
            false => Err(BadUserToken::new(UserTokenReason::Signature, "no key has made the signature")),
        }
    }

    /// The keys that a token is tried with: the key with the token's `kid`, else the keys that have none. A token
    /// without `kid` is tried with all keys.
    fn candidates(&self, header: &Map<String, Value>) -> Result<Vec<&VerificationKey>, BadUserToken> {
        let kid = match header.get("kid") {
            None | Some(Value::Null) => return Ok(self.keys.iter().collect()),
            Some(Value::String(kid)) => kid.as_str(),
            Some(_) => return Err(BadUserToken::malformed("the header's \"kid\" is not a string")),
        };
        let with = |kid: Option<&str>| self.keys.iter().filter(|key| key.kid() == kid).collect::<Vec<_>>();
        let named = with(Some(kid));
        Ok(if named.is_empty() { with(None) } else { named })
    }
}

/// A part of a token: a JSON object in base64url. None: it is something else.
fn object(part: &str) -> Option<Map<String, Value>> {
    exact_json::read(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests;
